"""Speed and memory of the ReNet layer and of segmentation, each against a baseline in the same run.

    python benchmarks/renet.py --report FILE.json --plot FILE.png

- `over_loop`: forward and backward pass of a ReNet layer over a Python loop that calls a cell at each place,
  all maps at once, on the same map; each right after a pass of its own that is not timed. Bar: 20.
- `growth`: seconds and peak memory of one forward and backward pass of a ReNet layer and of one
  self-attention layer of the same width, on maps of 1, 4 and 16 times 45 x 60 places, each in a process of
  its own; and how often larger each is at 16 times the places (linear: 16, quadratic: 256).
- `segmentation_over_encoder`: images/s segmented on torch, labels at the image's size, over the bare encoder
  at the same resolution; same threads and precision. Bar: 0.5.
- `segmentation_over_torch`: images/s of `segment_each` on the engine over those on torch, each in its best
  precision. Bar: 1.3.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timing import largest, ratios, seconds
from torch import nn

from common.cli import command_line, run
from common.device import autocast
from common.encoder import Encoder
from common.pyramid import SelfAttention
from segmentation import ReNet, Segmenter

HEIGHT, WIDTH, CHANNELS = 45, 60, 256
GROWTH = (1, 4, 16)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags."""

    model: str = "camvid"
    """A bundled model, or a model or run folder."""
    batch_size: int = 8
    """Images at a time."""
    repeats: int = 5
    """Measurements; a ratio is the median over pairs that ran side by side."""
    measure: str = ""
    """Only print seconds and peak MiB of LAYER:TIMES; what the benchmark calls itself with."""
    report: Path | None = None
    """JSON file to write."""
    plot: Path | None = None
    """PNG of time and memory as the map grows."""


def main(config: Config) -> None:
    """Run it and print it."""
    if config.measure:
        print(json.dumps(measure(*config.measure.split(":"))))
        return
    growth = {
        layer: {times: in_a_process(layer, times) for times in GROWTH} for layer in ("renet", "attention")
    }
    result: dict[str, Any] = {
        "model": config.model,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "command": command_line(),
        "over_loop": over_loop(),
        "growth": growth,
        **{
            f"{layer}_{what}_at_16_times": round(values[16][what] / max(values[1][what], 1e-9), 1)
            for layer, values in growth.items()
            for what in ("seconds", "mib")
        },
        "segmentation_over_encoder": over_encoder(config),
        "segmentation_over_torch": over_torch(config),
    }
    print(json.dumps(result, indent=1))
    if config.report:
        config.report.write_text(json.dumps(result, indent=1), encoding="utf-8")
    if config.plot:
        draw(growth, config.plot)


def over_loop() -> dict[str, float]:
    """One map of 45 x 60 x 256."""
    layer = ReNet(CHANNELS, CHANNELS // 2)
    maps = torch.randn(1, CHANNELS, HEIGHT, WIDTH)
    cells = [
        [_cell(direction) for direction in sweep.layers[0].children()]
        for sweep in (layer.vertical, layer.horizontal)
    ]

    def loop() -> None:
        places = [[maps[:, :, i, j] for j in range(WIDTH)] for i in range(HEIGHT)]
        down = [_both_ways(cells[0], [row[j] for row in places]) for j in range(WIDTH)]
        read = [_both_ways(cells[1], [column[i] for column in down]) for i in range(HEIGHT)]
        torch.stack([torch.stack(row) for row in read]).sum().backward()

    return ratios(loop, lambda: layer(maps).sum().backward(), 3, settled=True)


def _cell(layer: Any) -> nn.GRUCell:
    cell = nn.GRUCell(layer.input_size, layer.hidden_size)
    cell.load_state_dict({name.removesuffix("_l0"): tensor for name, tensor in layer.state_dict().items()})
    return cell


def _both_ways(cells: list[nn.GRUCell], line: list[torch.Tensor]) -> list[torch.Tensor]:
    outputs = []
    for cell, steps in zip(cells, (line, line[::-1]), strict=True):
        state, found = line[0].new_zeros(len(line[0]), cell.hidden_size), []
        for step in steps:
            state = cell(step, state)
            found.append(state)
        outputs.append(found)
    return [torch.cat(pair, dim=-1) for pair in zip(outputs[0], outputs[1][::-1], strict=True)]


def in_a_process(layer: str, times: int) -> dict[str, float]:
    """Peak memory counts from a process's start, so each measurement has its own."""
    command = [sys.executable, __file__, "--measure", f"{layer}:{times}"]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    values: dict[str, float] = json.loads(found.stdout)
    return values


def measure(layer: str, times: str) -> dict[str, float]:
    """Median seconds of three passes and peak MiB over what the process held before."""
    side = round(int(times) ** 0.5)
    torch.manual_seed(0)
    module: Any = ReNet(CHANNELS, CHANNELS // 2) if layer == "renet" else SelfAttention(CHANNELS)
    module(torch.randn(1, CHANNELS, 3, 4)).sum().backward()
    maps = torch.randn(1, CHANNELS, side * HEIGHT, side * WIDTH)
    before = largest()
    taken = sorted(seconds(lambda: module(maps).sum().backward()) for _ in range(3))
    return {"seconds": round(taken[1], 4), "mib": round(largest() - before, 1)}


def over_encoder(config: Config) -> dict[str, float]:
    """Whole segmentation against the uncut encoder."""
    segmenter = Segmenter.from_pretrained(config.model, engine="torch")
    preprocess = segmenter.model.preprocess
    size = (preprocess.height, preprocess.width)
    encoder = Encoder(segmenter.model.encoder.name).freeze().to(memory_format=torch.channels_last)
    images = torch.randn(config.batch_size, 3, *size).contiguous(memory_format=torch.channels_last)

    def alone() -> None:
        with torch.inference_mode(), autocast(segmenter.device, segmenter.precision):
            encoder(images)

    return ratios(alone, lambda: segmenter.predict(images.numpy(), *size), config.repeats)


def over_torch(config: Config) -> dict[str, float]:
    """Whole segmentation on the engine against torch."""
    engine, torch_ = (Segmenter.from_pretrained(config.model, engine=name) for name in ("graph", "torch"))
    size = engine.model.preprocess.width, engine.model.preprocess.height
    random = np.random.default_rng(0)
    coarse = [
        Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8)) for _ in range(config.batch_size)
    ]
    images = [image.resize(size, Image.Resampling.BICUBIC) for image in coarse]
    return ratios(
        lambda: list(torch_.segment_each(images)), lambda: list(engine.segment_each(images)), config.repeats
    )


def draw(growth: dict[str, dict[int, dict[str, float]]], out: Path) -> None:
    """Time and memory over the number of places, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, what, unit in zip(axes, ("seconds", "mib"), ("seconds", "MiB"), strict=True):
        for layer, values in growth.items():
            places = [times * HEIGHT * WIDTH for times in values]
            axis.loglog(places, [value[what] for value in values.values()], marker="o", label=layer)
        axis.set(xlabel="places of the map (256 channels)", ylabel=unit)
        axis.set_xticks(places, [f"{count:,}" for count in places])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.suptitle("one layer, forward and backward")
    figure.savefig(out, dpi=110, format="png")


if __name__ == "__main__":
    run(main, Config, __doc__)
