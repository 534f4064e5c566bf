"""Training a segmentation model: loss, validation at the labels' own size, optimiser."""

from typing import Any

import torch
from torch.nn import functional as F

from common.distributed import global_sum
from common.training import AveragedSystem, TrainConfig, one_cycle, rated_groups
from segmentation.data import SceneBatch
from segmentation.metrics import confusion, score_confusion
from segmentation.model import SegmentationModel, upsample


def lovasz_softmax(logits: torch.Tensor, labels: torch.Tensor, ignore_label: int) -> torch.Tensor:
    """The Lovasz-softmax loss of a batch: a smooth form of what mean IoU loses (Berman et al. 2018, eq. 11).

    Args:
        logits: (N, K, H, W).
        labels: (N, H, W) class ids.
        ignore_label: class id that counts for nothing.

    Returns:
        the mean over the classes that occur; 0 where none does.
    """
    seen = labels != ignore_label
    ids = labels[seen]
    losses = []
    for i, probabilities in enumerate(logits.float().softmax(dim=1).unbind(dim=1)):
        of_class = (ids == i).float()
        if not of_class.any():
            continue
        errors, order = (of_class - probabilities[seen]).abs().sort(descending=True)
        of_class = of_class[order]
        total = of_class.sum()
        jaccard = 1 - (total - of_class.cumsum(0)) / (total + (1 - of_class).cumsum(0))
        steps = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
        losses.append((errors * steps).sum())
    return torch.stack(losses).mean() if losses else logits.sum() * 0.0


class SegmentationSystem(AveragedSystem):
    """Class-balanced cross entropy per pixel; val is scored over the whole set every epoch.

    What is validated and kept has the mean of the weights over all steps (`AveragedSystem`).

    Args:
        model: all of it is trained, its encoder with a lower rate.
        config: learning rate and so on.
        weights: (K,) of the classes.
        encoder_rate: learning rate of the encoder, relative to the rest.
        lovasz: weight of the Lovasz-softmax loss.
    """

    def __init__(
        self,
        model: SegmentationModel,
        config: TrainConfig,
        weights: torch.Tensor,
        encoder_rate: float,
        lovasz: float = 0.0,
    ) -> None:
        super().__init__(model)
        self.config, self.encoder_rate, self.lovasz = config, encoder_rate, lovasz
        self.register_buffer("weights", weights, persistent=False)
        self._counts = self._images = torch.zeros(0)

    def training_step(self, batch: SceneBatch, batch_index: int) -> torch.Tensor:
        """Weighted mean loss over the pixels of the whole batch, however processes share it."""
        ignored = self.model.ignore_label
        logits = upsample(self.model(batch.images), *batch.labels.shape[1:])
        weights: Any = self.weights
        total = F.cross_entropy(logits, batch.labels, weights, ignore_index=ignored, reduction="sum")
        count = weights[batch.labels[batch.labels != ignored]].sum()
        if self.lovasz:
            total = total + count * self.lovasz * lovasz_softmax(logits, batch.labels, ignored)
        return self.mean_over_batch(total, count)

    def on_validation_epoch_start(self) -> None:
        """Empty the confusion matrix."""
        classes = len(self.model.classes)
        self._counts = torch.zeros(classes, classes, dtype=torch.long, device=self.device)
        self._images = torch.zeros((), dtype=torch.long, device=self.device)

    def validation_step(self, batch: SceneBatch, batch_index: int) -> None:
        """Count the pixels of each scene."""
        predicted = upsample(self.average(batch.images), *batch.labels.shape[1:]).argmax(dim=1)
        self._counts += confusion(predicted, batch.labels, len(self.model.classes), self.model.ignore_label)
        self._images += len(batch.images)

    def on_validation_epoch_end(self) -> None:
        """Scores over the counts of all processes."""
        scores: dict[str, Any] = score_confusion(global_sum(self._counts), self.model.classes)
        self.log("num_images", float(global_sum(self._images)))
        for name in ("mean_iou", "pixel_accuracy", "class_accuracy"):
            self.log(name, scores[name])

    def configure_optimizers(self) -> Any:
        """AdamW and one cycle over what is trained."""
        modules = ((self.model.encoder, self.encoder_rate), (self.model.network, 1.0))
        return one_cycle(rated_groups(modules, self.config), self.config, self.trainer)
