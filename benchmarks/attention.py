"""Does attention point? Two photos side by side, and a caption of one: how much of it falls on that half.

    python benchmarks/attention.py --data FOLDER --model MODEL --report reports/attention.json

Pairs of photos of a captioned set's val part are pasted side by side and given to the captioner as one
picture, with a human caption of the left and then of the right one. For each content word of the caption,
`Captioner.attention` says which places it came from; the share of it in the half that the caption is of is
averaged over the words. Chance is 50 %.
"""

import random
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from captioning.augmentation import FUNCTION_WORDS
from captioning.captioner import Caption, Captioner
from captioning.data import read_captions
from common.cli import command_line, run
from common.evaluation import show, write_report
from common.images import load_image
from common.text import tokenize


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """Flags of this benchmark."""

    data: Path
    """Folder with pictures and captions, in any layout that training reads."""
    split: str = "val"
    """Which part of it."""
    model: str = "flickr8k"
    """A bundled model, a model or run folder."""
    pairs: int = 200
    """Pairs of photos."""
    seed: int = 0
    """Of the pairs and captions."""
    report: Path | None = None
    """JSON file to write."""


def side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    """Both pictures in one, each a half of it, at the same height."""
    height = max(left.height, right.height)
    both = Image.new("RGB", (2 * height, height))
    for i, picture in enumerate((left, right)):
        both.paste(picture.resize((height, height), Image.Resampling.BICUBIC), (i * height, 0))
    return both


def measure(config: AttentionConfig) -> int:
    """Print and write the share."""
    captioner = Captioner.from_pretrained(config.model)
    images = read_captions(config.data, config.split)
    chance = random.Random(config.seed)
    shares: list[float] = []
    for _ in range(config.pairs):
        pair = chance.sample(images, 2)
        both = side_by_side(*(load_image(image.path) for image in pair))
        for side, image in enumerate(pair):
            words = tuple(tokenize(chance.choice(image.captions)))
            maps = captioner.attention(both, Caption(" ".join(words), words, 0.0, 0.0))
            middle = maps.shape[2] / 2
            columns = maps.sum(axis=1).tolist()  # words, W
            for word, row in zip(words, columns, strict=True):
                if word in FUNCTION_WORDS or not re.search("[a-z]", word):
                    continue
                left = sum(share * min(1.0, max(0.0, middle - x)) for x, share in enumerate(row))
                shares.append(left if side == 0 else 1 - left)
    report = {
        "share_in_own_half": round(100 * sum(shares) / len(shares), 2),
        "words": len(shares),
        "pairs": config.pairs,
        "model": config.model,
        "data": config.data.resolve().name,
        "split": config.split,
        "seed": config.seed,
        "command": command_line(),
    }
    show(report)
    write_report(report, config.report)
    return 0


if __name__ == "__main__":
    run(measure, AttentionConfig, __doc__)
