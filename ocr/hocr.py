"""Pages as hOCR 1.2: HTML that archives and PDF tools read, with the box of each line and word.

A document is `HEAD`, the element of each page, and `TAIL`.
"""

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from ocr.reader import Page

HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
<head>
<title></title>
<meta http-equiv="Content-Type" content="text/html;charset=utf-8"/>
<meta name="ocr-system" content="visionrnn"/>
<meta name="ocr-capabilities" content="ocr_page ocr_line ocrx_word"/>
</head>
<body>"""
TAIL = "</body>\n</html>"


def page_element(name: str, number: int, page: Page) -> str:
    """The element of a page, its lines in reading order.

    Args:
        name: of its image.
        number: of the page in the document, from 0.
        page: what was read.
    """
    size = " ".join(map(str, page.size))
    image = name.replace("\\", "\\\\").replace('"', '\\"')
    head = f'image "{image}"; bbox 0 0 {size}; ppageno {number}'
    rows = [f'<div class="ocr_page" id="page_{number + 1}" title={quoteattr(_plain(head))}>']
    turned = f"; textangle {-page.angle:.1f}" if abs(page.angle) >= 0.05 else ""
    for i, line in enumerate(page.lines, 1):
        place = f"line_{number + 1}_{i}"
        rows.append(f'<span class="ocr_line" id="{place}" title="{_box(line.box)}{turned}">')
        for j, word in enumerate(line.words, 1):
            title = f"{_box(word.box)}; x_wconf {round(100 * word.confidence)}"
            text = escape(_plain(word.text))
            rows.append(f'<span class="ocrx_word" id="word_{place[5:]}_{j}" title="{title}">{text}</span>')
        rows.append("</span>")
    return "\n".join([*rows, "</div>"])


def _box(box: Sequence[float]) -> str:
    return "bbox " + " ".join(str(round(value)) for value in box)


def _plain(text: str) -> str:
    """Without what XML cannot hold: control characters and halves of characters, as file names may have."""
    return "".join(
        c if c >= " " and not "\ud800" <= c <= "\udfff" and c < "\ufffe" else "\ufffd" for c in text
    )
