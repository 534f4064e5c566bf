"""Words for what the encoder's ImageNet classifier recognises.

Notation: N images, L = H * W grid places, C channels, M concepts an image, S tags, V words.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from common.text import PAD, UNK, Vocabulary

CLASSES = 1000
TABLE = Path(__file__).parent / "concepts.tsv"
"""One row a class of ImageNet: its name, everyday words for it, and a kind of thing that words share."""
_WORDS = 3  # most words of a class
_TAG_STEPS, _TAG_RATE, _TAG_DECAY = 120, 1e-3, 1.0  # few: more steps fit train alone
_TAG_SHARE = 0.2  # weight of the tags beside the classes, in what an encoder that is trained keeps


class Seen(NamedTuple):
    """What a captioner's decoder is given of N images."""

    grid: torch.Tensor
    """(N, L, C), the encoder's features"""
    words: torch.Tensor
    """(N, M), numbers of the words for what the classifier recognised, the surest first; then `PAD`"""
    scores: torch.Tensor
    """(N, M), how sure it is: 0 to 1"""


class Recognised(NamedTuple):
    """What the classifier says of N images, without their features."""

    classes: torch.Tensor
    """(N, 1000 + S) fp16, the probability of each class over the whole image, then of each tag"""
    words: torch.Tensor
    """as `Seen.words`"""
    scores: torch.Tensor
    """as `Seen.scores`"""


@cache
def concept_table() -> tuple[tuple[tuple[str, ...], str], ...]:
    """Words and kind of each of the 1,000 classes, in ImageNet's order."""
    rows = [line.split("\t") for line in TABLE.read_text(encoding="utf-8").splitlines()[1:]]
    return tuple((tuple(words.split()), kind) for _, words, kind in rows)


def plural(word: str) -> str:
    """The regular plural of an English noun.

    >>> [plural(word) for word in ("dog", "bus", "berry", "knife")]
    ['dogs', 'buses', 'berries', 'knives']
    """
    if word in _PLURALS:
        return _PLURALS[word]
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return f"{word}es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}s"


_PLURALS = {
    "knife": "knives", "wolf": "wolves", "loaf": "loaves", "shelf": "shelves", "calf": "calves",
    "mouse": "mice", "goose": "geese", "man": "men", "woman": "women", "child": "children",
    "potato": "potatoes", "tomato": "tomatoes", "fish": "fish", "sheep": "sheep", "deer": "deer",
    "fungus": "fungi",
}  # fmt: skip


def forms(words: Iterable[str]) -> set[str]:
    """The words and their plurals."""
    return {form for word in words for form in (word, plural(word))}


def plurals(vocabulary: Vocabulary) -> torch.Tensor:
    """(V,) number of each concept's plural, `PAD` for every other word and where the plural is unknown."""
    result = torch.full((len(vocabulary),), PAD)
    for word in {word for words, _ in concept_table() for word in words}:
        one, many = vocabulary.encode([word, plural(word)])
        if UNK not in (one, many) and one != many:
            result[one] = many
    return result


class Classifier(nn.Module):
    """The classifier that the encoder was trained with, and tags: words that captions often say.

    A class counts by the geometric mean of its probability over the whole image and of its highest over 3 x 3
    places of the grid, so that small things are found too. A word sums over the classes that it stands for.
    Tags are predicted from the mean of the grid by a logistic regression that `learn` fits to captions (as
    the attributes of You et al. 2016, "Image captioning with semantic attention"). None of it is trained
    further.

    Args:
        vocabulary: gives words their numbers; words that it lacks are never recognised.
        channels: C.
        concepts: M; 0 recognises nothing.
        tags: S.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    words: torch.Tensor
    tag_weight: torch.Tensor
    tag_bias: torch.Tensor
    tags: torch.Tensor

    def __init__(self, vocabulary: Vocabulary, channels: int, concepts: int, tags: int = 0) -> None:
        super().__init__()
        self.concepts, self.size = concepts, len(vocabulary)
        if concepts:
            self.register_buffer("weight", torch.zeros(CLASSES, channels))
            self.register_buffer("bias", torch.zeros(CLASSES))
            known = [vocabulary.encode(words)[:_WORDS] for words, _ in concept_table()]
            numbers = [[i if i != UNK else PAD for i in ids] + [PAD] * (_WORDS - len(ids)) for ids in known]
            self.register_buffer("words", torch.tensor(numbers))
            self.register_buffer("tag_weight", torch.zeros(tags, channels))
            self.register_buffer("tag_bias", torch.zeros(tags))
            self.register_buffer("tags", torch.full((tags,), PAD))
            self.register_load_state_dict_post_hook(Classifier._check_words)

    def _check_words(self, _: object) -> None:
        """Raises ValueError where the numbers that were loaded are none of words."""
        for numbers in (self.words, self.tags):
            if bool(((numbers < 0) | (numbers >= self.size)).any()):
                raise ValueError("the classifier of concepts has numbers of words that the vocabulary lacks")

    def fill(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Take the trained classifier (classes, C) and (classes,)."""
        self.weight.copy_(weight)
        self.bias.copy_(bias)

    def learn(
        self, features: torch.Tensor, captions: Sequence[Sequence[Sequence[int]]], words: list[int]
    ) -> None:
        """Fit the tags to captioned images.

        Args:
            features: means of the grids (N, C).
            captions: the numbers of the words of each image's captions.
            words: numbers of the S words that become tags.
        """
        self.tags.copy_(torch.tensor(words))
        places = torch.full((self.size,), -1)
        places[self.tags] = torch.arange(len(words))
        targets = torch.zeros(len(features), len(words))  # the share of an image's captions that say the word
        for row, each in zip(targets, captions, strict=True):
            for caption in each:
                found = places[list(set(caption))]
                row[found[found >= 0]] += 1 / len(each)
        scale = features.std(dim=0, correction=0) + 1e-3  # one image has no spread
        inputs, generator = features / scale, torch.Generator().manual_seed(0)
        with torch.enable_grad():
            weight = torch.zeros(inputs.shape[1], len(words), requires_grad=True)
            bias = torch.logit(targets.mean(dim=0).clamp(1e-3, 1 - 1e-3)).requires_grad_()
            optimizer = torch.optim.AdamW([weight, bias], lr=_TAG_RATE, weight_decay=_TAG_DECAY)
            for step in range(_TAG_STEPS):
                rows = torch.randint(len(inputs), (256,), generator=generator)
                loss = F.binary_cross_entropy_with_logits(
                    inputs[rows] @ weight + bias, targets[rows], reduction="sum"
                )
                optimizer.param_groups[0]["lr"] = _TAG_RATE * (1 - step / _TAG_STEPS)
                optimizer.zero_grad()
                (loss / len(rows)).backward()
                optimizer.step()
        self.tag_weight.copy_((weight.detach() / scale[:, None]).T)
        self.tag_bias.copy_(bias.detach())

    def forward(self, features: torch.Tensor, grid: tuple[int, int]) -> Seen:
        """features (N, L, C) of a grid (H, W) -> what the decoder is given."""
        if not self.concepts:
            none = features.new_zeros(features.shape[0], 0)
            return Seen(features, none.long(), none)
        with torch.no_grad():
            scores = self.scores(features, grid)
            # words of one class are equally sure: the more frequent one comes first, on every engine
            earlier = 1 - 2e-7 * torch.arange(self.size, device=scores.device)
            words = (scores * earlier).topk(min(self.concepts, self.size)).indices
            scores = scores.gather(1, words)
        missing = (0, self.concepts - words.shape[1])
        # without a score a place among the first says nothing: such words would be any
        words = words.masked_fill(scores <= 0, PAD)
        return Seen(features, F.pad(words, missing, value=PAD), F.pad(scores, missing))

    def classes(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """features (N, L, C) -> logits of the classes (N, classes) and of the tags (N, S)."""
        mean = features.float().mean(dim=1)
        return (
            F.linear(mean, self.weight.float(), self.bias.float()),
            F.linear(mean, self.tag_weight.float(), self.tag_bias.float()),
        )

    def change(self, features: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """How far features (N, L, C) are from what was recognised (N, classes + S): a loss, mean a row.

        Kullback-Leibler divergence of the classes, and of the tags (Li and Hoiem 2016, "Learning without
        forgetting").
        """
        classes, tags = self.classes(features)
        old, marked = before[:, : classes.shape[1]], before[:, classes.shape[1] :]
        loss = F.kl_div(classes.log_softmax(dim=-1), old, reduction="batchmean")
        if marked.shape[1]:
            crossed = F.binary_cross_entropy_with_logits(tags, marked, reduction="sum")
            entropy = (torch.special.entr(marked) + torch.special.entr(1 - marked)).sum()
            loss = loss + _TAG_SHARE * (crossed - entropy) / len(before)
        return loss

    @torch.no_grad()
    def recognise(self, batches: Iterable[torch.Tensor], grid: tuple[int, int]) -> Recognised:
        """Batches of features (N, L, C) of a grid (H, W) -> what the classifier says of all images."""
        parts = []
        for features in batches:
            seen = self(features.float(), grid)
            classes, tags = self.classes(features)
            both = torch.cat([classes.softmax(dim=-1), tags.sigmoid()], dim=1).half()
            parts.append((both, seen.words, seen.scores))
        return Recognised(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def scores(self, features: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """features (N, L, C) of a grid (H, W) -> how sure each word of the vocabulary is seen (N, V)."""
        classes, tags = self.classes(features)
        maps = F.linear(features.float(), self.weight.float(), self.bias.float())  # N, L, classes
        maps = maps.transpose(1, 2).unflatten(2, grid)
        local = F.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)
        local = local.softmax(dim=1).amax(dim=(2, 3))
        each = torch.sqrt(classes.softmax(dim=-1) * local)  # N, classes
        scores = each.new_zeros(each.shape[0], self.size)
        scores.index_add_(1, self.words.flatten(), each.repeat_interleave(_WORDS, dim=1))
        scores[:, self.tags] = torch.maximum(scores[:, self.tags], tags.sigmoid())
        scores[:, PAD] = 0
        return scores.clamp_(max=1.0)
