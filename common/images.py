"""Reading pictures safely, and the preprocessing that a checkpoint carries."""

import glob
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from common.errors import ImageError, UsageError

ImageSource = str | os.PathLike[str] | Image.Image

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
PIXELS = 2
"""Raised whenever the same file gives other pixels, so that cached features are computed again."""
MAX_PIXELS = 178_956_970
"""Larger pictures are refused as decompression bombs (Pillow's own error limit)."""


def load_image(source: ImageSource, at_least: int = 0) -> Image.Image:
    """Open one picture as upright 8-bit RGB.

    Handles EXIF rotation, CMYK, palettes, 16-bit grey and the first frame of an animation; transparent
    pixels are laid on white.

    Args:
        source: a path, or a Pillow image (which is not changed).
        at_least: pixels that the caller needs on the shorter side. A JPEG may then be decoded at 1/2, 1/4 or
            1/8 of its size, never below twice this, which reads a camera photo several times faster.

    Raises:
        ImageError: the file is missing, empty, truncated, no picture, or larger than `MAX_PIXELS`.
    """
    if isinstance(source, Image.Image):
        return _to_rgb(source)
    path = Path(source)
    try:
        if not path.is_file():
            raise ImageError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
        if path.stat().st_size == 0:
            raise ImageError(f"{path}: the file is empty (0 bytes); copy it again")
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            if at_least:
                image.draft("RGB", (2 * at_least, 2 * at_least))
            return _to_rgb(image)
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"{path}: more than {MAX_PIXELS:,} pixels; scale the picture down first") from None
    except Image.UnidentifiedImageError:
        raise ImageError(f"{path}: not a picture that Pillow can read, whatever its name says") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"{path}: damaged picture ({error}); copy or export it again") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)  # a copy
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        wide = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray((wide / 257).round().astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        wide = np.nan_to_num(np.asarray(image))
        scale = 255.0 if wide.max(initial=0) <= 1 else 1.0
        return Image.fromarray((wide * scale).clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def find_images(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Expand files, glob patterns and folders (searched recursively) into picture paths, sorted, each once.

    A named file is kept whatever its suffix, even when it does not exist: reading it then reports it.

    Raises:
        ImageError: a folder or a pattern that holds no picture.
        UsageError: no path at all.
    """
    found: dict[Path, None] = {}
    for given in paths:
        path = Path(given)
        if path.is_dir():
            inside = [
                p for p in sorted(path.rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()
            ]
            if not inside:
                raise ImageError(f"{path}: no pictures in this folder ({', '.join(sorted(IMAGE_SUFFIXES))})")
        elif not path.exists() and any(c in str(given) for c in "*?["):
            inside = [Path(p) for p in sorted(glob.glob(str(given), recursive=True)) if Path(p).is_file()]
            if not inside:
                raise ImageError(f"{given}: nothing matches this pattern")
        else:
            inside = [path]
        found.update(dict.fromkeys(inside))
    if not found:
        raise UsageError("no pictures given; name files, patterns or folders")
    return list(found)


@dataclass(frozen=True)
class Preprocess:
    """A picture as the encoder expects it; stored in the checkpoint and built from it alone.

    The whole picture is squashed to `height` x `width`, so that nothing at its rim is lost.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"

    def __call__(self, source: ImageSource) -> torch.Tensor:
        """Return the picture as float32 (3, height, width), normalised. Raises ImageError."""
        return self.batch([source])[0].contiguous()

    def batch(self, sources: Sequence[ImageSource | np.ndarray]) -> torch.Tensor:
        """As a call for each, but together: (N, 3, height, width), channels_last.

        A picture may also be uint8 (H, W, 3), RGB. Normalised in NumPy, as threads call it: torch's own
        threads beside them would get in the encoder's way.
        """
        mean, std = np.array(self.mean), np.array(self.std)
        scale, shift = (np.tile(v, self.width).astype(np.float32) for v in (1 / (255 * std), -mean / std))
        pixels = np.empty((len(sources), self.height, 3 * self.width), np.float32)
        for row, source in zip(pixels, sources, strict=True):
            np.multiply(self._fit(source).reshape(self.height, -1), scale, out=row)
            row += shift
        return torch.from_numpy(pixels).unflatten(2, (self.width, 3)).permute(0, 3, 1, 2)

    def _fit(self, source: ImageSource | np.ndarray) -> np.ndarray:
        """uint8 (height, width, 3). On photos torch's antialiased resize of bytes differs from Pillow's by 1
        in three values of a thousand; it takes a fifth of the time and starts no threads."""
        if not isinstance(source, np.ndarray):
            source = np.asarray(load_image(source, at_least=max(self.height, self.width)))
        if source.shape[:2] == (self.height, self.width):
            return source
        pixels = torch.from_numpy(np.require(source, requirements="W")).permute(2, 0, 1)
        mode = InterpolationMode(self.interpolation)
        fitted = F.resize(pixels, [self.height, self.width], interpolation=mode, antialias=True)
        return fitted.permute(1, 2, 0).numpy()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` is the inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocess":
        """Build from what `to_dict` gave, also after a trip through JSON."""
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


@dataclass
class ImageBatch:
    """Preprocessed pictures of one batch and what could not be read."""

    indices: list[int]
    """Position of each row of `images` in the sources given."""
    images: torch.Tensor
    """float32 (N, 3, H, W), channels_last; N may be 0."""
    errors: dict[int, ImageError]
    """Position in the sources -> why it was left out."""


def read_batches(
    sources: Sequence[ImageSource], preprocess: Preprocess, batch_size: int, workers: int = 2
) -> Iterator[ImageBatch]:
    """Preprocess `sources` in order, in threads that read ahead of the caller by two batches.

    A picture that cannot be read lands in `errors`; it never stops the others.

    Raises:
        UsageError: batch_size below 1.
    """
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: must be at least 1")

    def read(source: ImageSource) -> torch.Tensor | ImageError:
        try:
            return preprocess(source)
        except ImageError as error:
            return error

    size = (3, preprocess.height, preprocess.width)
    starts = range(0, len(sources), batch_size)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        queue: deque[tuple[int, list[Future[torch.Tensor | ImageError]]]] = deque()
        for start in [*starts, None, None]:
            if start is not None:
                queue.append((start, [pool.submit(read, s) for s in sources[start : start + batch_size]]))
                if len(queue) <= 2:
                    continue
            if not queue:
                continue
            first, futures = queue.popleft()
            results = {first + i: future.result() for i, future in enumerate(futures)}
            good = {i: r for i, r in results.items() if isinstance(r, torch.Tensor)}
            images = torch.empty((len(good), *size)).contiguous(memory_format=torch.channels_last)
            for row, pixels in enumerate(good.values()):
                images[row] = pixels
            yield ImageBatch(
                list(good), images, {i: r for i, r in results.items() if isinstance(r, ImageError)}
            )
