"""`visionrnn classify`: what the command does with its flags."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, TypedDict

import tyro

from common.cli import loaded, print_error, print_json, print_row, progress
from common.errors import ImageError, UsageError
from common.files import as_text, find_files, names_in
from common.scale import ScaleFlags, run_on_ray
from video import Action, ActionClassifier, Window, segments
from video.decode import VIDEO_SUFFIXES


@dataclass(frozen=True, kw_only=True)
class Config(ScaleFlags):
    """Name what happens in videos.

        visionrnn classify clip.mp4 FOLDER "more/*.avi" --top 3
        visionrnn classify day.mp4 --stream --timeline day.png
        visionrnn classify 0 --stream

    Prints file, label and probability of each clip. With --stream a long file, or the camera of an index, is
    read window by window in constant memory; each segment (start, end, label, score) is printed when it ends,
    with its times in seconds from the start of the recording. A video that cannot be read is reported on
    stderr, the others are classified all the same, and the exit code is 1.
    """

    paths: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Clips, patterns or folders; or, with --stream, one long recording or the index of a camera."""
    model: str = "utd-mhad"
    """A bundled model, a model or run folder, or hub:user/name."""
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
    out: str | None = None
    """Folder for a PNG of each video with the probabilities over time, and with thumbnails; with --engine ray
    the table."""
    timeline: Path | None = None
    """With --stream: PNG of the probabilities over time, with thumbnails."""
    workers: int = 2
    """Threads that read clips."""


class Guess(TypedDict):
    """JSON values of a label."""

    label: str
    probability: float


class Row(TypedDict):
    """JSON values of a clip."""

    path: str
    label: str
    probability: float
    top: list[Guess]
    num_frames: int


def main(config: Config) -> int:
    """Classify clips or watch a recording."""
    if not config.paths:
        raise UsageError("no video given; name files, or with --stream a file or the index of a camera")
    if config.timeline is not None and not config.stream:
        raise UsageError("--timeline shows a long recording; add --stream")
    if config.engine == "ray":
        return run_on_ray(__name__, config, VIDEO_SUFFIXES, "videos", without=("stream",))
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
    return loaded(ActionClassifier.from_pretrained, config)


def classify(config: Config, classifier: ActionClassifier, paths: list[Path]) -> int:
    """Print the labels of each clip."""
    code = 0
    drawings = names_in(config.out, paths, ("timeline",))
    for path, action in progress(each(config, classifier, paths), len(paths), "clips"):
        if isinstance(action, ImageError):
            print_error(action)
            code = 1
            continue
        files = drawings.get(Path(path), {})
        for file in files.values():
            for _ in watched(config, classifier, Path(path), file):
                pass
        if config.json:
            print_json({**plain(path, action), **as_text(files)})
        else:
            print_row(path, *(column for label, p in action.top for column in (label, f"{p:.2f}")))
    return code


def each(
    config: Config, classifier: ActionClassifier, paths: Sequence[Path]
) -> Iterator[tuple[str, Action | ImageError]]:
    """The name of each clip with its labels."""
    found = classifier.classify_each(paths, top=config.top, workers=config.workers)
    return zip(map(str, paths), found, strict=True)


def plain(name: str, action: Action) -> Row:
    """JSON values of a clip."""
    top: list[Guess] = [{"label": label, "probability": round(p, 4)} for label, p in action.top]
    return {"path": name, **top[0], "top": top, "num_frames": action.num_frames}


def row_type(config: Config) -> type[Row]:
    """What `plain` gives."""
    return Row


def watch(config: Config, classifier: ActionClassifier, source: Path | int) -> int:
    """Print each segment when it ends; draw the timeline, also when interrupted."""
    named = Path(f"camera{source}") if isinstance(source, int) else source
    files = list(names_in(config.out, [named], ("timeline",)).get(named, {}).values())
    if config.timeline is not None:
        files.append(config.timeline)
    with closing(watched(config, classifier, source, *files)) as windows:
        for segment in segments(windows, classifier.model.labels):
            if config.json:
                values = {
                    name: round(v, 3) if isinstance(v, float) else v for name, v in asdict(segment).items()
                }
                print_json({"path": str(source), **values})
            else:
                start, end, score = (f"{v:.2f}" for v in (segment.start, segment.end, segment.score))
                print_row(start, end, segment.label, score)
    return 0


def watched(
    config: Config, classifier: ActionClassifier, source: Path | int, *timelines: Path
) -> Generator[Window, None, None]:
    """The windows of a recording; draws the timelines at its end, also when interrupted."""
    if not timelines:
        yield from classifier.watch(source, window=config.window, stride=config.stride)
        return
    from video.drawing import Timeline

    timeline = Timeline(classifier.model.labels)
    try:
        for window in classifier.watch(source, window=config.window, stride=config.stride):
            timeline.add(window)
            yield window
    finally:
        for file in timelines if timeline.spans else ():
            timeline.draw(str(source), file)
