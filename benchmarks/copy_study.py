"""How far back can each cell carry a word? A copy task, and the gradient over the distance.

    python benchmarks/copy_study.py --report reports/language/copy.json --picture docs/copy.png

A sequence begins with one of eight words; a number of random others follow, then a question mark, at which
the network must name the first word, as the last word of "I grew up in France ... I speak fluent French"
needs the country. Each cell is trained on each distance for itself, from scratch, with the same steps; the
accuracy is on new sequences, where chance is 12.5 %. `lstm` has the usual forget bias of 1, `lstm, open` one
for the distance: log(u), u uniform up to it, and the input gate's bias its negative (Tallec & Ollivier 2018).
The second panel is the norm of the loss's gradient with respect to the hidden state so many steps before the
answer, relative to that at the answer: of the untrained networks at the longest distance.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from common.cli import command_line, run
from common.evaluation import show, write_report
from common.files import check_folder, write_aside
from common.recurrent import CellState, Layer

WORDS, OTHERS = 8, 8
KINDS = ("rnn", "gru", "lstm", "lstm, open")


@dataclass(frozen=True, kw_only=True)
class CopyConfig:
    """Flags of this study."""

    distances: tuple[int, ...] = (10, 30, 100, 200, 1000)
    """Steps between the word and the question."""
    steps: int = 500
    """Most steps of training; it ends earlier where 20 batches in a row were all right."""
    batch_size: int = 32
    """Sequences a step."""
    hidden_size: int = 64
    """Units of each cell."""
    learning_rate: float = 5e-3
    """Of Adam."""
    seeds: int = 1
    """Networks of each kind and distance."""
    report: Path | None = None
    """JSON file to write."""
    picture: Path | None = None
    """PNG file to draw."""


class Copier(nn.Module):
    """Embedding, one recurrent layer, an output layer that reads its last step."""

    def __init__(self, kind: str, hidden_size: int, distance: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS + OTHERS + 1, 16)
        cell: Any = kind.partition(",")[0]
        self.layer = Layer(cell, 16, hidden_size)
        self.output = nn.Linear(hidden_size, WORDS)
        if "open" in kind:
            with torch.no_grad():
                bias = self.layer.layer.bias_ih_l0
                opened = torch.rand(hidden_size).mul(distance - 1).add(1).log()
                bias[:hidden_size], bias[hidden_size : 2 * hidden_size] = -opened, opened
                self.layer.layer.bias_hh_l0[: 2 * hidden_size] = 0

    def start(self, rows: int) -> CellState:
        """Zeros."""
        return CellState(torch.zeros(rows, self.layer.hidden_size), torch.zeros(rows, self.layer.memory_size))

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """(R, T) -> logits (R, WORDS) of the first."""
        outputs, _ = self.layer(self.embedding(codes), self.start(len(codes)))
        return self.output(outputs[:, -1])


def sequences(rows: int, distance: int, generator: torch.Generator) -> torch.Tensor:
    """Codes (R, distance + 1): a word, others, the question."""
    codes = torch.randint(WORDS, WORDS + OTHERS, (rows, distance + 1), generator=generator)
    codes[:, 0] = torch.randint(WORDS, (rows,), generator=generator)
    codes[:, -1] = WORDS + OTHERS
    return codes


def accuracy(config: CopyConfig, kind: str, distance: int, seed: int) -> tuple[float, int]:
    """Train one network -> its accuracy in percent on 512 new sequences, and its steps."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    network = Copier(kind, config.hidden_size, distance)
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)
    right = steps = 0
    while steps < config.steps and right < 20:
        codes = sequences(config.batch_size, distance, generator)
        logits = network(codes)
        loss = functional.cross_entropy(logits, codes[:, 0])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        right = right + 1 if bool((logits.argmax(dim=1) == codes[:, 0]).all()) else 0
        steps += 1
    codes = sequences(512, distance, torch.Generator().manual_seed(10_000 + seed))
    with torch.inference_mode():
        correct = (network(codes).argmax(dim=1) == codes[:, 0]).float().mean()
    return round(100 * float(correct), 2), steps


def gradient_norms(config: CopyConfig, kind: str, distance: int) -> list[float]:
    """Norm of the gradient at the state (hidden and memory) so many steps back, 0 first; that one is 1."""
    torch.manual_seed(0)
    network = Copier(kind, config.hidden_size, distance)
    codes = sequences(config.batch_size, distance, torch.Generator().manual_seed(1))
    values, state, states = network.embedding(codes), network.start(len(codes)), []
    for time in range(codes.shape[1]):
        _, state = network.layer(values[:, time : time + 1], state)
        for part in state:
            if part.requires_grad:  # not the memory that only an LSTM has
                part.retain_grad()
        states.append(state)
    functional.cross_entropy(network.output(state.hidden), codes[:, 0]).backward()
    norms = [
        float(sum(p.grad.double().square().sum() for p in state if p.numel() and p.grad is not None)) ** 0.5
        for state in reversed(states)
    ]
    return [norm / max(norms[0], 1e-300) for norm in norms]


def draw(
    report: dict[str, Any], distances: tuple[int, ...], norms: dict[str, list[float]], file: Path
) -> None:
    """Accuracy and gradient over the distance, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for kind in KINDS:
        found = [report[f"{kind.replace(', ', '_')}_{distance}"] for distance in distances]
        left.plot(distances, found, marker="o", markersize=4, label=kind)
        right.plot(np.maximum(norms[kind], 1e-20), label=kind)
    left.axhline(100 / WORDS, color="grey", linestyle=":", label="chance")
    left.set(xscale="log", xlabel="distance, steps", ylabel="accuracy %", title="one of 8 words, carried")
    right.set(yscale="log", xlabel="steps before the answer", title="norm of the gradient, untrained")
    right.set_ylim(1e-20, 10)
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    with write_aside(file) as aside:
        figure.savefig(aside, dpi=110, format="png")


def study(config: CopyConfig) -> int:
    """Train, print, draw."""
    check_folder("--report", config.report)
    check_folder("--picture", config.picture)
    torch.set_num_threads(1)
    found: dict[str, float] = {}
    trained: dict[str, int] = {}
    for kind in KINDS:
        for distance in config.distances:
            name = f"{kind.replace(', ', '_')}_{distance}"
            runs = [accuracy(config, kind, distance, seed) for seed in range(config.seeds)]
            found[name] = round(float(np.mean([right for right, _ in runs])), 2)
            trained[name] = max(steps for _, steps in runs)
            print(f"{name:16} {runs}", flush=True)
    norms = {kind: gradient_norms(config, kind, max(config.distances)) for kind in KINDS}
    report = {
        **found,
        "steps": trained,
        "gradient": {
            kind: {str(back): float(f"{norms[kind][back]:.3g}") for back in config.distances}
            for kind in KINDS
        },
        "chance": 100 / WORDS,
        "hidden_size": config.hidden_size,
        "seeds": config.seeds,
        "command": command_line(),
    }
    show(report)
    write_report(report, config.report)
    if config.picture is not None:
        draw(report, config.distances, norms, config.picture)
    return 0


if __name__ == "__main__":
    run(study, CopyConfig, __doc__)
