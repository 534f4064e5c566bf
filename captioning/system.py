"""Training a captioner: loss, validation by decoding, optimiser."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch.nn import functional as F

from captioning.data import CaptionBatch, CaptionedImage
from captioning.metrics import evaluate_captions
from captioning.model import CaptionModel
from common.search import sample
from common.text import PAD, tokenize
from common.training import TrainConfig, gather, global_sum, one_cycle


class CaptioningSystem(pl.LightningModule):
    """Cross entropy with label smoothing (Szegedy et al. 2016); greedy captions of all of val every epoch.

    Args:
        model: its decoder is trained; its encoder stays as it is.
        config: learning rate and so on.
        val: the pictures of val with their references.
        label_smoothing: probability given to all words alike.
    """

    def __init__(
        self, model: CaptionModel, config: TrainConfig, val: Sequence[CaptionedImage], label_smoothing: float
    ) -> None:
        super().__init__()
        self.decoder = model.decoder
        self.vocabulary, self.max_length = model.vocabulary, model.max_length
        self.config, self.label_smoothing = config, label_smoothing
        self.references = {image.image_id: [tokenize(c) for c in image.captions] for image in val}
        self._captions: list[tuple[int | str, list[str]]] = []

    def training_step(self, batch: CaptionBatch, batch_index: int) -> torch.Tensor:
        """Mean loss a word over the whole batch, whatever process holds which part of it."""
        inputs, targets = batch.tokens[..., :-1], batch.tokens[..., 1:]
        logits, _ = self.decoder(batch.features.float(), inputs)
        loss = F.cross_entropy(
            logits.flatten(0, 2).float(),
            targets.flatten(),
            ignore_index=PAD,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        words = global_sum((targets != PAD).sum())
        # gradients are averaged over processes: undo that, so that each word counts the same
        loss = loss * self.trainer.world_size / words
        self.log("train_loss_step", loss, batch_size=1)
        self._losses.append(loss.detach())
        return loss

    def on_train_epoch_start(self) -> None:
        """Start the epoch's mean loss."""
        self._losses: list[torch.Tensor] = []

    def on_train_epoch_end(self) -> None:
        """The epoch's mean loss over all processes."""
        mean = global_sum(torch.stack(self._losses).mean()) / self.trainer.world_size
        self.log("train_loss", mean)

    def validation_step(self, batch: CaptionBatch, batch_index: int) -> None:
        """Caption each image."""
        memory = self.decoder.remember(batch.features.float())
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
        return one_cycle(self.decoder.parameters(), self.config, self.trainer)
