"""Captions for images: what a user calls."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch
from typing_extensions import Self, Unpack

from captioning.ensemble import Ensemble
from captioning.model import AttendingDecoder, CaptionModel
from common.device import Precision
from common.errors import ImageError, UsageError
from common.images import ImageSource, read_batches
from common.predictor import Predictor, results
from common.search import Hypothesis, beam_search, reorder, sample
from common.text import detokenize


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


class Captioner(Predictor[CaptionModel]):
    """Captions images with a trained model, or with several whose probabilities are averaged.

    Args:
        model: from training or `CaptionModel.from_pretrained`; or a list of them.
        device: auto, cpu or cuda.
        precision: auto (bf16 where the hardware has it), bf16 or fp32.

    Example:
        >>> captioner = Captioner.from_pretrained("flickr8k")  # doctest: +SKIP
        >>> captioner.caption(["photo.jpg"])[0].text  # doctest: +SKIP
    """

    def __init__(
        self,
        model: CaptionModel | Sequence[CaptionModel],
        device: str = "auto",
        precision: Precision = "auto",
    ) -> None:
        models = [model] if isinstance(model, CaptionModel) else list(model)
        if not models:
            raise UsageError("no model given")
        super().__init__(models[0], device, precision)
        self.ensemble = Ensemble(models, self.device, self.precision)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path | Sequence[str | Path],
        device: str = "auto",
        precision: Precision = "auto",
        *,
        revision: str | None = None,
    ) -> Self:
        """Load a bundled model, a model or run folder, or `hub:user/name`; or a list of these.

        Raises:
            ModelError: one of them cannot be loaded.
            UsageError: models that do not go together.
        """
        names = [name] if isinstance(name, str | Path) else name
        return cls([CaptionModel.from_pretrained(n, revision=revision) for n in names], device, precision)

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

    def search(self, images: torch.Tensor, **options: Unpack[SearchOptions]) -> list[Caption]:
        """Beam search for preprocessed images (N, 3, H, W)."""
        with torch.inference_mode():
            memory = self.ensemble.remember(self.ensemble.encode(images))
            found = beam_search(
                self.ensemble.step,
                self.ensemble.init_state(memory),
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
        with torch.inference_mode():
            pixels = self.model.encoder.preprocess(image).unsqueeze(0)
            memory = self.ensemble.remember(self.ensemble.encode(pixels))
            rows = torch.zeros(count, dtype=torch.long, device=self.device)
            found = sample(
                self.ensemble.step,
                reorder(self.ensemble.init_state(memory), rows),
                memory,
                max_length=self.ensemble.max_length + 1,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                generator=torch.Generator(self.device).manual_seed(seed),
            )
        return [self._caption(hypothesis) for hypothesis in found]

    def attention(self, image: ImageSource, caption: Caption) -> torch.Tensor:
        """Which places each word of `caption` came from: (words, H, W), each map summing to 1.

        The caption need not be the model's own. Of several models the mean over those that have attention.
        See `captioning.model.AttendingDecoder.sources`.

        Raises:
            ImageError: the image cannot be read.
            ValueError: no model's decoder has attention.
        """
        height, width = self.model.encoder.grid
        pixels = self.model.encoder.preprocess(image).unsqueeze(0)
        ids = self.model.vocabulary.encode(caption.tokens)
        with torch.inference_mode():
            memory = self.ensemble.remember(self.ensemble.encode(pixels))
            maps = [
                decoder.sources(each, ids, among=height * width).float().cpu()  # without the concepts
                for decoder, each in zip(self.ensemble.decoders, memory, strict=True)
                if isinstance(decoder, AttendingDecoder)
            ]
        if not maps:
            raise ValueError(f"decoder {self.model.config.decoder!r} has no attention; use show_attend_tell")
        mean = torch.stack(maps).mean(dim=0)
        return mean.view(len(ids), height, width)  # words, L -> words, H, W

    def _caption(self, hypothesis: Hypothesis) -> Caption:
        words = tuple(self.model.vocabulary.decode(hypothesis.tokens))
        return Caption(detokenize(words), words, hypothesis.log_prob, hypothesis.score)
