"""Captions for images: what a user calls."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from typing_extensions import Self, Unpack

from captioning.ensemble import Ensemble, Member
from captioning.on_graphs import OnGraphs
from common.engine import Engine, Precision
from common.errors import ImageError, UsageError
from common.images import ImageSource, read_batches
from common.predictor import Predictor, count_parameters, results
from common.search import Hypothesis, beam_search, reorder, sample
from common.text import BOS, detokenize

if TYPE_CHECKING:
    from captioning.model import CaptionModel


@dataclass(frozen=True)
class Caption:
    """A caption of one image; `str(caption)` is its text."""

    text: str
    tokens: tuple[str, ...]
    """The words as the model said them."""
    log_prob: float
    """Natural logarithm of the probability of the whole caption."""
    score: float
    """What the search ranks by."""
    alternatives: tuple["Caption", ...] = ()
    """With n_best > 1: the next best captions, best first."""

    def __str__(self) -> str:
        return self.text


class SearchOptions(TypedDict, total=False):
    """How captions are searched; see `common.search.beam_search`."""

    beam_size: int
    """Beams; 1 is greedy search. Default 3."""
    n_best: int
    """Captions an image, at most `beam_size`; the further ones are `alternatives`."""
    length_penalty: float
    """0 ranks captions by probability, 1 by mean log-probability a word."""
    no_repeat_ngram: int
    """No caption says the same so many words twice; 0 allows it. Default 2."""
    groups: int
    """More than 1: diverse beam search."""
    diversity: float
    """How strongly the groups avoid each other's words."""


class Captioner(Predictor["CaptionModel | OnGraphs"]):
    """Captions images with a trained model, or with several whose probabilities are averaged.

    Args:
        model: from training or `CaptionModel.from_pretrained`; or a list of them.
        device: auto, cpu or cuda.
        precision: auto (bf16 where the hardware has it), bf16 or fp32.

    Example:
        >>> captioner = Captioner.from_pretrained("flickr8k")  # doctest: +SKIP
        >>> captioner.caption(["photo.jpg"])[0].text  # doctest: +SKIP
    """

    graph_class = OnGraphs

    def __init__(
        self,
        model: "CaptionModel | OnGraphs | Sequence[CaptionModel | OnGraphs]",
        device: str = "auto",
        precision: Precision = "auto",
    ) -> None:
        models = list(model) if isinstance(model, Sequence) else [model]
        if not models:
            raise UsageError("no model given")
        super().__init__(models[0], device, precision)
        self.ensemble = Ensemble([self.network, *map(self.in_one_form, models[1:])])
        self._models = models

    def on_torch(self, model: Any) -> Member:
        """See `Predictor.on_torch`."""
        from captioning.on_torch import OnTorch

        return OnTorch(model, self.device, self.precision)

    @classmethod
    def torch_class(cls) -> "type[CaptionModel]":
        """See `Predictor.torch_class`."""
        from captioning.model import CaptionModel

        return CaptionModel

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

    @property
    def parameters(self) -> int:
        """Number of weights of all models."""
        return sum(map(count_parameters, self._models))

    def caption(
        self,
        images: Sequence[ImageSource],
        *,
        batch_size: int = 32,
        **options: Unpack[SearchOptions],
    ) -> list[Caption]:
        """Caption images by beam search.

        Args:
            images: paths or Pillow images.
            batch_size: images at a time.
            options: see `SearchOptions`.

        Raises:
            ImageError: an image cannot be read; `caption_each` goes on instead.
            ValueError: beam_size or n_best out of range.
        """
        if isinstance(images, str | Path):
            raise TypeError(f"caption() takes a list of pictures: caption([{str(images)!r}])")
        return results(self.caption_each(images, batch_size=batch_size, **options))

    def caption_each(
        self,
        images: Sequence[ImageSource],
        *,
        batch_size: int = 32,
        workers: int = 2,
        **options: Unpack[SearchOptions],
    ) -> Iterator[Caption | ImageError]:
        """As `caption`, one result after the other, in order; an unreadable image gives its error."""
        for batch in read_batches(images, self.model.encoder.preprocess, batch_size, workers):
            captions: dict[int, Caption | ImageError] = {**batch.errors}
            if batch.indices:
                found = self.search(batch.images, **options)
                captions |= zip(batch.indices, found, strict=True)
            for index in sorted(captions):
                yield captions[index]

    def search(self, images: np.ndarray, **options: Unpack[SearchOptions]) -> list[Caption]:
        """Beam search for preprocessed images (N, 3, H, W)."""
        memory, state = self.ensemble.remember(self.ensemble.look(images))
        found = beam_search(
            self.ensemble.step,
            state,
            memory,
            max_length=self.ensemble.max_length + 1,
            **{"beam_size": 3, "no_repeat_ngram": 2, **options},  # type: ignore[arg-type]
        )
        captions = [[self._caption(hypothesis) for hypothesis in image] for image in found]
        return [Caption(c[0].text, c[0].tokens, c[0].log_prob, c[0].score, tuple(c[1:])) for c in captions]

    def sample(
        self,
        image: ImageSource,
        count: int = 5,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[Caption]:
        """Draw `count` captions of one image at random; see `common.search.sample`. Raises ImageError."""
        pixels = self.model.encoder.preprocess(image)[None]
        memory, state = self.ensemble.remember(self.ensemble.look(pixels))
        found = sample(
            self.ensemble.step,
            reorder(state, np.zeros(count, int)),
            memory,
            max_length=self.ensemble.max_length + 1,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            generator=np.random.default_rng(seed),
        )
        return [self._caption(hypothesis) for hypothesis in found]

    def attention(self, image: ImageSource, caption: Caption) -> np.ndarray:
        """Which places each word of `caption` came from: (words, H, W), each map summing to 1.

        The caption need not be the model's own. Of several models the mean over those that have attention.
        See `sources`.

        Raises:
            ImageError: the image cannot be read.
            ValueError: no model's decoder has attention.
        """
        height, width = self.model.encoder.grid
        pixels = self.model.encoder.preprocess(image)[None]
        ids = self.model.vocabulary.encode(caption.tokens)
        memories, states = self.ensemble.remember(self.ensemble.look(pixels))
        maps = [
            sources(member, memory, state, ids, among=height * width)  # without the concepts
            for member, memory, state in zip(self.ensemble.members, memories, states, strict=True)
            if member.config.decoder != "show_tell"
        ]
        if not maps:
            raise ValueError(f"decoder {self.model.config.decoder!r} has no attention; use show_attend_tell")
        return np.mean(maps, axis=0).reshape(len(ids), height, width)  # words, L -> words, H, W

    def _caption(self, hypothesis: Hypothesis) -> Caption:
        words = tuple(self.model.vocabulary.decode(hypothesis.tokens))
        return Caption(detokenize(words), words, hypothesis.log_prob, hypothesis.score)


def sources(
    member: Member, memory: Any, state: Any, tokens: Sequence[int], among: int | None = None
) -> np.ndarray:
    """Which place each word of one image's caption came from: (T, L + M), each row summing to 1.

    The attention tells where the decoder looked before it chose a word; this also asks which of the places,
    looked at alone, would have made it choose that word: attention times the word's probability given the
    place, normalised (Shankar and Sarawagi 2019, "Posterior attention models for sequence to sequence
    learning", eq. 5).

    Args:
        member: a decoder with attention.
        memory: of one image.
        state: its first state.
        tokens: the caption's words.
        among: ask so many of the places, the first ones; L leaves the concepts out. None asks all.
    """
    grid, keys, *others = memory
    places = grid.shape[1]
    rows = np.zeros(places, int)
    alone = (grid[0][:, None], keys[0][:, None], *reorder(tuple(others), rows))  # as `places` images
    found = np.zeros((len(tokens), places), np.float32)
    for t, (before, word) in enumerate(zip([BOS, *tokens], tokens, strict=False)):
        logits, _, _ = member.step(np.full(places, before), reorder(state, rows), alone)
        likelihood = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))[:, word]  # places
        _, weights, state = member.step(np.array([before]), state, memory)
        found[t] = np.log(np.maximum(weights[0], 1e-9)) + likelihood
    found = np.exp(found[:, :among] - found[:, :among].max(axis=1, keepdims=True, initial=-np.inf))
    return found / found.sum(axis=1, keepdims=True)
