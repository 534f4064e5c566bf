"""Training a captioner: loss, validation by decoding, optimiser."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from captioning.data import CaptionBatch, CaptionedImage
from captioning.metrics import evaluate_captions
from captioning.model import CaptionModel
from common.distributed import epochs_trained, gather
from common.search import sample
from common.text import PAD, tokenize
from common.training import TrainConfig, TrainingSystem, one_cycle


class CaptioningSystem(TrainingSystem):
    """Cross entropy with label smoothing (Szegedy et al. 2016); greedy captions of all of val every epoch.

    Args:
        model: its decoder is trained, and its encoder where that is not frozen.
        config: learning rate and so on.
        val: the pictures of val with their references.
        label_smoothing: probability given to all words alike.
        scheduled_sampling: share of its own words that the decoder reads at the end of training (Bengio et
            al. 2015); it grows from 0 evenly.
        encoder_rate: learning rate of an encoder that is trained, relative to the decoder's.
    """

    def __init__(
        self,
        model: CaptionModel,
        config: TrainConfig,
        val: Sequence[CaptionedImage],
        label_smoothing: float,
        *,
        scheduled_sampling: float = 0.0,
        encoder_rate: float = 0.1,
    ) -> None:
        super().__init__()
        self.decoder = model.decoder
        self.encoder = None if model.encoder.frozen else model.encoder
        self.scheduled_sampling, self.encoder_rate = scheduled_sampling, encoder_rate
        self.vocabulary, self.max_length = model.vocabulary, model.max_length
        self.config, self.label_smoothing = config, label_smoothing
        self.references = {image.image_id: [tokenize(c) for c in image.captions] for image in val}
        self._captions: list[tuple[int | str, list[str]]] = []

    def training_step(self, batch: CaptionBatch, batch_index: int) -> torch.Tensor:
        """Mean loss a word over the whole batch, whatever process holds which part of it."""
        inputs, targets = batch.tokens[..., :-1], batch.tokens[..., 1:]
        own_words = self.scheduled_sampling * epochs_trained(self.trainer) / max(1, self.config.epochs - 1)
        logits, _ = self.decoder(self.features(batch), inputs, own_words)
        total = F.cross_entropy(
            logits.flatten(0, 2).float(),
            targets.flatten(),
            ignore_index=PAD,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        return self.mean_over_batch(total, (targets != PAD).sum())

    def features(self, batch: CaptionBatch) -> torch.Tensor:
        """(N, L, C): those of the cache, or what an encoder that is trained sees, once an image."""
        if self.encoder is None:
            return batch.features.float()
        pictures = batch.features.contiguous(memory_format=torch.channels_last)
        return self.encoder.places(pictures).float()

    def validation_step(self, batch: CaptionBatch, batch_index: int) -> None:
        """Caption each image."""
        memory = self.decoder.remember(self.features(batch))
        found = sample(
            self.decoder.step,
            self.decoder.init_state(memory),
            memory,
            max_length=self.max_length + 1,
            temperature=0,
        )
        for image_id, hypothesis in zip(batch.image_ids, found, strict=True):
            self._captions.append((image_id, self.vocabulary.decode(hypothesis.tokens)))

    def on_validation_epoch_end(self) -> None:
        """Score the captions of all processes, each image once."""
        captions = dict(gather(self._captions))
        self._captions = []
        references = [self.references[image_id] for image_id in captions]
        scores = evaluate_captions(list(captions.values()), references)
        self.log("num_images", float(len(captions)))
        for name in ("cider_d", "bleu_4"):
            self.log(name, scores[name])

    def configure_optimizers(self) -> Any:
        """AdamW and one cycle."""
        groups: list[dict[str, Any]] = [{"params": list(self.decoder.parameters())}]
        if self.encoder is not None:
            rate = self.encoder_rate * self.config.learning_rate
            groups.append({"params": list(self.encoder.parameters()), "lr": rate})
        return one_cycle(groups, self.config, self.trainer)
