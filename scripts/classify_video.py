"""Name what happens in videos.

    python scripts/classify_video.py clip.mp4 FOLDER "more/*.avi" --top 3
    python scripts/classify_video.py day.mp4 --stream --timeline day.png
    python scripts/classify_video.py 0 --stream

Prints file, label and probability of each clip. With --stream a long file, or the camera of an index, is
read window by window in constant memory; each segment (start, end, label, score) is printed when it ends,
with its times in seconds from the start of the recording. A video that cannot be read is reported on stderr,
the others are classified all the same, and the exit code is 1.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from common.cli import print_error, print_json, print_row, run
from common.errors import ImageError, UsageError
from common.files import find_files
from common.predictor import UseFlags
from video import ActionClassifier, Window, segments
from video.decode import VIDEO_SUFFIXES


@dataclass(frozen=True, kw_only=True)
class Config(UseFlags):
    """Flags."""

    paths: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Clips, patterns or folders; or, with --stream, one long recording or the index of a camera."""
    model: str = "utd-mhad"
    """A bundled model, a model or run folder, or user/name on the hub."""
    top: int = 1
    """Labels with their probabilities to print for each clip."""
    json: bool = False
    """Print one JSON object per clip or segment."""
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


def main(config: Config) -> int:
    """Classify clips or watch a recording."""
    if not config.paths:
        raise UsageError("no video given; name files, or with --stream a file or the index of a camera")
    if config.timeline is not None and not config.stream:
        raise UsageError("--timeline shows a long recording; add --stream")
    first = config.paths[0]
    if config.stream and len(config.paths) == 1 and first.isdigit() and not Path(first).exists():
        return watch(config, load(config), int(first))
    paths, failed = find_files(config.paths, VIDEO_SUFFIXES, "videos")
    if config.stream and len(paths) != 1:
        raise UsageError(f"--stream reads one recording, and {len(paths)} were given")
    code = watch(config, load(config), paths[0]) if config.stream else classify(config, load(config), paths)
    return code or int(failed)


def load(config: Config) -> ActionClassifier:
    """The classifier of the flags."""
    return ActionClassifier.from_pretrained(config.model, config.device, config.precision)


def classify(config: Config, classifier: ActionClassifier, paths: list[Path]) -> int:
    """Print the labels of each clip."""
    code = 0
    found = classifier.classify_each(paths, top=config.top, workers=config.workers)
    for path, action in zip(paths, found, strict=True):
        if isinstance(action, ImageError):
            print_error(action)
            code = 1
        elif config.json:
            top = [{"label": label, "probability": round(p, 4)} for label, p in action.top]
            print_json({"file": str(path), **top[0], "top": top, "num_frames": action.num_frames})
        else:
            print_row(path, *(column for label, p in action.top for column in (label, f"{p:.2f}")))
    return code


def watch(config: Config, classifier: ActionClassifier, source: Path | int) -> int:
    """Print each segment when it ends; draw the timeline, also when interrupted."""
    from video.drawing import Timeline

    timeline = Timeline(classifier.model.labels)

    def noted(windows: Iterator[Window]) -> Iterator[Window]:
        for window in windows:
            if config.timeline is not None:
                timeline.add(window)
            yield window

    windows = noted(classifier.watch(source, window=config.window, stride=config.stride))
    try:
        for segment in segments(windows, classifier.model.labels):
            if config.json:
                values = {
                    name: round(v, 3) if isinstance(v, float) else v for name, v in asdict(segment).items()
                }
                print_json(values)
            else:
                start, end, score = (f"{v:.2f}" for v in (segment.start, segment.end, segment.score))
                print_row(start, end, segment.label, score)
    finally:
        if config.timeline is not None and timeline.spans:
            timeline.draw(str(source), config.timeline)
    return 0


if __name__ == "__main__":
    run(main, Config, __doc__)
