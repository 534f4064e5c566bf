"""Captions for pictures: what a user calls."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from captioning.model import CaptionModel
from common.device import Precision, autocast, pick_device, pick_precision
from common.errors import ImageError
from common.images import ImageSource, read_batches
from common.search import Hypothesis, beam_search, reorder, sample
from common.text import BOS, detokenize


@dataclass(frozen=True)
class Caption:
    """A caption of one picture; `str(caption)` is its text."""

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


class Captioner:
    """Captions pictures with a trained model.

    Args:
        model: from training or `CaptionModel.from_pretrained`.
        device: auto, cpu or cuda.
        precision: auto (bf16 where the hardware has it), bf16 or fp32.

    Example:
        >>> captioner = Captioner.from_pretrained("rooms")  # doctest: +SKIP
        >>> captioner.caption(["photo.jpg"])[0].text  # doctest: +SKIP
    """

    def __init__(self, model: CaptionModel, device: str = "auto", precision: Precision = "auto") -> None:
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        self.model = model.eval().to(self.device)
        self.model.encoder.to(memory_format=torch.channels_last)
        # a copy that computes in the target precision throughout saves autocast's conversions at every step
        self._dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self._decoder = copy.deepcopy(self.model.decoder).to(self._dtype)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, device: str = "auto", precision: Precision = "auto", **hub: Any
    ) -> "Captioner":
        """Load a bundled model, a model or run folder, or `user/name` from the hub. Raises ModelError."""
        return cls(CaptionModel.from_pretrained(name, **hub), device, precision)

    def caption(
        self,
        images: Sequence[ImageSource],
        *,
        beam_size: int = 3,
        n_best: int = 1,
        length_penalty: float = 0.7,
        batch_size: int = 32,
    ) -> list[Caption]:
        """Caption pictures by beam search.

        Args:
            images: paths or Pillow images.
            beam_size: 1 is greedy search.
            n_best: captions a picture, at most `beam_size`; the further ones are `alternatives`.
            length_penalty: see `common.search.beam_search`.
            batch_size: pictures at a time.

        Raises:
            ImageError: a picture cannot be read; `caption_each` goes on instead.
            ValueError: beam_size or n_best out of range.
        """
        if isinstance(images, str | Path):
            raise TypeError(f"caption() takes a list of pictures: caption([{str(images)!r}])")
        found = self.caption_each(
            images, beam_size=beam_size, n_best=n_best, length_penalty=length_penalty, batch_size=batch_size
        )
        result = []
        for item in found:
            if isinstance(item, ImageError):
                raise item
            result.append(item)
        return result

    def caption_each(
        self,
        images: Sequence[ImageSource],
        *,
        beam_size: int = 3,
        n_best: int = 1,
        length_penalty: float = 0.7,
        batch_size: int = 32,
        workers: int = 2,
    ) -> Iterator[Caption | ImageError]:
        """As `caption`, one result after the other, in order; an unreadable picture gives its error."""
        for batch in read_batches(images, self.model.encoder.preprocess, batch_size, workers):
            results: dict[int, Caption | ImageError] = {**batch.errors}
            if batch.indices:
                found = self.search(
                    batch.images, beam_size=beam_size, n_best=n_best, length_penalty=length_penalty
                )
                results |= zip(batch.indices, found, strict=True)
            for index in sorted(results):
                yield results[index]

    def search(
        self, images: torch.Tensor, *, beam_size: int = 3, n_best: int = 1, length_penalty: float = 0.7
    ) -> list[Caption]:
        """Beam search for preprocessed pictures (N, 3, H, W)."""
        with torch.inference_mode():
            memory = self._decoder.remember(self.encode(images))
            found = beam_search(
                self._decoder.step,
                self._decoder.init_state(memory),
                memory,
                beam_size=beam_size,
                n_best=n_best,
                length_penalty=length_penalty,
                max_length=self.model.max_length + 1,
            )
        captions = [[self._caption(hypothesis) for hypothesis in image] for image in found]
        return [Caption(c[0].text, c[0].tokens, c[0].log_prob, c[0].score, tuple(c[1:])) for c in captions]

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Preprocessed pictures (N, 3, H, W) -> features (N, L, C) for the decoder."""
        with torch.inference_mode(), autocast(self.device, self.precision):
            return self.model.encode(images.to(self.device)).to(self._dtype)

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
        """Draw `count` captions of one picture at random; see `common.search.sample`. Raises ImageError."""
        with torch.inference_mode():
            memory = self._decoder.remember(self.encode(self.model.encoder.preprocess(image).unsqueeze(0)))
            found = sample(
                self._decoder.step,
                reorder(
                    self._decoder.init_state(memory), torch.zeros(count, dtype=torch.long, device=self.device)
                ),
                memory,
                max_length=self.model.max_length + 1,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                generator=torch.Generator(self.device).manual_seed(seed),
            )
        return [self._caption(hypothesis) for hypothesis in found]

    def attention(self, image: ImageSource, caption: Caption) -> torch.Tensor:
        """Where the model looked for each word of `caption`: (words, H, W), each map summing to 1.

        Raises:
            ValueError: the model's decoder has no attention.
        """
        preprocess, stride = self.model.encoder.preprocess, self.model.encoder.stride
        features = self.encode(preprocess(image).unsqueeze(0))
        ids = torch.tensor([[[BOS, *self.model.vocabulary.encode(caption.tokens)]]], device=self.device)
        with torch.inference_mode():
            _, weights = self._decoder(features, ids)
        if not weights.shape[-1]:
            raise ValueError(f"decoder {self.model.config.kind!r} has no attention; use show_attend_tell")
        maps: torch.Tensor = weights[0, 0, : len(caption.tokens)].float().cpu()
        return maps.view(len(maps), -1, preprocess.width // stride)  # words, L -> words, H, W

    def _caption(self, hypothesis: Hypothesis) -> Caption:
        words = tuple(self.model.vocabulary.decode(hypothesis.tokens))
        return Caption(detokenize(words), words, hypothesis.log_prob, hypothesis.score)
