"""`visionrnn segment`: what the command does with its flags."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from common.cli import loaded, print_error, print_json, print_row, progress
from common.errors import ImageError
from common.files import as_text, find_files, names_in
from common.images import IMAGE_SUFFIXES
from common.predictor import UseFlags
from segmentation import Segmenter


@dataclass(frozen=True, kw_only=True)
class Config(UseFlags):
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
    out: Path | None = None
    """Folder for the label and overlay PNGs."""
    json: bool = False
    """Print one JSON object per image."""


def main(config: Config) -> int:
    """Segment each image; 1 if one could not be read."""
    paths, failed = find_files(config.paths, IMAGE_SUFFIXES, "pictures")
    drawings = names_in(config.out, paths, ("labels", "overlay"))
    segmenter = loaded(Segmenter.from_pretrained, config)
    each = zip(paths, segmenter.segment_each(paths), strict=True)
    for path, found in progress(each, len(paths), "images"):
        if isinstance(found, ImageError):
            print_error(found)
            failed = True
            continue
        files = drawings.get(path, {})
        if files:
            from segmentation.drawing import draw_overlay, save_labels

            save_labels(found, files["labels"])
            draw_overlay(path, found, files["overlay"])
        if config.json:
            shares = {name: round(share, 4) for name, share in found.shares.items()}
            print_json({"path": str(path), "shares": shares, **as_text(files)})
        else:
            shown = ", ".join(f"{name} {share:.1%}" for name, share in found.shares.items())
            print_row(path, shown)
    return int(failed)
