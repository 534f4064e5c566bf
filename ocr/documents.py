"""The pages of a file, one at a time: a picture, a TIFF of several pages, a PDF."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from PIL import Image

from common.errors import ImageError, UsageError
from common.images import MAX_PIXELS, ImageSource, load_image

_PDF_DPI = 200
_PDF_PIXELS = 30_000_000  # larger PDF pages are drawn at a lower resolution
_REDUCED = 1  # bit of TIFF's NewSubfileType: a smaller version of another page


def open_pages(path: Path, password: str | None = None) -> Iterator[tuple[str, ImageSource | ImageError]]:
    """The name of each page of a file, and its picture or why it cannot be read.

    A picture is given as its path; a page of a TIFF or PDF that has several is named `path#1`, `path#2`, ...
    Each page is drawn when it is asked for. PDF is drawn at 200 dpi, pages of more than 30 million pixels at
    less.

    Args:
        path: of a picture or PDF; its first bytes tell which it is.
        password: of protected PDFs.

    Raises:
        UsageError: a PDF without the extra `pdf`.
        ImageError: a PDF none of whose pages can be read.
    """
    if _starts_with(path, b"%PDF") or (path.suffix.lower() == ".pdf" and os.access(path, os.R_OK)):
        yield from _pdf_pages(path, password)
    elif _starts_with(path, b"II", b"MM"):
        yield from _tiff_pages(path)
    else:
        yield str(path), path


def _starts_with(path: Path, *magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(magic)
    except OSError:  # whoever loads it says what is wrong with it
        return False


def _pdf_pages(path: Path, password: str | None) -> Iterator[tuple[str, ImageSource | ImageError]]:
    try:
        import pypdfium2
    except ModuleNotFoundError:
        raise UsageError(f"{path}: PDF needs the package pypdfium2; run: pip install '.[pdf]'") from None
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))  # PDFium itself wants names in UTF-8
        try:
            document = stack.enter_context(closing(pypdfium2.PdfDocument(file, password=password)))
        except pypdfium2.PdfiumError as error:
            reason = str(error)
            if "password" not in reason or b"/Encrypt" not in path.read_bytes():
                if "password" in reason or "Success" in reason:  # no error, or that of an earlier document
                    reason = "it has no pages"
                raise ImageError(f"{path}: not a PDF that can be read ({reason})") from None
            if password is None:
                cure = "is protected by a password; give it with --password, or save a copy without"
            else:
                cure = "is protected by another password than that of --password"
            raise ImageError(f"{path}: {cure}") from None
        count = len(document)
        if not count:
            raise ImageError(f"{path}: not a PDF that can be read (it has no pages)")
        for i in range(count):
            name = str(path) if count == 1 else f"{path}#{i + 1}"
            try:
                with closing(document[i]) as page:
                    width, height = page.get_size()
                    scale = min(_PDF_DPI / 72, (_PDF_PIXELS / max(width * height, 1e-9)) ** 0.5)
                    with closing(page.render(scale=scale)) as bitmap:
                        picture: Image.Image = bitmap.to_pil().convert("RGB")
            except (pypdfium2.PdfiumError, ValueError, MemoryError) as error:
                yield name, ImageError(f"{name}: this page of the PDF cannot be drawn ({error})")
            else:
                yield name, picture


def _tiff_pages(path: Path) -> Iterator[tuple[str, ImageSource | ImageError]]:
    try:
        with Image.open(path, formats=("TIFF",)) as image:
            pages = _page_numbers(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        pages = []
    if len(pages) < 2:
        yield str(path), path  # whoever loads it says what is wrong with it
        return
    with Image.open(path, formats=("TIFF",)) as image:
        for number, frame in enumerate(pages, 1):
            name = f"{path}#{number}"
            try:
                image.seek(frame)
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError(f"more than {MAX_PIXELS:,} pixels")
                picture = load_image(image)
            except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
                yield name, ImageError(f"{name}: damaged page ({error}); save the file again")
            else:
                yield name, picture


def _page_numbers(image: Image.Image) -> list[int]:
    """Frames of a TIFF that are pages; smaller versions of pages are not. A damaged one is the last."""
    found: list[int] = []
    for frame in range(1 << 16):  # TIFF counts pages in 16 bits
        try:
            image.seek(frame)
        except EOFError:
            break
        except (OSError, SyntaxError, ValueError):
            return [*found, frame]
        if not int(image.tag_v2.get(254, 0)) & _REDUCED or not frame:  # type: ignore[attr-defined]
            found.append(frame)
    return found
