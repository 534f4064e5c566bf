"""The pages of a file, one at a time: a picture, a TIFF of several pages, a PDF."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from common.errors import ImageError, UsageError
from common.images import ImageSource, allowed_pixels, check_pixels, load_image

_PDF_DPI = 200
_PDF_PIXELS = 30_000_000  # larger PDF pages are drawn at a lower resolution
_PDF_SECONDS = 20.0  # a page that takes longer is given up
_PDF_MEMORY = 2**30  # bytes of the process that draws
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
    if find_spec("pypdfium2") is None:
        raise UsageError(f"{path}: PDF needs the package pypdfium2; run: pip install '.[pdf]'")
    with _Engine(path, password) as engine:
        for i in range(engine.pages):
            name = str(path) if engine.pages == 1 else f"{path}#{i + 1}"
            try:
                picture = engine.draw(i)
            except _PageError as error:
                yield name, ImageError(f"{name}: this page of the PDF cannot be drawn ({error})")
            else:
                yield name, picture


class _PageError(Exception):
    """Why a page is not drawn."""


class _Engine:
    """PDFium in a process of its own: a page that never ends, or takes all memory, ends only that.

    Args:
        path: of the PDF.
        password: of a protected one.

    Raises:
        ImageError: it cannot be opened.
    """

    def __init__(self, path: Path, password: str | None) -> None:
        self._path, self._password = path, password
        try:
            self.pages = self._start()
        except _PageError as error:
            self.close()
            raise ImageError(f"{path}: {self._reason(str(error))}") from None

    def __enter__(self) -> "_Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def draw(self, page: int) -> Image.Image:
        """One page, from 0. Raises _PageError."""
        if self._process.poll() is not None:
            self.close()
            self._start()
        values, pixels = self._ask([page, min(_PDF_PIXELS, allowed_pixels()), _PDF_DPI])
        return Image.frombuffer("RGB", (values["width"], values["height"]), pixels)

    def _start(self) -> int:
        """Start the process -> the number of pages."""
        program = [sys.executable, str(Path(__file__).with_name("pdf_process.py"))]
        self._process = subprocess.Popen(
            [*program, self._path, str(_PDF_MEMORY)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        pages = self._ask(self._password)[0]["pages"]
        if not pages:
            raise _PageError("it has no pages")
        return int(pages)

    def _ask(self, question: object) -> tuple[dict[str, Any], bytes]:
        """Send a line -> the answer, and the pixels of a page. Raises _PageError."""
        to, back = self._process.stdin, self._process.stdout
        if to is None or back is None:
            raise RuntimeError("no pipes")
        late = threading.Timer(_PDF_SECONDS, self._process.kill)
        late.start()
        try:
            to.write(json.dumps(question).encode() + b"\n")
            to.flush()
            line = back.readline()
            values: dict[str, Any] = json.loads(line) if line else {"error": ""}
            size = 3 * values.get("width", 0) * values.get("height", 0)
            pixels = back.read(size)
        except BrokenPipeError:
            values, size, pixels = {"error": ""}, 0, b""
        finally:
            in_time = not late.finished.is_set()
            late.cancel()
        if not in_time:
            self._process.wait()
            raise _PageError(f"it takes more than {_PDF_SECONDS:g} seconds")
        if len(pixels) < size or values.get("error") == "":
            self._process.wait()
            raise _PageError("it is damaged, or needs too much memory")
        if "error" in values:
            raise _PageError(values["error"])
        return values, pixels

    def _reason(self, reason: str) -> str:
        """Why the PDF cannot be opened, and the cure."""
        if "password" not in reason or b"/Encrypt" not in self._path.read_bytes():
            if "password" in reason or "Success" in reason:  # no error, or that of an earlier document
                reason = "it has no pages"
            return f"not a PDF that can be read ({reason})"
        if self._password is None:
            return "is protected by a password; give it with --password, or save a copy without"
        return "is protected by another password than that of --password"


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
                check_pixels(name, *image.size)
                picture = load_image(image)
            except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
                too_large = str(error).startswith(f"{name}: ")
                yield (
                    name,
                    ImageError(
                        str(error) if too_large else f"{name}: damaged page ({error}); save the file again"
                    ),
                )
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
