"""Pages with their lines, labelled and drawn, as a finder of lines trains on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from common.errors import DataError, UsageError
from common.files import Dropped, load_json
from common.images import FORMATS, IMAGE_SUFFIXES
from ocr.drawn_pages import DrawnPages
from ocr.images import grey
from ocr.line_maps import LabelledPage, fitted, seen, stacked, target_maps
from ocr.page_painting import photographed

_SCALES = (0.45, 1.4)  # of labelled pages in training


@dataclass(frozen=True)
class WholePage:
    """A page and its lines on disk."""

    image: Path
    lines: np.ndarray
    """float32 (L, 4, 2)"""

    def load(self) -> LabelledPage:
        """With its pixels. Raises ImageError."""
        return LabelledPage(grey(self.image), self.lines, stacked([]))


def read_pages(folder: Path) -> list[WholePage]:
    """Read a folder of whole pages, NAME.jpg each with its lines in NAME.json, and print what was left out.

    The JSON is a list of objects whose `box` is x0, y0, x1, y1, or x and y of the four corners, clockwise
    from the upper left.

    Raises:
        UsageError: no such folder.
        DataError: nothing is left of it.
    """
    if not folder.is_dir():
        raise UsageError(f"--data {folder}: no such folder")
    dropped, pages = Dropped(), []
    for image in sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES):
        try:
            with Image.open(image, formats=FORMATS):
                pages.append(WholePage(image, _lines(image.with_suffix(".json"))))
        except DataError as error:
            dropped.add(str(error), image.name)
        except Exception:  # decoders meet damage with exceptions of every type
            dropped.add("damaged picture", image.name)
    summary = f"{folder.name}: {len(pages):,} pages, {sum(len(p.lines) for p in pages):,} lines\n{dropped}"
    if not pages:
        raise DataError(f"{folder}: nothing is left to use\n{summary}")
    print(summary, flush=True)
    return pages


def _lines(file: Path) -> np.ndarray:
    """The lines (L, 4, 2) of a page. Raises DataError, whose text is the same for the same fault."""
    if not file.is_file():
        raise DataError("no JSON with its lines beside it")
    try:
        found = load_json(file)
    except (DataError, RecursionError):
        raise DataError("a damaged JSON") from None
    try:
        boxes = [np.asarray(item["box"], np.float32).ravel() for item in found]
        corners = [box[[0, 1, 2, 1, 2, 3, 0, 3]] if len(box) == 4 else box for box in boxes]
        lines = np.array(corners, np.float32).reshape(len(corners), 4, 2)
    except (TypeError, ValueError, KeyError, IndexError):
        raise DataError('JSON that is no list of {"box": [x0, y0, x1, y1]}') from None
    if not np.isfinite(lines).all() or (np.ptp(lines, axis=1) <= 0).any():
        raise DataError("boxes without an area")
    return lines


class FinderBatch(NamedTuple):
    """What the model trains on, or is scored on."""

    pixels: torch.Tensor
    """uint8 (N, H, W)"""
    kernels: torch.Tensor
    """float32 (N, h, w), as in `ocr.line_maps.LineMaps`"""
    sizes: torch.Tensor
    counted: torch.Tensor
    pages: list[tuple[str, LabelledPage]]
    """Of which part of val each page is, and its lines, without pixels; of val alone."""


Item = tuple[str, LabelledPage]


class TrainPages(Dataset[Item]):
    """Labelled pages, seen anew each time, and drawn ones.

    Args:
        pages: labelled ones.
        labelled: so many of them an epoch, each as often as the others.
        drawing: draws the others.
        drawn: so many of those an epoch.
        side: pixels of what is seen of a page, both ways.
    """

    def __init__(
        self, pages: Sequence[WholePage], labelled: int, drawing: DrawnPages | None, drawn: int, side: int
    ) -> None:
        self.pages, self.labelled, self.drawing, self.drawn, self.side = pages, labelled, drawing, drawn, side

    def __len__(self) -> int:
        return self.labelled + self.drawn

    def __getitem__(self, draw: tuple[int, int]) -> Item:
        """draw: position and seed -> a page. Raises ImageError."""
        index, seed = draw
        if index >= self.labelled:
            assert self.drawing is not None
            return "", self.drawing.sample(seed, self.side)
        page = self.pages[index % len(self.pages)].load()
        random = np.random.default_rng(seed)
        low, high = np.log(_SCALES)
        scale = float(np.exp(random.uniform(low, high)))
        return "", seen(photographed(random, page, self.side, paper=True, scale=scale))


class ValPages(Dataset[Item]):
    """Labelled pages as they are, and drawn ones, always the same.

    Args:
        pages: labelled ones.
        drawing: draws the others.
        drawn: number of those.
        side: their pixels, both ways.
        seed: of those.
    """

    def __init__(
        self, pages: Sequence[WholePage], drawing: DrawnPages | None, drawn: int, side: int, seed: int
    ) -> None:
        self.pages, self.drawing, self.drawn, self.side, self.seed = pages, drawing, drawn, side, seed

    def __len__(self) -> int:
        return len(self.pages) + self.drawn

    def __getitem__(self, draw: tuple[int, int]) -> Item:
        """draw: position and a seed that is not used -> a page as the network sees it. Raises ImageError."""
        index, _ = draw
        if index >= len(self.pages):
            assert self.drawing is not None
            return "drawn", _as_seen(self.drawing.sample(self.seed + index, self.side))
        return "labelled", _as_seen(self.pages[index].load())


def _as_seen(page: LabelledPage) -> LabelledPage:
    pixels, scale = fitted(page.pixels)
    return LabelledPage(pixels, page.lines * scale, page.ignored * scale)


def collate(items: Sequence[Item]) -> FinderBatch:
    """Pages of one size -> a batch with the maps of their lines."""
    maps = [target_maps(page) for _, page in items]
    arrays: list[Any] = [np.stack(each) for each in zip(*maps, strict=True)]
    kernels, sizes, counted = (torch.from_numpy(array).float() for array in arrays)
    pixels = torch.from_numpy(np.stack([page.pixels for _, page in items]))
    nothing = np.zeros((0, 0), np.uint8)
    kept = [(part, page._replace(pixels=nothing)) for part, page in items if part]
    return FinderBatch(pixels, kernels, sizes, counted, kept)
