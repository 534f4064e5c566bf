"""Speed of a language model, each against plain PyTorch in the same run, on one thread.

    python benchmarks/benchmark_language.py --report reports/language/benchmark.json

- training: characters/s of steps with dropout, state and optimiser over those of a bare `nn.LSTM` with an
  output layer of the same sizes, the same precision and the same optimiser;
- writing: characters/s of one stream over a Python loop of `nn.LSTMCell` in fp32 with the same weights, which
  also samples each character; with weights of 8 bits, the default on torch where the hardware has bf16, and
  in fp32;
- the engine: characters/s written, and read as a prompt is, over those on torch, each in its best precision.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import ratios
from torch import nn
from torch.nn import functional

from common.cli import command_line, run
from common.device import Precision, autocast, pick_precision
from common.evaluation import show, write_report
from common.export import export
from language.config import LanguageSizes
from language.data import BEGIN, UNKNOWN, Alphabet
from language.model import LanguageModel
from language.streams import Streams
from language.writer import Writer


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Flags of this benchmark; the sizes are the defaults of training, which the bundled model has."""

    streams: int = 64
    """Of a training step."""
    steps: int = 64
    """Characters of each stream in a step."""
    length: int = 400
    """Characters to write."""
    repeats: int = 9
    """Pairs of timings."""
    precision: Precision = "auto"
    """Of training, and of writing."""
    report: Path | None = None
    """JSON file to write."""


class Bare(nn.Module):
    """Embedding, `nn.LSTM`, output layer."""

    def __init__(self, sizes: LanguageSizes, codes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes, sizes.embedding_size)
        self.lstm = nn.LSTM(sizes.embedding_size, sizes.hidden_size, sizes.layers, batch_first=True)
        self.output = nn.Linear(sizes.hidden_size, codes)

    def forward(self, codes: torch.Tensor) -> tuple[torch.Tensor, None]:
        """(R, T) -> (R, T, V)."""
        return self.output(self.lstm(self.embedding(codes))[0]), None


def trainer(model: nn.Module, batches: Streams, precision: Any, *, state: bool) -> Callable[[], None]:
    """One step of training on the next batch, as a call."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    carried: list[Any] = [None, 0]

    def step() -> None:
        inputs, targets = batches[carried[1] % len(batches)]
        carried[1] += 1
        optimizer.zero_grad()
        with autocast(torch.device("cpu"), precision):
            logits, after = model(inputs, carried[0]) if state else model(inputs)
        if state:
            carried[0] = [type(one)(*(tensor.detach() for tensor in one)) for one in after]
        functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def loop(model: LanguageModel, length: int) -> Callable[[], None]:
    """Writing with a Python loop of `nn.LSTMCell`, as tutorials do, as a call."""
    cells = []
    layers: Any = model.layers
    for layer in layers:
        cell = nn.LSTMCell(layer.layer.input_size, layer.hidden_size)
        cell.load_state_dict({name: layer.layer.state_dict()[f"{name}_l0"] for name in cell.state_dict()})
        cells.append(cell)

    def write() -> None:
        with torch.inference_mode():
            states = [(torch.zeros(1, c.hidden_size), torch.zeros(1, c.hidden_size)) for c in cells]
            code = torch.tensor([BEGIN])
            for _ in range(length):
                values = model.embedding(code)
                for i, cell in enumerate(cells):
                    states[i] = cell(values, states[i])
                    values = states[i][0]
                logits = model.output(values)
                logits[:, [BEGIN, UNKNOWN]] = -torch.inf
                code = torch.multinomial(logits.softmax(dim=-1), 1)[0]
                model.alphabet.decode(int(code))

    return write


def measure(config: BenchmarkConfig) -> int:
    """Print and write the ratios."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    alphabet = Alphabet("characters", [chr(point) for point in range(32, 97)])
    sizes, precision = LanguageSizes(), pick_precision(config.precision, torch.device("cpu"))
    codes = np.random.default_rng(0).integers(2, len(alphabet), 40 * config.streams * config.steps)
    batches = Streams(codes.astype(alphabet.dtype), config.streams, config.steps, shuffle=True)
    bare = trainer(Bare(sizes, len(alphabet)), batches, precision, state=False)
    ours = trainer(LanguageModel(sizes, alphabet).train(), batches, precision, state=True)
    training = ratios(bare, ours, config.repeats)
    model = LanguageModel(sizes, alphabet).eval()
    cells = loop(model, config.length)
    written = {
        kind: ratios(cells, partial(Writer(model, "cpu", kind).write, length=config.length), config.repeats)
        for kind in (precision, "fp32")
    }
    writing = written[precision]
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        export(LanguageModel, Path(folder))
        engine = Writer.from_pretrained(folder, "cpu", config.precision)
    on_torch, text = Writer(model, "cpu", config.precision), codes[: 40 * config.length]
    report = {
        "trained_over_lstm": training,
        "written_over_torch": ratios(
            partial(on_torch.write, length=config.length),
            partial(engine.write, length=config.length),
            config.repeats,
        ),
        "read_over_torch": ratios(
            lambda: list(on_torch.nats_each(text)), lambda: list(engine.nats_each(text)), config.repeats
        ),
        "written_over_loop": writing,
        "written_fp32_over_loop": written["fp32"],
        "characters_per_second_trained": round(config.streams * config.steps / training["seconds"]),
        "characters_per_second_written": round(config.length / writing["seconds"]),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "command": command_line(),
    }
    show(report, 30)
    write_report(report, config.report)
    return 0


if __name__ == "__main__":
    run(measure, BenchmarkConfig, __doc__)
