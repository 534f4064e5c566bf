"""Names for what happens in clips and in long recordings: the class that users call.

Notation: N clips, S streams, T frames, F numbers of a frame, K classes.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from common.errors import ImageError, UsageError
from common.images import blamed_on
from common.predictor import Predictor, ranked, results, softmax
from common.threads import ahead
from video.decode import Frame, VideoError, stream_frames
from video.images import (
    OVERSAMPLING,
    content_box,
    cropped,
    middles,
    pad,
    prepared,
    read_clip,
    stream_image,
)
from video.on_graphs import OnGraphs

if TYPE_CHECKING:
    from video.model import VideoModel

_GROUP = 8  # clips that are classified together, once their frames are encoded


@dataclass(frozen=True)
class Action:
    """What happens in one clip; `str(action)` is its label."""

    label: str
    probability: float
    top: tuple[tuple[str, float], ...]
    """The most probable labels with their probabilities, this one first."""
    num_frames: int
    """Frames that the network saw."""

    def __str__(self) -> str:
        return self.label


@dataclass(frozen=True)
class Window:
    """What happens in one window of a long recording."""

    start: float
    """Seconds since the start of the recording, not the file's own clock."""
    end: float
    probabilities: tuple[float, ...]
    """One per label of the model, in its order."""
    thumbnail: Image.Image
    """Its middle frame, small."""


@dataclass(frozen=True)
class Segment:
    """Windows with the same label, one after the other."""

    start: float
    end: float
    label: str
    score: float
    """Mean probability of the label over the windows."""


class ActionClassifier(Predictor["VideoModel | OnGraphs"]):
    """Classifies clips and long recordings with a trained model.

    Args:
        model: from training or `VideoModel.from_pretrained`.
        device: auto, cpu or cuda.
        precision: auto (bf16 where the hardware has it), bf16 or fp32.

    Example:
        >>> classifier = ActionClassifier.from_pretrained("utd-mhad")  # doctest: +SKIP
        >>> print(classifier.classify("wave.mp4"))  # doctest: +SKIP
    """

    graph_class = OnGraphs

    @classmethod
    def torch_class(cls) -> "type[VideoModel]":
        """See `Predictor.torch_class`."""
        from video.model import VideoModel

        return VideoModel

    def on_torch(self, model: Any) -> Any:
        """See `Predictor.on_torch`."""
        from video.on_torch import OnTorch

        return OnTorch(model, self.device, self.precision)

    def classify(self, path: str | Path, *, top: int = 5) -> Action:
        """Name what happens in one clip. Raises VideoError; UsageError for a top below 1."""
        return results(self.classify_each([path], top=top, workers=1))[0]

    def classify_each(
        self, paths: Sequence[str | Path], *, top: int = 5, workers: int = 2
    ) -> Iterator[Action | ImageError]:
        """As `classify` for each path in order; files are read ahead by threads.

        A clip that cannot be read gives its error and stops no other.
        """
        _check_top(top)
        clips = self.read_each([Path(path) for path in paths], workers=workers)
        while encoded := [
            clip if isinstance(clip, ImageError) else self.encode(clip)[0][0]
            for clip in islice(clips, _GROUP)
        ]:
            known = [clip for clip in encoded if not isinstance(clip, ImageError)]
            actions = iter(self._classify(known, top) if known else [])
            yield from (clip if isinstance(clip, ImageError) else next(actions) for clip in encoded)

    def read_each(self, paths: Sequence[Path], *, workers: int = 2) -> Iterator[np.ndarray | ImageError]:
        """As `read` for each path in order, some clips ahead; one that cannot be read gives its error."""
        workers = max(1, workers)
        if not isinstance(self.model, OnGraphs) and self.device.type != "cpu":
            yield from ahead(self.read, paths, workers, 4 * workers)
            return
        # on a CPU, alternating between reading and encoding is faster
        for start in range(0, len(paths), 4 * workers):
            yield from list(ahead(self.read, paths[start : start + 4 * workers], workers, 4 * workers))

    def read(self, path: Path) -> np.ndarray:
        """The images that the network sees of one clip, preprocessed (S, T, 3, H, W). Raises VideoError."""
        count = self.model.config.frames
        with blamed_on(path, VideoError):
            frames = read_clip(path, count, self.model.config.crop)
            chosen = middles(len(frames), count).tolist()  # the same as in training's validation
            pairs = [(frames[i], frames[i - 1] if i else None) for i in chosen]
            return self._stream_images(pairs)

    def encode(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images of one clip (S, T, 3, H, W) -> features (1, S, T, F) and lengths (1,)."""
        streams, steps = images.shape[:2]
        found = self.network.look(images.reshape(-1, *images.shape[2:]))
        return found.reshape(1, streams, steps, *found.shape[1:]), np.array([steps])

    def logits(self, features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """features (N, S, T, F), lengths (N,) -> logits (N, K), float32."""
        found: np.ndarray = self.network.logits(features, lengths)
        return found

    def watch(
        self, source: str | Path | int, *, window: float = 0.0, stride: float = 0.0
    ) -> Iterator[Window]:
        """Classify a long recording, or a camera by its index, window by window in constant memory.

        Args:
            source: a path, or a camera's index.
            window: seconds of one decision; 0 is the median length of the training clips.
            stride: seconds from one window to the next; 0 is half a window.

        Raises:
            VideoError: it cannot be read.
            UsageError: a negative window or stride.
        """
        if window < 0 or stride < 0:
            raise UsageError(f"--window {window:g} --stride {stride:g}: seconds must not be negative")
        window = window or self.model.clip_seconds
        stride = stride or window / 2
        steps = self.model.config.frames
        rate = steps * OVERSAMPLING / window
        frames = stream_frames(Path(source) if not isinstance(source, int) else source, rate)
        kept: deque[tuple[Frame, Frame | None]] = deque(maxlen=steps)
        features: deque[np.ndarray] = deque(maxlen=steps)
        fresh, previous = 0, None
        every = max(1, round(stride * rate / OVERSAMPLING))
        for number, frame in enumerate(frames):
            if number % OVERSAMPLING == OVERSAMPLING - 1:
                kept.append((frame, previous))
                fresh += 1
            previous = frame
            if len(kept) == steps and fresh >= every:
                yield self._window(kept, features, fresh)
                fresh = 0
        if not kept and previous is not None:  # a single frame
            kept.append((previous, None))
            fresh = 1
        if fresh:
            yield self._window(kept, features, fresh)

    def _window(
        self, kept: deque[tuple[Frame, Frame | None]], features: deque[np.ndarray], fresh: int
    ) -> Window:
        """Encode the frames that are new, or all where they are cropped, and classify all that are kept."""
        whole = self.model.config.crop == "none"
        pairs = list(kept)[-min(fresh, len(kept)) :] if whole else _cropped(kept)
        new = self.encode(self._stream_images(pairs))[0]
        features.extend(new[0].swapaxes(0, 1))  # 1, S, T, F -> T of (S, F)
        stacked = np.stack(list(features), axis=1)[None]
        probabilities = softmax(self.logits(stacked, np.array([len(features)])))[0]
        thumbnail = Image.fromarray(kept[len(kept) // 2][0].pixels)
        thumbnail.thumbnail((160, 160))
        return Window(kept[0][0].time, kept[-1][0].time, tuple(probabilities.tolist()), thumbnail)

    def _stream_images(self, frames: Sequence[tuple[Frame, Frame | None]]) -> np.ndarray:
        """Frames, each with the one before it -> (S, T, 3, H, W)."""
        streams = self.model.config.streams
        images = [stream_image(frame, before, stream) for stream in streams for frame, before in frames]
        pixels = prepared(images, self.model.encoder.preprocess)
        return pixels.reshape(len(streams), len(frames), *pixels.shape[1:])

    def _classify(self, clips: Sequence[np.ndarray], top: int) -> list[Action]:
        """Features of clips (S, T, F), together."""
        features, lengths = pad(clips)
        return self._actions(self.logits(features, lengths), lengths, top)

    def _actions(self, logits: np.ndarray, lengths: np.ndarray, top: int) -> list[Action]:
        actions = []
        for row, length in zip(logits, lengths.tolist(), strict=True):
            best = ranked(row, self.model.labels, top)
            actions.append(Action(*best[0], best, length))
        return actions


def segments(windows: Iterable[Window], labels: Sequence[str]) -> Iterator[Segment]:
    """Windows one after the other -> segments, each as soon as it has ended.

    Where two windows of different labels overlap, their segments meet in the middle of the overlap.
    """
    current: Segment | None = None
    scores: list[float] = []
    for window in windows:
        score = max(window.probabilities)
        label = labels[window.probabilities.index(score)]
        start = window.start
        if current is not None and current.label == label:
            scores.append(score)
            current = Segment(current.start, window.end, label, sum(scores) / len(scores))
            continue
        if current is not None:
            start = (window.start + current.end) / 2
            yield Segment(current.start, start, current.label, current.score)
        current, scores = Segment(start, window.end, label, score), [score]
    if current is not None:
        yield current


def _cropped(pairs: Iterable[tuple[Frame, Frame | None]]) -> list[tuple[Frame, Frame | None]]:
    """Frames, each with the one before it, cropped to the content of the window that they make up."""
    now, before = zip(*((frame, earlier or frame) for frame, earlier in pairs), strict=True)
    box = content_box([*now, *before])
    return list(zip(cropped(now, box), cropped(before, box), strict=True))


def _check_top(top: int) -> None:
    if top < 1:
        raise UsageError(f"--top {top}: must be at least 1")
