"""Training a segmentation model: loss, validation at the labels' own size, optimiser."""

from typing import Any

import torch
from torch.nn import functional as F

from common.distributed import global_sum
from common.training import AveragedSystem, TrainConfig, one_cycle, rated_groups
from segmentation.data import SceneBatch
from segmentation.metrics import confusion, score_confusion
from segmentation.model import SegmentationModel, upsample


class SegmentationSystem(AveragedSystem):
    """Class-balanced cross entropy per pixel; val is scored over the whole set every epoch.

    What is validated and kept has the mean of the weights over all steps (`AveragedSystem`).

    Args:
        model: all of it is trained, its encoder with a lower rate.
        config: learning rate and so on.
        weights: (K,) of the classes.
        encoder_rate: learning rate of the encoder, relative to the rest.
    """

    def __init__(
        self, model: SegmentationModel, config: TrainConfig, weights: torch.Tensor, encoder_rate: float
    ) -> None:
        super().__init__(model)
        self.config, self.encoder_rate = config, encoder_rate
        self.register_buffer("weights", weights, persistent=False)
        self._counts = torch.zeros(0)

    def training_step(self, batch: SceneBatch, batch_index: int) -> torch.Tensor:
        """Weighted mean loss over the pixels of the whole batch, however processes share it."""
        ignored = self.model.ignore_label
        logits = upsample(self.model(batch.images), *batch.labels.shape[1:])
        weights: Any = self.weights
        total = F.cross_entropy(logits, batch.labels, weights, ignore_index=ignored, reduction="sum")
        return self.mean_over_batch(total, weights[batch.labels[batch.labels != ignored]].sum())

    def on_validation_epoch_start(self) -> None:
        """Empty the confusion matrix."""
        classes = len(self.model.classes)
        self._counts = torch.zeros(classes, classes, dtype=torch.long, device=self.device)

    def validation_step(self, batch: SceneBatch, batch_index: int) -> None:
        """Count the pixels of each scene."""
        predicted = upsample(self.average(batch.images), *batch.labels.shape[1:]).argmax(dim=1)
        self._counts += confusion(predicted, batch.labels, len(self.model.classes), self.model.ignore_label)

    def on_validation_epoch_end(self) -> None:
        """Scores over the counts of all processes."""
        scores: dict[str, Any] = score_confusion(global_sum(self._counts), self.model.classes)
        for name in ("mean_iou", "pixel_accuracy", "class_accuracy"):
            self.log(name, scores[name])

    def configure_optimizers(self) -> Any:
        """AdamW and one cycle over what is trained."""
        modules = ((self.model.encoder, self.encoder_rate), (self.model.network, 1.0))
        return one_cycle(rated_groups(modules, self.config), self.config, self.trainer)
