"""Draws the pages of a PDF in a process of its own, which `ocr.documents` limits in time and memory.

It is run by its path, so that it imports neither this package nor torch. Arguments: the file and the most
bytes of memory. The first line of its input is the password or null, each further one the number of a page,
the largest number of its pixels and the dots per inch. Each answer is a line: of the document its number of
pages, of a page its width and height, before its pixels as RGB, or what is wrong. All lines are JSON.
"""

import json
import sys
from contextlib import closing, suppress
from pathlib import Path

if __name__ == "__main__":
    del sys.path[0]  # the folder of this file: its modules are not the standard library's

    import pypdfium2


def limit_memory(most: int) -> None:
    """Let the system refuse more memory, where it can."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def answer(**values: object) -> None:
    """Send one line."""
    sys.stdout.buffer.write(json.dumps(values).encode() + b"\n")
    sys.stdout.buffer.flush()


def draw(document: "pypdfium2.PdfDocument", page: int, pixels: int, dpi: int) -> None:
    """Send one page."""
    try:
        with closing(document[page]) as found:
            width, height = found.get_size()
            scale = min(dpi / 72, (pixels / max(width * height, 1e-9)) ** 0.5)
            with closing(found.render(scale=scale)) as bitmap:
                picture = bitmap.to_pil().convert("RGB")
    except (pypdfium2.PdfiumError, ValueError, MemoryError) as error:
        answer(error=str(error) or "it needs too much memory")
    else:
        answer(width=picture.width, height=picture.height)
        sys.stdout.buffer.write(picture.tobytes())
        sys.stdout.buffer.flush()


def main() -> None:
    """Answer until the input ends."""
    limit_memory(int(sys.argv[2]))
    with Path(sys.argv[1]).open("rb") as file:  # PDFium itself wants names in UTF-8
        try:
            document = pypdfium2.PdfDocument(file, password=json.loads(sys.stdin.readline()))
        except pypdfium2.PdfiumError as error:
            answer(error=str(error))
            return
        answer(pages=len(document))
        for line in sys.stdin:
            draw(document, *json.loads(line))


if __name__ == "__main__":
    main()
