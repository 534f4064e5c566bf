"""Lines that a model finds on a page, and which of them and of the lines of ink are read.

Notation: H x W pixels; a line is its four corners, (4, 2), clockwise from the upper left as it is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from common.ctc import Reading
from common.predictor import Predictor
from ocr.line_maps import find_boxes, fitted, sides
from ocr.on_graphs import FinderOnGraphs
from ocr.page import Layout

if TYPE_CHECKING:
    from ocr.finder import LineFinder
    from ocr.finder_on_torch import FinderOnTorch

FINDER = "lines"
"""The bundled finder of lines."""
AUTO, NONE = "auto", "none"
_MARGIN = 0.1  # of its height, above and below a line; half as much again at its ends
_LIGHT = 3.0  # grey levels: where the mean is so far above the median, what is rare is light: the text
_SAME = 0.3  # of the smaller one: lines that share so much are two views of the same text
SETTLED = 0.97
"""A line of ink that is read with so much confidence need not be compared with the one line found there."""
_WORTH = 0.8  # confidence above which characters speak for a view of a text, and below against it
_SURE, _SURE_LENGTH = 0.8, 3  # confidence and characters of what one of both alone takes for a line


class Finder(Predictor["LineFinder | FinderOnGraphs"]):
    """Finds the lines of pages with a trained model, on the engine or on torch."""

    graph_class = FinderOnGraphs

    @classmethod
    def torch_class(cls) -> "type[LineFinder]":
        """See `Predictor.torch_class`."""
        from ocr.finder import LineFinder

        return LineFinder

    def on_torch(self, model: Any) -> "FinderOnTorch":
        """See `Predictor.on_torch`."""
        from ocr.finder_on_torch import FinderOnTorch

        return FinderOnTorch(model, self.device, self.dtype)

    def find(self, page: np.ndarray) -> np.ndarray:
        """The lines of a grey page, uint8 (H, W): float32 (L, 4, 2), in pixels."""
        seen, scale = fitted(page)
        kernels, sizes = self.network.maps(np.ascontiguousarray(seen))
        found: np.ndarray = find_boxes(kernels, sizes) / scale
        return found


def load_finder(name: str | Path, device: str, precision: Any, engine: Any) -> Finder | None:
    """The finder of a name; `auto` is the bundled one, `none` is None. Raises ModelError."""
    if str(name) == NONE:
        return None
    return Finder.from_pretrained(FINDER if str(name) == AUTO else name, device, precision, engine=engine)


@dataclass(frozen=True)
class LineImage:
    """A line of a page, before it is read."""

    pixels: np.ndarray
    """Its crop, grey uint8 (h, w)."""
    corners: np.ndarray
    """(4, 2) of the crop on the straightened page."""
    box: tuple[int, int, int, int]
    """x0, y0, x1, y1 on the straightened page, by which reading order and overlap are told."""
    closed_up: bool = False
    """See `Layout.closed_up`."""

    def part(self, start: float, end: float) -> np.ndarray:
        """The corners (4, 2) of what lies between two columns of the crop."""
        left, right = (min(x / self.pixels.shape[1], 1.0) for x in (start, end))
        a, b, c, d = self.corners
        return np.array([a + left * (b - a), a + right * (b - a), d + right * (c - d), d + left * (c - d)])


def ink_lines(layout: Layout) -> list[LineImage]:
    """The lines of ink of a page, in its order."""
    found = []
    for box, closed_up in zip(layout.boxes, layout.closed_up, strict=True):
        x0, y0, x1, y1 = box
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)
        found.append(LineImage(layout.crop(box), corners, box, closed_up))
    return found


def found_lines(finder: Finder, page: np.ndarray, layout: Layout) -> list[LineImage]:
    """The lines that a model finds on a grey page as given, uint8 (H, W), each upright in its crop.

    The network sees the page as level as its ink. A crop comes from the straightened page, which has neither
    rules nor empty check boxes; where its text is still light, it is made dark.
    """
    lines = finder.find(layout.level(page)).astype(float)
    found = []
    for line, (wide, high) in zip(lines, sides(lines).tolist(), strict=True):
        if line[1, 0] < line[0, 0]:
            line = np.roll(line, 2, axis=0)  # the page stands upright, so nothing stands on its head
        along, down = (line[1] - line[0]) / max(wide, 1e-6), (line[3] - line[0]) / max(high, 1e-6)
        x, y = 1.5 * _MARGIN * high * along, _MARGIN * high * down
        corners = line + np.array([-x - y, x - y, x + y, y - x])
        size = (
            max(2, round((1 + 3 * _MARGIN * high / max(wide, 1e-6)) * wide)),
            max(4, round((1 + 2 * _MARGIN) * high)),
        )
        half = np.array([wide, high]) / 2 if abs(along[0]) > abs(along[1]) else np.ptp(line, axis=0) / 2
        box = np.r_[line.mean(axis=0) - half, line.mean(axis=0) + half].round().astype(int).tolist()
        found.append(LineImage(_dark(_upright(layout.straight, corners, size)), corners, tuple(box)))
    return found


def _upright(page: np.ndarray, corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What lies between the corners (4, 2) of a box, as uint8 of `size`: width, height."""
    width, height = size
    ends = np.array([[0, 0], [width, 0], [width, height]], np.float32)
    matrix = cv2.getAffineTransform(ends, corners[:3].astype(np.float32))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(page, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _dark(crop: np.ndarray) -> np.ndarray:
    """A crop with dark text: what is rare in it is text."""
    return 255 - crop if float(crop.mean()) > float(np.median(crop)) + _LIGHT else crop


def groups(ink: Sequence[LineImage], found: Sequence[LineImage]) -> list[tuple[list[int], list[int]]]:
    """Which lines of ink and which found ones show the same text, by position; each line is in one group."""
    shared = _overlaps(
        *(np.array([line.box for line in lines], float).reshape(-1, 4) for lines in (ink, found))
    )
    touching = shared > _SAME
    result: list[tuple[list[int], list[int]]] = []
    open_ink, open_found = set(range(len(ink))), set(range(len(found)))
    while open_found:
        here: set[int] = set()
        there: set[int] = set()
        new = {min(open_found)}
        while new:
            there |= new
            here |= set(np.flatnonzero(touching[:, list(new)].any(axis=1)).tolist())
            new = set(np.flatnonzero(touching[list(here)].any(axis=0)).tolist()) - there
        open_ink -= here
        open_found -= there
        result.append((sorted(here), sorted(there)))
    return result + [([i], []) for i in sorted(open_ink)]


def _overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Boxes (A, 4), (B, 4) -> what two share of the smaller one, (A, B)."""
    corner = np.minimum(one[:, None, 2:], other[:, 2:]) - np.maximum(one[:, None, :2], other[:, :2])
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=-1) for boxes in (one, other)]
    shared: np.ndarray = corner.clip(0).prod(axis=-1) / np.minimum(areas[0][:, None], areas[1]).clip(1)
    return shared


class _Read(Protocol):
    """A reading, or a line that was read."""

    @property
    def text(self) -> str: ...

    @property
    def confidence(self) -> float: ...


def is_sure(read: _Read) -> bool:
    """Whether what ink alone shows, or the finder alone, is text."""
    return read.confidence >= _SURE and len(read.text.strip()) >= _SURE_LENGTH


def better(ink: Sequence[Reading], found: Sequence[Reading], least: float) -> bool:
    """Whether a text is read better by its lines of ink than by those that were found.

    Each side counts its characters, weighted by how far their confidence is above what a guess has.

    Args:
        ink: what its lines say.
        found: likewise.
        least: lines read with less confidence are no text.
    """
    one, other = ([r for r in side if r.text.strip() and r.confidence >= least] for side in (ink, found))
    if not one or not other:
        return bool(one)
    worth = [sum(len(r.text) * (r.confidence - _WORTH) for r in side) for side in (one, other)]
    return worth[0] > worth[1]
