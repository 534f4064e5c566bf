"""Translations of sentences: what a user calls."""

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from typing_extensions import Self, Unpack

from common.engine import Engine, Precision
from common.ensemble import Speaker, Speakers
from common.errors import UsageError, VisionWarning
from common.predictor import Predictor, count_parameters
from common.search import Hypothesis, beam_search
from common.text import BOS, pad
from translation.config import longest
from translation.on_graphs import OnGraphs
from translation.subwords import SPACE, composed, words_of

if TYPE_CHECKING:
    from translation.model import TranslationModel

_SENTENCE_END = re.compile(r"(?<=[.!?\u2026])\s+")
_AHEAD = 16  # batches that are sorted by length at a time


@dataclass(frozen=True)
class Translation:
    """A translation of one sentence; `str(translation)` is its text."""

    text: str
    tokens: tuple[str, ...]
    """The subwords as the model said them."""
    log_prob: float
    """Natural logarithm of the probability of the whole translation."""
    score: float
    """What the search ranks by."""
    unknown_words: tuple[str, ...] = ()
    """Words of the sentence that the model never read in training, in lower case."""
    alternatives: tuple["Translation", ...] = ()
    """With n_best > 1: the next best translations, best first."""

    def __str__(self) -> str:
        return self.text


class SearchOptions(TypedDict, total=False):
    """How translations are searched; see `common.search.beam_search`."""

    beam_size: int
    """Beams; 1 is greedy search. Default 5."""
    n_best: int
    """Translations of a sentence, at most `beam_size`; the further ones are `alternatives`."""
    length_penalty: float
    """0 ranks translations by probability, 1 by mean log-probability a subword. Default 1."""
    no_repeat_ngram: int
    """No translation says the same so many subwords twice; 0, the default, allows it."""


class Translator(Predictor["TranslationModel | OnGraphs"]):
    """Translates with a trained model, or with several whose probabilities are averaged.

    Args:
        model: from training or `TranslationModel.from_pretrained`; or a list of them.
        device: auto, cpu or cuda.
        precision: auto (bf16 where the hardware has it), bf16 or fp32.

    Raises:
        UsageError: no model, or models that do not go together.

    Example:
        >>> translator = Translator.from_pretrained("multi30k-en-de")  # doctest: +SKIP
        >>> translator.translate(["A man rides a horse."])[0].text  # doctest: +SKIP
    """

    graph_class = OnGraphs

    def __init__(
        self,
        model: "TranslationModel | OnGraphs | Sequence[TranslationModel | OnGraphs]",
        device: str = "auto",
        precision: Precision = "auto",
    ) -> None:
        models = list(model) if isinstance(model, Sequence) else [model]
        if not models:
            raise UsageError("no model given")
        super().__init__(models[0], device, precision)
        for other in models[1:]:
            if any(
                getattr(other, side).serialized() != getattr(self.model, side).serialized()
                for side in ("source", "target")
            ):
                raise UsageError(
                    "the models of an ensemble must have the same subwords; train them on the same data"
                )
        self._models = models
        self.ensemble: Speakers[Any] = Speakers([self.network, *map(self.in_one_form, models[1:])])
        self._words = frozenset(self.model.words)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path | Sequence[str | Path],
        device: str = "auto",
        precision: Precision = "auto",
        *,
        engine: Engine = "auto",
        revision: str | None = None,
    ) -> Self:
        """As `Predictor.from_pretrained`; `name` may be a list of models, which then run on one engine.

        Raises:
            ModelError: one of them cannot be loaded.
            UsageError: models that do not go together.
        """
        return cls(cls.load_all(name, device, precision, engine, revision), device, precision)

    @classmethod
    def torch_class(cls) -> "type[TranslationModel]":
        """See `Predictor.torch_class`."""
        from translation.model import TranslationModel

        return TranslationModel

    def on_torch(self, model: Any) -> Speaker:
        """See `Predictor.on_torch`."""
        from translation.on_torch import OnTorch

        return OnTorch(model, self.device, self.dtype)

    @property
    def parameters(self) -> int:
        """Number of weights of all models."""
        return sum(map(count_parameters, self._models))

    def translate(
        self, sentences: Sequence[str], *, batch_size: int = 64, **options: Unpack[SearchOptions]
    ) -> list[Translation]:
        """Translate sentences by beam search. An empty one has an empty translation.

        One that is longer than those that the model was trained on is translated in parts, cut between
        sentences where it can be, and a `VisionWarning` says so.

        Args:
            sentences: each a str.
            batch_size: sentences at a time.
            options: see `SearchOptions`.

        Raises:
            ValueError: an option out of range.
        """
        if isinstance(sentences, str):
            raise TypeError(f"translate() takes a list of sentences: translate([{sentences!r}])")
        return list(self.translate_each(sentences, batch_size=batch_size, **options))

    def translate_each(
        self, sentences: Sequence[str], *, batch_size: int = 64, **options: Unpack[SearchOptions]
    ) -> Iterator[Translation]:
        """As `translate`, one result after the other, in order."""
        size = _AHEAD * batch_size
        for start in range(0, len(sentences), size):
            texts = [composed(sentence) for sentence in sentences[start : start + size]]
            parts = [self._parts(text) for text in texts]
            each = [ids for of_one in parts for ids in of_one]
            order = sorted(range(len(each)), key=lambda i: len(each[i]))
            found: dict[int, list[Hypothesis]] = {}
            for first in range(0, len(order), batch_size):
                chosen = order[first : first + batch_size]
                found |= zip(chosen, self.search([each[i] for i in chosen], **options), strict=True)
            at = 0
            for text, of_one in zip(texts, parts, strict=True):
                yield self._translation(text, [found[at + k] for k in range(len(of_one))])
                at += len(of_one)

    def search(
        self, sentences: Sequence[list[int]], **options: Unpack[SearchOptions]
    ) -> list[list[Hypothesis]]:
        """Beam search for sentences of subwords that are not empty: for each its hypotheses, best first."""
        source = pad(sentences)[0]
        memory, state = self.ensemble.remember([source] * len(self._models))
        return beam_search(
            self.ensemble.step,
            state,
            memory,
            max_length=longest(source.shape[1]),
            **{"beam_size": 5, "length_penalty": 1.0, **options},  # type: ignore[arg-type]
        )

    def attention(self, sentence: str, translation: str) -> tuple[list[str], list[str], np.ndarray]:
        """Which words of a sentence each word of a translation was made from.

        The translation need not be the model's own. Of several models the mean over those with attention.

        Returns:
            the words of the translation, the words of the sentence, and weights (words, words): each row sums
            to 1. A word's row is the mean over its subwords.

        Raises:
            ValueError: no model has attention, or one of the texts is empty.
        """
        source, target = self.model.source.encode(sentence), self.model.target.encode(translation)
        if not source or not target:
            raise ValueError("attention is between two sentences, and one is empty")
        maps = []
        for member in self.ensemble.members:
            if member.config.attention == "none":
                continue
            memory, state = member.remember(np.array([source]))
            steps = []
            for token in (BOS, *target[:-1]):
                _, weights, state = member.step(np.array([token]), state, memory)
                steps.append(weights[0])
            maps.append(np.stack(steps))
        if not maps:
            raise ValueError("the model has no attention; train one with --attention dot")
        mean = np.mean(maps, axis=0)
        words = _words(self.model.target.pieces(target)), _words(self.model.source.pieces(source))
        rows = np.stack([mean[places].mean(axis=0) for _, places in words[0]])
        columns = np.stack([rows[:, places].sum(axis=1) for _, places in words[1]], axis=1)
        return [word for word, _ in words[0]], [word for word, _ in words[1]], columns

    def _parts(self, text: str) -> list[list[int]]:
        """Subwords of a text; one longer than in training in parts: its sentences, or pieces of them."""
        ids = self.model.source.encode(text)
        most = self.model.max_length
        if len(ids) <= most:
            return [ids] if ids else []
        parts: list[list[int]] = []
        for sentence in _SENTENCE_END.split(text):
            of_one = self.model.source.encode(sentence)
            while len(of_one) > most:
                starts = [i for i, piece in enumerate(self.model.source.pieces(of_one[: most + 1]))
                          if i and piece.startswith(SPACE)]  # fmt: skip
                cut = starts[-1] if starts else most  # a word that is longer is cut too
                parts.append(of_one[:cut])
                of_one = of_one[cut:]
            if of_one:
                parts.append(of_one)
        warnings.warn(
            f"{text[:30]!r}...: {len(ids):,} subwords, more than the {most} that the model was trained on; "
            f"translated in {len(parts)} parts",
            VisionWarning,
            stacklevel=2,
        )
        return parts

    def _translation(self, text: str, parts: Sequence[list[Hypothesis]]) -> Translation:
        """The translation of a text from the hypotheses of its parts."""
        unknown = tuple(dict.fromkeys(word for word in words_of(text) if word not in self._words))
        ranked = []
        for rank in range(max(map(len, parts), default=1)):
            chosen = [of_one[min(rank, len(of_one) - 1)] for of_one in parts]
            ids = [token for hypothesis in chosen for token in hypothesis.tokens]
            text = " ".join(self.model.target.decode(hypothesis.tokens) for hypothesis in chosen)
            log_prob, score = (sum(getattr(h, name) for h in chosen) for name in ("log_prob", "score"))
            ranked.append(Translation(text, tuple(self.model.target.pieces(ids)), log_prob, score, unknown))
        best = ranked[0]
        return Translation(best.text, best.tokens, best.log_prob, best.score, unknown, tuple(ranked[1:]))


def _words(pieces: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Words, and which subwords each is made of."""
    words: list[tuple[str, list[int]]] = []
    for place, piece in enumerate(pieces):
        if piece.startswith(SPACE) or not words:
            words.append((piece.removeprefix(SPACE), [place]))
        else:
            words[-1] = words[-1][0] + piece, [*words[-1][1], place]
    return words
