"""Names for what happens in clips and in long recordings: the class that users call."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from PIL import Image

from common.device import autocast
from common.engine import Precision
from common.errors import ImageError, UsageError
from common.images import blamed_on
from common.predictor import Predictor, results
from common.threads import ahead
from video.decode import Frame, VideoError, stream_frames
from video.images import OVERSAMPLING, pad, prepared, read_clip, sample, stream_image
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


class ActionClassifier(Predictor[VideoModel]):
    """Classifies clips and long recordings with a trained model.

    Args:
        model: from training or `VideoModel.from_pretrained`.
        device: auto, cpu or cuda.
        precision: auto (bf16 where the hardware has it), bf16 or fp32.

    Example:
        >>> classifier = ActionClassifier.from_pretrained("utd-mhad")  # doctest: +SKIP
        >>> print(classifier.classify("wave.mp4"))  # doctest: +SKIP
    """

    model_class = VideoModel

    def __init__(self, model: VideoModel, device: str = "auto", precision: Precision = "auto") -> None:
        super().__init__(model, device, precision)
        self._network = self.in_precision(model.network)

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

    def read_each(self, paths: Sequence[Path], *, workers: int = 2) -> Iterator[torch.Tensor | ImageError]:
        """As `read` for each path in order, some clips ahead; one that cannot be read gives its error."""
        workers = max(1, workers)
        if self.device.type != "cpu":
            yield from ahead(self.read, paths, workers, 4 * workers)
            return
        # on a CPU, alternating between reading and encoding is faster
        for start in range(0, len(paths), 4 * workers):
            yield from list(ahead(self.read, paths[start : start + 4 * workers], workers, 4 * workers))

    def read(self, path: Path) -> torch.Tensor:
        """The images that the network sees of one clip, preprocessed (S, T, 3, H, W). Raises VideoError."""
        count = self.model.config.frames
        with blamed_on(path, VideoError):
            frames = read_clip(path, count)
            positions = torch.arange(len(frames)).view(1, 1, -1, 1, 1)
            # the same frames as in training's validation
            chosen, _ = sample(positions, torch.tensor([len(frames)]), count, jitter=False)
            pairs = [(frames[i], frames[i - 1] if i else None) for i in chosen.flatten().tolist()]
            return self._stream_images(pairs)

    def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images of one clip (S, T, 3, H, W) -> features (1, S, T, L, C), lengths (1,)."""
        streams, steps = images.shape[:2]
        images = images.flatten(0, 1).to(self.device).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), autocast(self.device, self.precision):
            features = self.model.encode(images).to(self.dtype)
        return features.unflatten(0, (streams, steps)).unsqueeze(0), torch.tensor([steps])

    def logits(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """features (N, S, T, L, C), lengths (N,) -> logits (N, K), float32 on the CPU."""
        with torch.inference_mode():
            return self._network(features, lengths.to(self.device)).float().cpu()

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
        features: deque[torch.Tensor] = deque(maxlen=steps)
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
        self, kept: deque[tuple[Frame, Frame | None]], features: deque[torch.Tensor], fresh: int
    ) -> Window:
        """Encode the frames that are new and classify all that are kept."""
        new = self.encode(self._stream_images(list(kept)[-min(fresh, len(kept)) :]))[0]
        features.extend(new[0].transpose(0, 1))  # 1, S, T, L, C -> T of (S, L, C)
        stacked = torch.stack(list(features), dim=1).unsqueeze(0)
        probabilities = self.logits(stacked, torch.tensor([len(features)])).softmax(dim=-1)[0]
        thumbnail = Image.fromarray(kept[len(kept) // 2][0].pixels)
        thumbnail.thumbnail((160, 160))
        return Window(kept[0][0].time, kept[-1][0].time, tuple(probabilities.tolist()), thumbnail)

    def _stream_images(self, frames: Sequence[tuple[Frame, Frame | None]]) -> torch.Tensor:
        """Frames, each with the one before it -> (S, T, 3, H, W)."""
        streams = self.model.config.streams
        images = [stream_image(frame, before, stream) for stream in streams for frame, before in frames]
        pixels = torch.from_numpy(prepared(images, self.model.encoder.preprocess))
        return pixels.unflatten(0, (len(streams), len(frames)))

    def _classify(self, clips: Sequence[torch.Tensor], top: int) -> list[Action]:
        """Features of clips (S, T, L, C), together."""
        features, lengths = pad(clips)
        return self._actions(self.logits(features, lengths), lengths, top)

    def _actions(self, logits: torch.Tensor, lengths: torch.Tensor, top: int) -> list[Action]:
        best = logits.softmax(dim=-1).topk(min(top, logits.shape[-1]))
        actions = []
        for row, length in enumerate(lengths.tolist()):
            ranked = tuple(
                (self.model.labels[i], p)
                for p, i in zip(best.values[row].tolist(), best.indices[row].tolist(), strict=True)
            )
            actions.append(Action(*ranked[0], ranked, length))
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


def _check_top(top: int) -> None:
    if top < 1:
        raise UsageError(f"--top {top}: must be at least 1")
