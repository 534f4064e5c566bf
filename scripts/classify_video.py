"""Name what happens in videos.

    python scripts/classify_video.py clip.mp4 other.mp4 --top 3
    python scripts/classify_video.py day.mp4 --stream --timeline day.png
    python scripts/classify_video.py 0 --stream

Prints file, label and probability of each clip. With --stream a long file, or the camera of an index, is
read window by window in constant memory; each segment (start, end, label, score) is printed when it ends.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from common.cli import run
from common.device import Precision
from common.errors import UsageError
from video import ActionClassifier, Window, segments
from video.decode import VideoError


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags."""

    paths: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Clips; or, with --stream, one long recording or the index of a camera."""
    model: str = "utd-mhad"
    """A bundled model, a model or run folder, or user/name on the hub."""
    top: int = 1
    """Labels with their probabilities to print for each clip."""
    json: bool = False
    """Print one JSON object a clip or segment."""
    stream: bool = False
    """Read one long recording window by window."""
    window: float = 0.0
    """With --stream: seconds of one decision; 0 is the median length of the training clips."""
    stride: float = 0.0
    """With --stream: seconds from one window to the next; 0 is half a window."""
    timeline: Path | None = None
    """With --stream: PNG of the probabilities over time, with thumbnails."""
    workers: int = 2
    """Threads that read clips."""
    device: str = "auto"
    """auto, cpu or cuda."""
    precision: Precision = "auto"
    """auto (bf16 where the hardware has it), bf16 or fp32."""


def main(config: Config) -> int:
    """Classify clips or watch a recording."""
    if not config.paths:
        raise UsageError("no video given; name files, or with --stream a file or the index of a camera")
    if config.timeline is not None and not config.stream:
        raise UsageError("--timeline shows a long recording; add --stream")
    if config.stream and len(config.paths) != 1:
        raise UsageError(f"--stream reads one recording, and {len(config.paths)} were given")
    classifier = ActionClassifier.from_pretrained(config.model, config.device, config.precision)
    return watch(config, classifier) if config.stream else classify(config, classifier)


def classify(config: Config, classifier: ActionClassifier) -> int:
    """Print the labels of each clip."""
    code = 0
    found = classifier.classify_each(config.paths, top=config.top, workers=config.workers)
    for path, action in zip(config.paths, found, strict=True):
        if isinstance(action, VideoError):
            print(f"error: {action}", file=sys.stderr)
            code = 1
        elif config.json:
            top = [{"label": label, "probability": round(p, 4)} for label, p in action.top]
            values = {"file": path, **top[0], "top": top, "num_frames": action.num_frames}
            print(json.dumps(values, ensure_ascii=False), flush=True)
        else:
            ranked = "\t".join(f"{label}\t{p:.2f}" for label, p in action.top)
            print(f"{path}\t{ranked}", flush=True)
    return code


def watch(config: Config, classifier: ActionClassifier) -> int:
    """Print each segment when it ends; draw the timeline, also when interrupted."""
    from video.drawing import Timeline

    timeline = Timeline(classifier.model.labels)

    def noted(windows: Iterator[Window]) -> Iterator[Window]:
        for window in windows:
            if config.timeline is not None:
                timeline.add(window)
            yield window

    source = config.paths[0]
    camera = int(source) if source.isdigit() and not Path(source).exists() else source
    windows = noted(classifier.watch(camera, window=config.window, stride=config.stride))
    try:
        for segment in segments(windows, classifier.model.labels):
            if config.json:
                values = {
                    name: round(v, 3) if isinstance(v, float) else v for name, v in asdict(segment).items()
                }
                print(json.dumps(values, ensure_ascii=False), flush=True)
            else:
                print(
                    f"{segment.start:.2f}\t{segment.end:.2f}\t{segment.label}\t{segment.score:.2f}",
                    flush=True,
                )
    finally:
        if config.timeline is not None and timeline.spans:
            timeline.draw(source, config.timeline)
    return 0


if __name__ == "__main__":
    run(main, Config, __doc__)
