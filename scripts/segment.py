"""Name the class of each pixel of an image.

    python scripts/segment.py street.jpg --out segmented
    python scripts/segment.py FOLDER "more/*.jpg" --json

Prints the share of each class. With --out it writes NAME.labels.png (class ids with a palette) and
NAME.overlay.png (the image under its classes, with a legend) for each image.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from common.cli import print_error, print_json, print_row, run
from common.errors import ImageError, UsageError
from common.files import find_files
from common.images import IMAGE_SUFFIXES
from common.predictor import UseFlags
from segmentation import Segmenter


@dataclass(frozen=True, kw_only=True)
class Config(UseFlags):
    """Flags."""

    paths: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Images, patterns or folders."""
    model: str = "camvid"
    """A bundled model, a model or run folder, or user/name on the hub."""
    out: Path | None = None
    """Folder for the label and overlay PNGs."""
    json: bool = False
    """Print one JSON object per image."""


def main(config: Config) -> int:
    """Segment each image; 1 if one could not be read."""
    paths, failed = find_files(config.paths, IMAGE_SUFFIXES, "pictures")
    names = _names(paths) if config.out else {}
    segmenter = Segmenter.from_pretrained(config.model, config.device, config.precision)
    if config.out is not None:
        config.out.mkdir(parents=True, exist_ok=True)
    for path, found in zip(paths, segmenter.segment_each(paths), strict=True):
        if isinstance(found, ImageError):
            print_error(found)
            failed = True
            continue
        files = {}
        if config.out is not None:
            from segmentation.drawing import draw_overlay, save_labels

            files = {kind: config.out / f"{names[path]}.{kind}.png" for kind in ("labels", "overlay")}
            save_labels(found, files["labels"])
            draw_overlay(path, found, files["overlay"])
        if config.json:
            shares = {name: round(share, 4) for name, share in found.shares.items()}
            written = {kind: str(file) for kind, file in files.items()}
            print_json({"image": str(path), "shares": shares, **written})
        else:
            shown = ", ".join(f"{name} {share:.1%}" for name, share in found.shares.items())
            print_row(path, shown)
    return int(failed)


def _names(paths: list[Path]) -> dict[Path, str]:
    """What each image's PNGs are called. Raises UsageError where two would be the same."""
    names = {path: path.stem for path in paths}
    taken: dict[str, Path] = {}
    for path, name in names.items():
        if name in taken:
            raise UsageError(f"--out: {taken[name]} and {path} would both be written to {name}.*.png")
        taken[name] = path
    return names


if __name__ == "__main__":
    run(main, Config, __doc__)
