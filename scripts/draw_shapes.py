"""Draw a data set, to see whether a training learns what it should: no photos needed.

    python scripts/draw_shapes.py --task vqa --out shapes_vqa
    python scripts/draw_shapes.py --task segmentation --out shapes_segmentation

`vqa`: coloured shapes in VQA v2's format: how many, which colour, which form, what in it; each question
stands as often with each of its answers, so that the question alone says nothing. `segmentation`: a texture
whose class is told only by a patch at the other end of the image.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.cli import run
from common.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags."""

    task: Literal["vqa", "segmentation"]
    """What the data set is for."""
    out: Path
    """Folder to write; must be new."""
    train: int = 1000
    """Pictures of train."""
    val: int = 200
    """Pictures of val."""
    seed: int = 0
    """Of everything: the same seed draws the same files."""


def main(config: Config) -> None:
    """Write the folder."""
    for name, count in (("train", config.train), ("val", config.val)):
        if count < 1:
            raise UsageError(f"--{name} {count}: must be at least 1")
    if config.seed < 0:
        raise UsageError(f"--seed {config.seed}: must be at least 0")
    if config.out.exists():
        raise UsageError(f"--out {config.out}: exists already; name another")
    if config.task == "vqa":
        from vqa.shapes import write_questions

        counts = write_questions(config.out, config.train, config.val, config.seed)
        print(", ".join(f"{name}: {count:,} questions" for name, count in counts.items()))
    else:
        from segmentation.far_cue import write_scenes

        write_scenes(config.out, config.train, config.val, config.seed)
    print(f"written: {config.out}")


if __name__ == "__main__":
    run(main, Config, __doc__)
