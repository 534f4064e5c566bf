"""One self-contained HTML page with images, captions, references and scores, best first."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.files import write_aside
from common.images import load_image

_SIDE = 320  # pixels of an image's longer side
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1.2rem }
article { border: 1px solid #ddd; border-radius: 8px; overflow: hidden; background: #fff }
img { width: 100%; display: block }
div { padding: .7rem .9rem }
b { font-size: 1.05rem } small { color: #666 } ul { margin: .5rem 0 0; padding-left: 1.1rem; color: #555 }
"""


@dataclass(frozen=True)
class Entry:
    """One image of the page."""

    path: Path
    caption: str
    references: tuple[str, ...]
    score: float
    """CIDEr-D x 100 of this caption."""


def write_gallery(entries: Sequence[Entry], title: str, out: Path) -> None:
    """Write the page. Raises OSError; ImageError for an image that cannot be read."""
    cards = []
    for rank, entry in enumerate(sorted(entries, key=lambda e: -e.score), 1):
        references = "".join(f"<li>{html.escape(r)}</li>" for r in entry.references)
        cards.append(
            f'<article><img loading="lazy" alt="" src="{_data_url(entry.path)}"><div>'
            f"<b>{html.escape(entry.caption)}</b><br>"
            f"<small>{rank}. CIDEr-D {entry.score:.1f} &middot; {html.escape(entry.path.name)}</small>"
            f"<ul>{references}</ul></div></article>"
        )
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>"
        f"<p>{len(cards):,} pictures, best caption first</p><main>{''.join(cards)}</main></html>"
    )
    with write_aside(out) as aside:
        aside.write_text(page, encoding="utf-8")


def _data_url(path: Path) -> str:
    image = load_image(path, at_least=_SIDE)
    image.thumbnail((_SIDE, _SIDE))
    data = io.BytesIO()
    image.save(data, format="JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
