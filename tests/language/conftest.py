"""Small texts and models of the language tests."""

import random
from pathlib import Path

import torch

from language.config import LanguageSizes
from language.data import Alphabet
from language.model import LanguageModel

LINES = ('The king said, "Come here."\n', "    a dog runs away\n", "ROMEO:\n", "O night, O day!\n")


def small_text(lines: int = 400) -> str:
    """Lines in an order that is the same each time."""
    chance = random.Random(0)
    return "".join(chance.choice(LINES) for _ in range(lines))


def write_text(file: Path, lines: int = 400) -> Path:
    """A text file."""
    file.write_text(small_text(lines), encoding="utf-8")
    return file


def tiny_language_model(**sizes) -> LanguageModel:
    """An untrained model of the characters of `small_text`."""
    torch.manual_seed(0)
    unit = sizes.get("unit", "characters")
    given = {"embedding_size": 6, "hidden_size": 12, "layers": 2, **sizes}
    return LanguageModel(LanguageSizes(**given), Alphabet.build(unit, [small_text()])).eval()
