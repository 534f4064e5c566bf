"""The preprocessing of a clip; training and use share it.

Notation: N clips, S streams, T frames, L grid places, C channels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from common.images import Preprocess
from video.decode import Frame, read_evenly

StreamKind = Literal["appearance", "difference", "flow"]
OVERSAMPLING = 2
"""Frames that are read for each that the network sees; training takes one of them at random."""
_MAX_FLOW = 20.0  # pixels between two frames at which the flow's colours saturate
_FLOW_SIDE = 160  # pixels of the shorter side on which flow is computed


def read_clip(path: Path, frames: int) -> list[Frame]:
    """`frames * OVERSAMPLING` frames at even times, or all of a shorter clip. Raises VideoError."""
    return read_evenly(path, frames * OVERSAMPLING)


def stream_image(frame: Frame, previous: Frame | None, stream: StreamKind) -> np.ndarray:
    """The encoder's input for one frame of a stream, uint8 (H, W, 3).

    - `appearance`: the frame.
    - `difference`: half its difference to the previous frame, rounded down, plus mid-grey.
    - `flow`: DIS optical flow (Kroeger et al. 2016) from the previous frame as colour: right in red, down in
      green, speed in blue; no motion is grey (red, green) and black (blue).
    """
    if stream == "appearance":
        return frame.pixels
    import cv2

    before = (previous or frame).pixels
    if before.shape != frame.pixels.shape:  # another recording begins, in another size
        before = frame.pixels
    if stream == "difference":
        return cv2.addWeighted(frame.pixels, 0.5, before, -0.5, 127.75)  # .75: halves round down
    return _flow(before, frame.pixels)


def prepared(images: Sequence[np.ndarray], preprocess: Preprocess) -> np.ndarray:
    """Images of a clip, uint8 (H, W, 3) each -> (N, 3, height, width), as `Preprocess.batch`.

    torch's antialiased resize of bytes takes a fifth of the time of Pillow's and starts no threads; on photos
    the two differ by 1 in three values of a thousand.
    """
    size, mode = [preprocess.height, preprocess.width], InterpolationMode(preprocess.interpolation)
    fitted = []
    for image in images:
        pixels = torch.from_numpy(np.require(image, requirements="W")).permute(2, 0, 1)
        fitted.append(F.resize(pixels, size, interpolation=mode, antialias=True).permute(1, 2, 0).numpy())
    return preprocess.batch(fitted)


def _flow(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    import cv2

    scale = min(1.0, _FLOW_SIDE / min(after.shape[:2]))
    size = (max(16, round(after.shape[1] * scale)), max(16, round(after.shape[0] * scale)))
    grey = [
        cv2.cvtColor(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        for pixels in (before, after)
    ]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    flow = dis.calc(grey[0], grey[1], None) / _MAX_FLOW  # type: ignore[call-overload]
    colours = np.dstack([flow / 2 + 0.5, np.linalg.norm(flow, axis=-1)])
    return np.asarray(255 * colours.clip(0, 1), dtype=np.uint8)


def pad(clips: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips (S, T, L, C) -> features (N, S, T', L, C), 0 beyond a clip's length, and lengths (N,)."""
    lengths = torch.tensor([clip.shape[1] for clip in clips])
    features = clips[0].new_zeros(len(clips), len(clips[0]), int(lengths.max()), *clips[0].shape[2:])
    for i, clip in enumerate(clips):
        features[i, :, : clip.shape[1]] = clip
    return features, lengths


def sample(
    features: torch.Tensor, lengths: torch.Tensor, count: int, *, jitter: bool | torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Take `count` frames of each clip, one from each of as many equal parts; all of a clip that has fewer.

    Args:
        features: (N, S, T', L, C).
        lengths: (N,).
        count: T.
        jitter: a random frame of each part (Wang et al. 2016, section 3.1), in place of the
            middle one; or where in each part it is, (N, T) from 0 to below 1.

    Returns:
        features (N, S, T, L, C), lengths (N,).
    """
    steps = torch.arange(count, device=lengths.device)
    if not isinstance(jitter, torch.Tensor):
        jitter = torch.rand(len(lengths), count) if jitter else torch.full((len(lengths), count), 0.5)
    moment = jitter.to(lengths.device)
    spread = ((steps + moment) / count * lengths[:, None]).long()
    positions = torch.where(lengths[:, None] > count, spread, steps).clamp(max=features.shape[2] - 1)
    rows = torch.arange(len(lengths))[:, None, None]
    streams = torch.arange(features.shape[1])[:, None]
    return features[rows, streams, positions[:, None]], lengths.clamp(max=count)


def warped(moments: torch.Tensor, bends: torch.Tensor) -> torch.Tensor:
    """Where in its part each frame is taken, once the clip runs faster at one end and slower at the other.

    Time u of 0 to 1 becomes u + bend / pi * sin(pi u), which begins and ends where it did: the speed is
    1 + bend at first and 1 - bend at last.

    Args:
        moments: (N, T) as `sample`'s `jitter`; so is what is returned, but for values beyond a part.
        bends: (N,) from -1 to 1.
    """
    count = moments.shape[1]
    steps = torch.arange(count, device=moments.device)
    times = (steps + moments) / count
    return moments + count * bends[:, None] / torch.pi * torch.sin(torch.pi * times)


def drop_frames(
    features: torch.Tensor, lengths: torch.Tensor, kept: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Leave out frames, as a camera or a network that is too slow does; those after them move up.

    Args:
        features: (N, S, T, L, C).
        lengths: (N,).
        kept: (N, T) whether a frame stays; a clip that would lose all keeps its first.

    Returns:
        features (N, S, T, L, C), of which only the first of each clip count; lengths (N,).
    """
    inside = torch.arange(kept.shape[1], device=kept.device) < lengths[:, None]
    kept = kept & inside
    kept[:, 0] |= ~kept.any(dim=1)
    order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)  # those that stay, in order, then the others
    index = order[:, None, :, None, None].expand(-1, features.shape[1], -1, *features.shape[3:])
    return features.gather(2, index), kept.sum(dim=1)


def shuffle_frames(features: torch.Tensor, lengths: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """features (N, S, T, L, C), lengths (N,) -> the same frames of each clip in random order.

    All streams of a clip in the same order; the difference or flow image of a frame moves with it.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = features.clone()
    for i, length in enumerate(lengths.tolist()):
        shuffled[i, :, :length] = features[i][:, torch.randperm(length, generator=generator)]
    return shuffled
