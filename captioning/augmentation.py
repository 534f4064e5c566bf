"""What teaches a decoder to speak of concepts: sentences without an image, and images with another thing.

Notation: N images, B sentences, K captions an image, T tokens, M concepts an image, V words.
"""

import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn import functional as F

from captioning.concepts import Recognised, Seen, concept_table, plurals
from common.errors import DataError
from common.images import ImageBatch, Preprocess, read_batches
from common.text import BOS, EOS, PAD, UNK, Vocabulary, tokenize

_MENTIONED = 0.6  # of a sentence's concepts, how many its classifier is made to find
_LONGEST = 10_000  # bytes of a line; longer ones are no sentence


def read_sentences(file: Path) -> list[list[str]]:
    """Tokens of a text file, one sentence a line; lines without letters are left out.

    Prints what was left out.

    Raises:
        DataError: the file cannot be read, is not UTF-8, or holds no sentence.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 (byte {error.start}); convert it, or name another file") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    short = [line for line in lines if len(line) <= _LONGEST]
    sentences = [tokens for line in short if any(map(str.isalpha, line)) and (tokens := tokenize(line))]
    long = len(lines) - len(short)
    print(
        f"text: {len(sentences):,} sentences from {file}; left out {long:,} lines of more than {_LONGEST:,} "
        f"characters, {len(short) - len(sentences):,} without words",
        flush=True,
    )
    if not sentences:
        raise DataError(f"{file}: holds no sentence; expected one a line, in UTF-8")
    return sentences


class Concepts:
    """Knows which words of a vocabulary are concepts, and how a classifier finds them in images.

    Args:
        vocabulary: of the decoder.
        tags: numbers of the tags.
        seen: what the classifier says of the training images.
        captions: the tokens of each image's captions.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        tags: torch.Tensor,
        seen: Recognised,
        captions: Sequence[Sequence[Sequence[int]]],
    ) -> None:
        self.words = vocabulary.words
        self.tag = torch.zeros(len(vocabulary), dtype=torch.long)
        """(V,) a tag -> itself, or 0"""
        self.tag[tags] = tags
        self.tag[PAD] = PAD
        self.plurals = plurals(vocabulary)
        self.singular = torch.zeros(len(vocabulary), dtype=torch.long)
        """(V,) a concept or its plural -> the concept, or 0"""
        self.kinds: dict[int, str] = {}
        for words, kind in concept_table():
            numbers = [i for i in vocabulary.encode(words) if i != UNK]
            self.singular[numbers] = torch.tensor(numbers, dtype=torch.long)
            if numbers[:1] == vocabulary.encode(words[:1]):
                self.kinds[numbers[0]] = kind
        known = (self.plurals > 0).nonzero().flatten()
        self.singular[self.plurals[known]] = known
        mentioned = []
        for each in captions:
            ids = [i for caption in each for i in caption]
            mentioned.append({*self.singular[ids].tolist(), *self.tag[ids].tolist()} - {PAD})
        self.said = torch.zeros(len(vocabulary), dtype=torch.bool)
        """(V,) whether a caption names the concept or tag; true of `PAD`"""
        self.said[[PAD, *set().union(*mentioned)]] = True
        hits, misses, other = [], [], []
        for row, (words, scores) in enumerate(zip(seen.words.tolist(), seen.scores.tolist(), strict=True)):
            for word, score in zip(words, scores, strict=True):
                if word in mentioned[row]:
                    hits.append(score)
                elif self.said[word]:
                    misses.append(score)
                    other.append(word)
        self.hits, self.misses = torch.tensor(hits or [1.0]), torch.tensor(misses or [0.0])
        self.other = torch.tensor(other or [0])
        self.concepts = seen.words.shape[1]

    def known(self, seen: Seen) -> Seen:
        """Leave out the concepts that no caption names.

        Beside captions that never say them, they would only teach the decoder to pass over them.
        """
        said = self.said.to(seen.words.device)[seen.words]
        return Seen(seen.grid, seen.words.masked_fill(~said, PAD), seen.scores.masked_fill(~said, 0))

    def imagine(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What a classifier might see in an image of each sentence.

        Its concepts, most of them, with the scores of concepts that are mentioned, among others that the
        classifier takes images for and captions name elsewhere, with the scores of such.

        Args:
            tokens: (B, T).

        Returns:
            words (B, M) and scores (B, M), the surest first.
        """
        rows = len(tokens)
        named = torch.cat([self.singular[tokens], self.tag[tokens]], dim=1)  # B, 2 T
        again = (named[:, :, None] == named[:, None, :]).tril(-1).any(dim=2)
        said = (named > 0) & ~again & (torch.rand(named.shape) < _MENTIONED)
        scores = torch.where(said, self.hits[torch.randint(len(self.hits), named.shape)], -1.0)
        chosen = torch.randint(len(self.misses), (rows, self.concepts))
        others, doubts = self.other[chosen], self.misses[chosen]
        doubts = doubts.masked_fill((others[:, :, None] == named[:, None, :]).any(dim=2), -1.0)
        best = torch.cat([scores, doubts], dim=1).topk(self.concepts)
        words = torch.cat([named, others], dim=1).gather(1, best.indices)
        return words.masked_fill(best.values < 0, PAD), best.values.clamp(min=0)

    def exchange(
        self, seen: Seen, tokens: torch.Tensor, share: float, chance: random.Random
    ) -> tuple[Seen, torch.Tensor]:
        """In a share of the images, another thing of the same kind takes the place of one that captions name.

        The captions name the other thing, and so does the classifier; the grid stays as it was. The decoder
        then learns to say what the classifier names, also where no image has shown it that. Things that are
        spoken of more often are drawn more often: by Zipf's law a word is as frequent as one over its number,
        and its chance is the root of that.

        Args:
            seen: of N images.
            tokens: (N, K, T) of their captions.
            share: of the images.
            chance: draws.

        Returns:
            seen and tokens, changed in copies.
        """
        device = tokens.device
        words, scores, tokens = seen.words.cpu().clone(), seen.scores.cpu().clone(), tokens.cpu().clone()
        an, a = (self.words.index(w) if w in self.words else PAD for w in ("an", "a"))
        for n in range(len(tokens)):
            if chance.random() >= share:
                continue
            named = self.singular[tokens[n]]  # K, T
            candidates = [c for c in sorted(set(named.flatten().tolist()) - {PAD}) if c in self.kinds]
            if not candidates:
                continue
            old = chance.choice(candidates)
            same = [c for c, kind in self.kinds.items() if kind == self.kinds[old] and c != old]
            many = int(self.plurals[old])
            same = [c for c in same if self.plurals[c] or not many]
            if not same:
                continue
            new = chance.choices(same, [c**-0.5 for c in same])[0]
            forms = {old: new, **({many: int(self.plurals[new])} if many else {})}
            for one, other in forms.items():
                place = (tokens[n] == one).nonzero()
                tokens[n][tokens[n] == one] = other
                article = an if self.words[other][0] in "aeiou" else a
                for k, t in place.tolist():
                    if article and t and int(tokens[n, k, t - 1]) in (a, an):
                        tokens[n, k, t - 1] = article
            scores[n][words[n] == new] = 0
            words[n][words[n] == new] = PAD
            slots = (words[n] == old).nonzero().flatten().tolist() or [self.concepts - 1]
            if old not in words[n].tolist():
                scores[n, slots[0]] = self.hits[chance.randrange(len(self.hits))]
            words[n, slots[0]] = new
        return Seen(seen.grid, words.to(device), scores.to(device)), tokens.to(device)


FUNCTION_WORDS = frozenset(
    """a an the and or but of in on at to from with by for as into onto over under through near next up down
    out off is are was were be being been has have had do does it its it's his her their him he she they them
    this that these those there while who which what where when one two three four five some several many
    another other each both all no not n't 's very so than then just about around along across behind
    front beside between against above below inside outside toward towards after before during""".split()  # noqa: SIM905
)
"""Words that name nothing in an image; the others should be looked for in it."""


class Pairs(NamedTuple):
    """Which images another one stands beside."""

    rows: torch.Tensor
    """(P,)"""
    partners: torch.Tensor
    """(P,) rows of the images beside them"""
    left: torch.Tensor
    """(P,) whether the image itself is the left half"""

    def beside(self, maps: torch.Tensor) -> torch.Tensor:
        """Images or maps (N, C, H, W), in which `rows` share their place with `partners`, half and half."""
        width = maps.shape[3]
        halves = [F.adaptive_avg_pool2d(maps, (maps.shape[2], w)) for w in (width // 2, width - width // 2)]
        chosen = self.left[:, None, None, None]
        first = torch.where(chosen, halves[0][self.rows], halves[0][self.partners])
        second = torch.where(chosen, halves[1][self.partners], halves[1][self.rows])
        maps = maps.clone()
        maps[self.rows] = torch.cat([first, second], dim=3)
        return maps

    def own(self, grid: tuple[int, int]) -> torch.Tensor:
        """The share of each place of a grid (H, W) that the image itself has: (P, L)."""
        height, width = grid
        left = (width / 2 - torch.arange(width)).clamp(0, 1).to(self.left.device)  # W
        own = torch.where(self.left[:, None], left, 1 - left)
        return own[:, None].expand(-1, height, -1).flatten(1)


def draw_pairs(images: int, share: float, device: torch.device) -> Pairs:
    """A share of N images, each with another beside it."""
    rows = torch.randperm(images)[: int(share * images) if images > 1 else 0]
    partners = (rows + torch.randint(1, max(2, images), rows.shape)) % images
    return Pairs(rows.to(device), partners.to(device), (torch.rand(rows.shape) < 0.5).to(device))


def vary(images: torch.Tensor) -> torch.Tensor:
    """Preprocessed images (N, 3, H, W) -> each mirrored or not, in a window and in colours of its own.

    A window has 70 to 100 % of the height and of the width; contrast and saturation change by up to 30 %.
    """
    rows, drawn = len(images), partial(torch.rand, device=images.device, dtype=images.dtype)
    sides = 0.7 + 0.3 * drawn(rows, 2)  # of width and height
    window = images.new_zeros(rows, 2, 3)
    window[:, 0, 0] = sides[:, 0] * torch.where(drawn(rows) < 0.5, -1, 1)
    window[:, 1, 1] = sides[:, 1]
    window[:, :, 2] = (1 - sides) * (2 * drawn(rows, 2) - 1)
    places = F.affine_grid(window, list(images.shape), align_corners=False)
    images = F.grid_sample(images, places, padding_mode="border", align_corners=False)
    contrast, saturation, brightness = (2 * drawn(3, rows, 1, 1, 1) - 1).unbind()
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (1 + 0.3 * saturation) * (images - grey)
    return (1 + 0.3 * contrast) * images + 0.2 * brightness


@dataclass(frozen=True)
class View:
    """Reads images and varies each of them, for `common.features.cached_features`.

    Args:
        number: the same file and number give the same image.
    """

    number: int

    def __call__(
        self, paths: Sequence[Path], preprocess: Preprocess, batch_size: int, workers: int
    ) -> Iterator[ImageBatch]:
        """As `common.images.read_batches`."""
        for batch in read_batches(paths, preprocess, batch_size, workers):
            for row, i in zip(batch.images, batch.indices, strict=True):
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(zlib.crc32(f"{paths[i].name} {self.number}".encode()))
                    row[:] = vary(torch.from_numpy(row.copy())[None])[0].numpy()
            yield batch


def numbered(sentences: Sequence[Sequence[str]], vocabulary: Vocabulary, max_length: int) -> torch.Tensor:
    """Tokens of sentences, cut after `max_length` words: (B, 1 + T) begin, words, end, padding."""
    rows = torch.full((len(sentences), max_length + 2), PAD, dtype=torch.int32)
    for row, sentence in zip(rows, sentences, strict=True):
        ids = [BOS, *vocabulary.encode(sentence[:max_length]), EOS]
        row[: len(ids)] = torch.tensor(ids)
    return rows
