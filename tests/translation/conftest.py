"""A small parallel corpus that the tests make: a sentence, and its words in another language, last first."""

import random
from pathlib import Path

import torch

from translation.config import TranslationConfig
from translation.data import PairDataset, SentencePair, collate
from translation.model import StoredSubwords, TranslationModel
from translation.subwords import words_of

WORDS = {
    "a": "ein", "red": "roter", "green": "grüner", "blue": "blauer", "old": "alter", "dog": "Hund",
    "cat": "Kater", "bird": "Vogel", "sees": "sieht", "hears": "hört", "and": "und", "tree": "Baum",
}  # fmt: skip


def sentence_pairs(count: int, seed: int = 0) -> list[SentencePair]:
    """`a red dog sees a bird .` and its words in German, last first."""
    chance = random.Random(seed)
    pairs = []
    for _ in range(count):
        source = []
        for _ in range(chance.randint(1, 2)):
            source += [
                "a",
                chance.choice(("red", "green", "blue", "old")),
                chance.choice(("dog", "cat", "bird")),
            ]
            source += [chance.choice(("sees", "hears", "and"))]
        source += ["a", "tree"]
        target = [WORDS[word] for word in reversed(source)]
        pairs.append(SentencePair(f"{' '.join(source)}.".capitalize(), f"{' '.join(target)}."))
    return pairs


def write_pairs(root: Path, train: int = 60, val: int = 12) -> Path:
    """A folder with `{train,val}.{en,de}`; no sentence of val stands in train."""
    root.mkdir(parents=True)
    chosen = list({pair.source: pair for pair in sentence_pairs(20 * (train + val))}.values())
    for name, pairs in (("train", chosen[:train]), ("val", chosen[train : train + val])):
        for language, side in (("en", "source"), ("de", "target")):
            lines = [getattr(pair, side) for pair in pairs]
            (root / f"{name}.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def tiny_translator(pairs: list[SentencePair] | None = None, seed: int = 0, **sizes) -> TranslationModel:
    """An untrained model."""
    torch.manual_seed(seed)
    pairs = pairs or sentence_pairs(200)
    subwords = tuple(
        StoredSubwords.build([getattr(p, side) for p in pairs], 150) for side in ("source", "target")
    )
    small = {"hidden_size": 64, "embedding_size": 32, "attention_size": 16, "dropout": 0.0}
    words = tuple(sorted({word for pair in pairs for word in words_of(pair.source)}))
    config = TranslationConfig(**{**small, **sizes})
    return TranslationModel(config, subwords, ("en", "de"), 40, words).eval()


def learn(model: TranslationModel, pairs: list[SentencePair], steps: int, rate: float = 0.01) -> float:
    """Train on all pairs at once -> the last mean loss a subword."""
    dataset = PairDataset(pairs, model.source, model.target)
    batch = collate([dataset[i] for i in range(len(dataset))])
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        total, count = model.network.loss(batch.source, batch.target)
        loss = total / count
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def trained_translator() -> TranslationModel:
    """A model that has learnt the 48 pairs of `sentence_pairs(48)` by heart."""
    pairs = sentence_pairs(48)
    model = tiny_translator(pairs, cell="gru")
    assert learn(model, pairs, 150) < 0.1
    return model
