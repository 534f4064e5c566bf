"""Speech recognition: memory and time of a stream of an hour, with a unidirectional model.

    python benchmarks/benchmark_speech.py --report FILE.json

The sound is made as it is needed: tones with pauses, and noise. What the model says of it does not matter.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from timing import resident

from common.charset import Charset
from common.cli import command_line, run
from common.evaluation import show, write_report
from common.files import check_folder
from speech.config import SpeechConfig
from speech.model import SpeechModel
from speech.transcriber import Transcriber

_BLOCK = 0.2  # seconds


@dataclass(frozen=True)
class Config:
    """Flags."""

    report: Path | None = None
    """JSON file to write."""
    model: str = ""
    """A unidirectional model; by default an untrained one of the default sizes."""
    minutes: float = 60.0
    """Of the stream."""


def sound(rate: int, minutes: float, marks: list[float]) -> Iterator[np.ndarray]:
    """Blocks of samples; notes the memory in MiB after each minute."""
    random = np.random.default_rng(0)
    size = round(_BLOCK * rate)
    time_axis = np.arange(size) / rate
    for i in range(round(60 * minutes / _BLOCK)):
        if i and i % round(60 / _BLOCK) == 0:
            marks.append(resident() / 2**20)
        tone = 0.3 * np.sin(2 * np.pi * random.uniform(100, 3000) * time_axis) * (random.random() < 0.7)
        yield (tone + 0.01 * random.standard_normal(size)).astype(np.float32)
    marks.append(resident() / 2**20)


def main(config: Config) -> None:
    """Read the stream, print and write the report."""
    check_folder("--report", config.report)
    torch.set_num_threads(1)
    if config.model:
        transcriber = Transcriber.from_pretrained(config.model, engine="torch")
    else:
        torch.manual_seed(0)
        transcriber = Transcriber(SpeechModel(SpeechConfig(unidirectional=True), Charset(" abcdefgh")))
    marks: list[float] = []
    started = time.monotonic()
    words = sum(1 for _ in transcriber.stream(sound(transcriber.mel.rate, config.minutes, marks)))
    seconds = time.monotonic() - started
    report = {
        "stream_growth_mib": round(max(marks) - marks[0], 1),
        "stream_real_time_factor": round(seconds / (60 * config.minutes), 4),
        "minutes": config.minutes,
        "words": words,
        "memory_mib": round(max(marks)),
        "parameters": transcriber.parameters,
        "threads": 1,
        "precision": transcriber.precision,
        "command": command_line(),
    }
    show(report, 24)
    write_report(report, config.report)


if __name__ == "__main__":
    run(main, Config, __doc__)
