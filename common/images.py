"""Reading images safely, and the preprocessing that a checkpoint carries."""

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import ExifTags, Image, ImageOps

from common.errors import ImageError, UsageError, VisionError
from common.schema import Range
from common.threads import ahead

ImageSource = str | os.PathLike[str] | Image.Image

FORMATS = (
    "JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000", "ICO", "PCX", "PSD", "QOI", "DDS",
    "SGI", "TGA",
)  # fmt: skip
"""What Pillow may open, in the order in which it tries them. Never EPS or other PostScript: Pillow hands
that to Ghostscript, so that a stranger's file, whatever its name, would run as a program."""
# fmt: off
_UNSUPPORTED = frozenset({
    ".heic", ".heif", ".hif", ".jxl", ".svg", ".svgz", ".eps", ".ps", ".wmf", ".emf", ".exr", ".hdr", ".xcf",
    ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw",
})
IMAGE_SUFFIXES = _UNSUPPORTED | {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".ppm", ".pgm", ".pbm", ".pnm",
    ".pfm", ".webp", ".tif", ".tiff", ".avif", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ico", ".pcx",
    ".psd", ".qoi", ".dds", ".sgi", ".rgb", ".rgba", ".bw", ".tga",
}
# fmt: on
"""Suffixes of images in folders; also of unsupported formats, so that those files get an error."""
PIXELS = 5
"""Version of the pixels: raise it whenever the same file gives other ones, so that cached features are
computed again."""
MAX_PIXELS = 89_478_485
"""Larger images, pages and video frames are refused before they are decoded, as a small file may hold any
number of pixels; see `limit_pixels`. Pillow warns of more."""

_BITS, _PLANES = 258, 284  # TIFF's tags BitsPerSample and PlanarConfiguration

_large = threading.Lock()  # held while an image of more than `_LARGE` pixels is decoded
_LARGE = 25_000_000
_STRIP = 2**22  # pixels that are converted at a time
_limit = MAX_PIXELS

Image.preinit()  # the first of FORMATS; else the first image opened loads every plug-in of Pillow


def limit_pixels(most: int) -> None:
    """Refuse images, pages and video frames of more pixels from now on, in the whole process.

    Raises:
        UsageError: below 1.
    """
    global _limit
    if most < 1:
        raise UsageError(f"--max-pixels {most}: must be at least 1")
    _limit = most
    Image.MAX_IMAGE_PIXELS = max(most, MAX_PIXELS)  # Pillow's own; it refuses twice as many


def allowed_pixels() -> int:
    """As `limit_pixels` set it."""
    return _limit


def check_pixels(source: object, width: int, height: int, kind: type[ImageError] = ImageError) -> None:
    """Raises a `kind`, which names the source, for more pixels than are allowed."""
    if width * height > _limit:
        raise kind(
            f"{source}: {width:,} x {height:,} pixels, and at most {_limit:,} are read; scale it down first, "
            "or raise --max-pixels (common.images.limit_pixels)"
        )


def load_image(source: ImageSource, at_least: int = 0) -> Image.Image:
    """Open one image as upright 8-bit RGB.

    Handles EXIF rotation, CMYK, palettes, 16 bits a channel, 32-bit and floating-point grey (see `_to_bytes`)
    and the first frame of an animation; transparent pixels get a white background.

    Args:
        source: a path, or a Pillow image (which is not changed).
        at_least: pixels that the caller needs on the shorter side. A JPEG may then be decoded at 1/2, 1/4 or
            1/8 of its size, never below twice this, which reads a camera photo several times faster.

    Raises:
        ImageError: the file is missing, empty, truncated, no image, or has more pixels than `limit_pixels`
            allows.
    """
    if isinstance(source, Image.Image):
        name = getattr(source, "filename", "") or "the picture"
        with blamed_on(name):
            check_pixels(name, *source.size)
            return _to_rgb(source, copied=True)
    path = Path(source)
    with blamed_on(path):
        if not path.is_file():
            raise ImageError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
        if path.stat().st_size == 0:
            raise ImageError(f"{path}: the file is empty (0 bytes); copy it again")
        with Image.open(path, formats=FORMATS) as image:
            check_pixels(path, *image.size)
            if at_least:
                image.draft("RGB", (2 * at_least, 2 * at_least))
            with _large if image.width * image.height > _LARGE else nullcontext():
                return _to_rgb(image)


@contextmanager
def blamed_on(source: object, kind: type[ImageError] = ImageError) -> Iterator[None]:
    """Context for decoding `source`: every error in it becomes a `kind` that names the source.

    Decoders meet damage with exceptions of every type, and one bad file must not end a run over many.

    Raises:
        ImageError: for every exception but the project's own, which pass unchanged.
    """
    try:
        yield
    except VisionError:
        raise
    except Image.DecompressionBombError:
        raise kind(f"{source}: more than {_limit:,} pixels; scale the picture down first") from None
    except Image.UnidentifiedImageError:
        suffix = Path(str(source)).suffix.lower()
        if suffix in _UNSUPPORTED:
            raise kind(f"{source}: {suffix} is not read; convert it to JPEG or PNG first") from None
        raise kind(f"{source}: not a picture that can be read, whatever its name says") from None
    except MemoryError:
        raise kind(f"{source}: needs more memory than there is; scale it down first") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise kind(f"{source}: cannot be read ({error.strerror})") from None
        message = " ".join(str(error).split()) or type(error).__name__
        raise kind(f"{source}: damaged ({message}); copy or export it again") from None


def _to_rgb(image: Image.Image, *, copied: bool = False) -> Image.Image:
    """`copied`: never the image itself. A copy of a large one needs much memory."""
    deep = _deep_colours(image)
    if deep is None:
        image = ImageOps.exif_transpose(image) if copied or _is_turned(image) else image
    else:
        parts = (
            [_to_bytes(deep[..., :3]), _to_bytes(deep[..., 3:])] if deep.shape[-1] > 3 else [_to_bytes(deep)]
        )
        del deep
        image = Image.fromarray(np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0])
    image.load()
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(_to_bytes(np.asarray(image))).convert("RGB")
    if "A" in image.mode or "transparency" in image.info:
        return _on_white(image)
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """An image with transparent pixels on white, RGB."""
    found = Image.new("RGB", image.size)
    for top, strip in _strips(image):
        strip = strip.convert("RGBA")
        white = Image.new("RGBA", strip.size, "white")
        found.paste(Image.alpha_composite(white, strip).convert("RGB"), (0, top))
    return found


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Some rows of an image at a time, each with the number of its first: a large one needs much memory."""
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _is_turned(image: Image.Image) -> bool:
    return image.getexif().get(ExifTags.Base.Orientation, 1) != 1


def _deep_colours(image: Image.Image) -> np.ndarray | None:
    """Of colours in 16 bits the values, uint16 (H, W, C), upright; None for other images and without a file.

    Pillow has no 16-bit colour: it keeps the upper byte, of which 12 bits in 16 leave little. Read with the
    order of bytes swapped, it gives the lower one.
    """
    name, tiles = getattr(image, "filename", ""), getattr(image, "tile", ())
    if not name or image.mode not in ("RGB", "RGBA") or not tiles:
        return None
    tags: Any = getattr(image, "tag_v2", None)  # of a TIFF: Pillow forgets the bits of planes that lie apart
    apart = tags is not None and tags.get(_PLANES) == 2 and tags.get(_BITS, (8,))[0] == 16
    if not apart and ";16" not in str(tiles[0].args):
        return None
    order = "B" if apart and tags.prefix == b"MM" else "L"
    values: Any = None
    for upper in (True, False):
        with Image.open(name, formats=(image.format or "",)) as again:
            again.seek(image.tell())
            again.tile = [tile._replace(args=_raw_mode(tile.args, order, upper)) for tile in tiles]
            part = ImageOps.exif_transpose(again) if _is_turned(again) else again
            if values is None:
                values = np.zeros((part.height, part.width, len(part.getbands())), np.uint16)
            for top, strip in _strips(part):
                rows = values[top : top + strip.height]
                rows |= np.asarray(strip).astype(np.uint16) << (8 if upper else 0)
            del again, part  # before the next one is decoded
    return values


def _raw_mode(arguments: Any, order: str, upper: bool) -> Any:
    """A decoder's arguments such that it gives the upper or the lower byte of 16 bits.

    Args:
        arguments: as Pillow found them: a raw mode, or several arguments of which it is the first.
        order: of bytes, where the raw mode does not say it.
        upper: which byte.
    """
    if not isinstance(arguments, str):
        return (_raw_mode(arguments[0], order, upper), *arguments[1:])
    kind, _, stated = arguments.partition(";16")
    order = {"N": "L" if sys.byteorder == "little" else "B", "": order}.get(stated, stated)
    return f"{kind};16{order if upper else 'BL'['LB'.index(order)]}"


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Values of 16 or 32 bits or floats -> uint8 of the same shape, by the range that they really have.

    Integers count as 8, 10, 12 or 16 bits, whichever is the least that holds them; floats up to 1 as shares
    of white, whole ones as such integers. Any other range is stretched from its lowest value, black, to its
    highest, white. One value of a thousand may lie outside at either end, as hot pixels do. NaN is black.
    """
    finite = values.reshape(-1)[:: max(1, values.size // 2**20)]
    finite = finite if values.dtype.kind in "iu" else finite[np.isfinite(finite)]
    low, high = np.quantile(finite, (0.001, 0.999), method="nearest").tolist() if finite.size else (0, 1)
    integral = values.dtype.kind in "iu" or bool((finite == finite.round()).all())
    if 0 <= low <= high <= 1 and values.dtype.kind == "f":
        low, high = 0, 1
    elif 0 <= low <= high <= 65535 and integral:
        low, high = 0, next(white for white in (255, 1023, 4095, 65535) if high <= white)
    elif low == high:
        low -= 1
    found = np.empty(values.shape, np.uint8)
    rows = max(1, _STRIP // max(1, values[0].size))
    for top in range(0, len(values), rows):
        part = values[top : top + rows]
        wide: Any = part.astype(np.float64 if values.dtype == np.int32 else np.float32)
        np.nan_to_num(wide, copy=False, nan=low)
        wide.clip(low, high, out=wide)
        wide -= low
        wide *= 255 / (high - low)
        found[top : top + rows] = wide.round(out=wide)
    return found


_Spread = Annotated[float, Range(1e-6)]


@dataclass(frozen=True)
class Preprocess:
    """An image as the encoder expects it; stored in the checkpoint and built only from it.

    The whole image is resized to `height` x `width`, so that nothing at its border is lost.
    """

    height: Annotated[int, Range(1, 2048)]
    width: Annotated[int, Range(1, 2048)]
    mean: tuple[float, float, float]
    std: tuple[_Spread, _Spread, _Spread]
    interpolation: Literal["nearest", "nearest-exact", "bilinear", "bicubic"] = "bicubic"

    def __call__(self, source: ImageSource) -> np.ndarray:
        """Return the image as float32 (3, height, width), normalised. Raises ImageError."""
        return np.ascontiguousarray(self.batch([source])[0])

    def batch(self, sources: Sequence[ImageSource | np.ndarray]) -> np.ndarray:
        """As a call for each, but together: (N, 3, height, width), in memory as (N, height, width, 3).

        An image may also be uint8 (H, W, 3), RGB. NumPy and Pillow start no threads, which would slow the
        encoder down.
        """
        mean, std = np.array(self.mean), np.array(self.std)
        scale, shift = (np.tile(v, self.width).astype(np.float32) for v in (1 / (255 * std), -mean / std))
        pixels = np.empty((len(sources), self.height, 3 * self.width), np.float32)
        for row, source in zip(pixels, sources, strict=True):
            np.multiply(self._fit(source).reshape(self.height, -1), scale, out=row)
            row += shift
        return pixels.reshape(-1, self.height, self.width, 3).transpose(0, 3, 1, 2)

    def _fit(self, source: ImageSource | np.ndarray) -> np.ndarray:
        """uint8 (height, width, 3)."""
        with blamed_on("the picture" if isinstance(source, np.ndarray | Image.Image) else source):
            if isinstance(source, np.ndarray):
                image = Image.fromarray(source)
            else:
                image = load_image(source, at_least=max(self.height, self.width))
            if image.size != (self.width, self.height):
                kind = self.interpolation.partition("-")[0].upper()  # Pillow has one kind of nearest
                image = image.resize((self.width, self.height), Image.Resampling[kind])
            return np.asarray(image)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `common.schema.checked` is the inverse."""
        return asdict(self)


@dataclass
class ImageBatch:
    """Preprocessed images of one batch and what could not be read."""

    indices: list[int]
    """Position of each row of `images` in the sources given."""
    images: np.ndarray
    """float32 (N, 3, H, W), in memory as (N, H, W, 3); N may be 0."""
    errors: dict[int, ImageError]
    """Position in the sources -> why it was left out."""


def read_batches(
    sources: Sequence[ImageSource], preprocess: Preprocess, batch_size: int, workers: int = 2
) -> Iterator[ImageBatch]:
    """Preprocess `sources` in order, in threads that read ahead of the caller by two batches.

    An image that cannot be read lands in `errors`; it never stops the others.

    Raises:
        UsageError: batch_size below 1.
    """
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: must be at least 1")

    results = ahead(preprocess, sources, max(1, workers), 2 * batch_size)
    for start in range(0, len(sources), batch_size):
        batch = dict(enumerate(islice(results, batch_size), start))
        good = {i: pixels for i, pixels in batch.items() if not isinstance(pixels, ImageError)}
        size = (len(good), preprocess.height, preprocess.width, 3)
        images = np.empty(size, np.float32).transpose(0, 3, 1, 2)
        for row, pixels in enumerate(good.values()):
            images[row] = pixels
        errors = {i: error for i, error in batch.items() if isinstance(error, ImageError)}
        yield ImageBatch(list(good), images, errors)
