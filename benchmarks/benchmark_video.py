"""Speed and memory of action classification as ratios against baselines in the same run.

    python benchmarks/benchmark_video.py --data DIR --report FILE.json

- `clips_over_torch`: clips/s of `ActionClassifier.classify_each` on the engine over those on torch, each in
  the precision that it takes by itself (the engine fp32, torch bf16).
- `clips_over_encoder`: clips/s of the same on torch, over a plain PyAV loop that converts the same frames to
  RGB plus the bare encoder on ready images, one after the other; same threads. Bar: 0.85.
- `reading_over_opencv`: frames/s of `read_clip`, over OpenCV's `VideoCapture`, which grabs every frame and
  retrieves, as RGB, as many at even positions by its own frame count. Bar: 1.
- `stream_growth_mib`: how far the process's memory grows after the first minute of an hour-long recording
  that is made for it. Bar: below 100.
"""

import csv
import json
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from timing import ratios, resident

from common.cli import command_line, run
from common.device import autocast
from video import ActionClassifier
from video.images import OVERSAMPLING, read_clip


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags."""

    data: Path
    """Folder with SPLIT.csv and clips."""
    split: str = "val"
    """Which part of it."""
    model: str = "utd-mhad"
    """A bundled model, or a model or run folder."""
    clips: int = 24
    """Clips in each measurement."""
    repeats: int = 5
    """Measurements; the ratio is the median over pairs that ran side by side."""
    minutes: int = 60
    """Length of the recording."""
    window: float = 6.0
    """Seconds of one decision on the recording."""
    report: Path | None = None
    """JSON file to write."""


def main(config: Config) -> None:
    """Run it and print it."""
    classifier = ActionClassifier.from_pretrained(config.model, engine="torch")
    engine = ActionClassifier.from_pretrained(config.model, engine="graph")
    with (config.data / f"{config.split}.csv").open(newline="", encoding="utf-8") as file:
        paths = [config.data / row["file"] for row in csv.DictReader(file)][: config.clips]
    frames = classifier.model.config.frames
    result: dict[str, Any] = {
        "model": config.model,
        "clips": len(paths),
        "threads": torch.get_num_threads(),
        "precision": classifier.precision,
        "engine_precision": engine.precision,
        "torch": torch.__version__,
        "command": command_line(),
        "clips_over_torch": ratios(
            lambda: list(classifier.classify_each(paths)),
            lambda: list(engine.classify_each(paths)),
            config.repeats,
        ),
        "clips_over_encoder": clips_over_encoder(classifier, paths, config.repeats),
        "reading_over_opencv": ratios(
            lambda: list(map(partial(opencv, count=frames * OVERSAMPLING), paths)),
            lambda: [read_clip(path, frames) for path in paths],
            config.repeats,
        ),
        "stream_growth_mib": stream_growth(engine, config.minutes, config.window),
    }
    print(json.dumps(result, indent=1))
    if config.report:
        config.report.write_text(json.dumps(result, indent=1), encoding="utf-8")


def clips_over_encoder(classifier: ActionClassifier, paths: list[Path], repeats: int) -> dict[str, float]:
    """Whole classification compared with only decoding and encoding."""
    images = [classifier.read(path) for path in paths]
    steps = [clip.shape[1] for clip in images]
    flat = [torch.from_numpy(clip).flatten(0, 1) for clip in images]
    ready = [clip.contiguous(memory_format=torch.channels_last) for clip in flat]
    encoder = classifier.model.encoder

    def alone() -> None:
        for path, count in zip(paths, steps, strict=True):
            plain(path, count)
        with torch.inference_mode(), autocast(classifier.device, classifier.precision):
            for clip in ready:
                encoder(clip)

    def whole() -> None:
        for _ in classifier.classify_each(paths):
            pass

    return ratios(alone, whole, repeats)


def plain(path: Path, count: int) -> None:
    """Decode a clip and convert `count` even frames to RGB."""
    reformatter = av.video.reformatter.VideoReformatter()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        wanted = set(np.linspace(0, stream.frames - 1, count).round().astype(int).tolist())
        for i, frame in enumerate(container.decode(stream)):
            if i in wanted:
                reformatter.reformat(frame, format="rgb24").to_ndarray()


def opencv(path: Path, count: int) -> None:
    """The usual loop."""
    capture = cv2.VideoCapture(str(path))
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = set(((np.arange(count) + 0.5) / count * total).astype(int).tolist())
    position = 0
    while capture.grab():
        if position in wanted:
            cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
        position += 1
    capture.release()


def stream_growth(classifier: ActionClassifier, minutes: int, window: float) -> float:
    """MiB that the process grows by after the first minute of a recording."""
    first, largest = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.mp4"
        record(path, minutes)
        for found in classifier.watch(path, window=window):
            if found.end < 60:
                first = resident()
            else:
                largest = max(largest, resident())
    return round((largest - first) / 2**20, 1)


def record(path: Path, minutes: int, rate: int = 8) -> None:
    """A square that wanders over noise."""
    noise = np.random.default_rng(0).integers(0, 60, (120, 160, 3), dtype=np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for i in range(60 * minutes * rate):
            pixels = noise.copy()
            x, y = int(60 + 50 * np.sin(i / 7)), int(45 + 40 * np.cos(i / 11))
            pixels[y : y + 30, x : x + 30] = 220
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


if __name__ == "__main__":
    run(main, Config, __doc__)
