"""`visionrnn segment`: what the command does with its flags."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypedDict

import tyro

from common.cli import loaded, print_error, print_json, print_row, progress
from common.errors import ImageError
from common.files import as_text, find_files, names_in
from common.images import IMAGE_SUFFIXES
from common.scale import ScaleFlags, run_on_ray
from segmentation import Segmentation, Segmenter


@dataclass(frozen=True, kw_only=True)
class Config(ScaleFlags):
    """Name the class of each pixel of an image.

        visionrnn segment street.jpg --out segmented
        visionrnn segment FOLDER "more/*.jpg" --json

    Prints the share of each class. With --out it writes NAME.labels.png (class ids with a palette) and
    NAME.overlay.png (the image under its classes, with a legend) for each image.
    """

    paths: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Images, patterns or folders."""
    model: str = "camvid"
    """A bundled model, a model or run folder, or hub:user/name."""
    out: str | None = None
    """Folder for the label and overlay PNGs; with --engine ray the table."""
    json: bool = False
    """Print one JSON object per image."""


class Row(TypedDict):
    """JSON values of an image."""

    path: str
    shares: dict[str, float]


def main(config: Config) -> int:
    """Segment each image; 1 if one could not be read."""
    if config.engine == "ray":
        return run_on_ray(__name__, config, IMAGE_SUFFIXES, "pictures")
    paths, failed = find_files(config.paths, IMAGE_SUFFIXES, "pictures")
    drawings = names_in(config.out, paths, ("labels", "overlay"))
    segmenter = load(config)
    for path, found in progress(each(config, segmenter, paths), len(paths), "images"):
        if isinstance(found, ImageError):
            print_error(found)
            failed = True
            continue
        files = drawings.get(Path(path), {})
        if files:
            from segmentation.drawing import draw_overlay, save_labels

            save_labels(found, files["labels"])
            draw_overlay(Path(path), found, files["overlay"])
        if config.json:
            print_json({**plain(path, found), **as_text(files)})
        else:
            shown = ", ".join(f"{name} {share:.1%}" for name, share in found.shares.items())
            print_row(path, shown)
    return int(failed)


def load(config: Config) -> Segmenter:
    """The segmenter of the flags."""
    return loaded(Segmenter.from_pretrained, config)


def each(
    config: Config, segmenter: Segmenter, paths: Sequence[Path]
) -> Iterator[tuple[str, Segmentation | ImageError]]:
    """The name of each image with its classes."""
    return zip(map(str, paths), segmenter.segment_each(paths), strict=True)


def plain(name: str, found: Segmentation) -> Row:
    """JSON values of an image."""
    return {"path": name, "shares": {label: round(share, 4) for label, share in found.shares.items()}}


def row_type(config: Config) -> type[Row]:
    """What `plain` gives."""
    return Row
