"""Training a finder of lines: loss, validation by F1 of lines, optimiser."""

from typing import Any

import torch
from torch.nn import functional as F

from common.distributed import gather
from common.training import AveragedSystem, TrainConfig, one_cycle, rated_groups
from ocr.finder import LineFinder
from ocr.finder_data import FinderBatch
from ocr.line_maps import Matches, f1, find_boxes, match_lines

_HARDEST = 3  # times as many places of the ground count as there are in kernels, the hardest ones
_LEAST = 1000  # places of the ground that count at least
_OF_SIZES = 0.5  # weight of the error of sizes


def finder_loss(
    values: torch.Tensor, kernels: torch.Tensor, sizes: torch.Tensor, counted: torch.Tensor
) -> torch.Tensor:
    """The sum over pages of their losses.

    Cross entropy of kernels, where of the ground the hardest places count alone (Shrivastava et al. 2016),
    1 - Dice coefficient (Milletari et al. 2016), and the absolute error of log2 of the sizes in kernels.

    Args:
        values: (N, 2, h, w), as of `LineFinder`.
        kernels: (N, h, w) 0 or 1.
        sizes: (N, h, w).
        counted: (N, h, w) 0 where nothing is learnt.
    """
    logits, predicted = values.float().unbind(dim=1)
    inside = kernels * counted
    entropy = F.binary_cross_entropy_with_logits(logits, kernels, reduction="none") * counted
    total = logits.new_zeros(())
    for page in range(values.shape[0]):
        text, ground = inside[page] > 0, entropy[page] * (1 - kernels[page])
        count = int(text.sum())
        hardest = ground.flatten().topk(min(max(_HARDEST * count, _LEAST), ground.numel())).values
        total = total + (entropy[page][text].sum() + hardest.sum()) / max(count + len(hardest), 1)
    chances = logits.sigmoid() * counted
    shared = (chances * inside).sum(dim=(1, 2))
    dice = 1 - (2 * shared + 1) / ((chances + inside).sum(dim=(1, 2)) + 1)
    error = ((predicted - sizes).abs() * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp(min=1)
    return total + dice.sum() + _OF_SIZES * error.sum()


class FinderSystem(AveragedSystem):
    """The loss per page; val is scored by F1 over lines, each part by itself.

    What is validated and kept has the mean of the weights over all steps (`AveragedSystem`).

    Args:
        model: all of it is trained, its encoder with a lower rate.
        config: learning rate and so on.
        encoder_rate: learning rate of the encoder, relative to the rest.
    """

    def __init__(self, model: LineFinder, config: TrainConfig, encoder_rate: float) -> None:
        super().__init__(model)
        self.config, self.encoder_rate = config, encoder_rate
        self._matches: list[tuple[str, Matches]] = []

    def training_step(self, batch: FinderBatch, batch_index: int) -> torch.Tensor:
        """Mean loss over the pages of the batch, however processes share it."""
        total = finder_loss(self.model(batch.pixels), batch.kernels, batch.sizes, batch.counted)
        return self.mean_over_batch(total, float(len(batch.pixels)))

    def validation_step(self, batch: FinderBatch, batch_index: int) -> None:
        """Find the lines of each page."""
        values = self.average(batch.pixels).float()
        kernels, sizes = values[:, 0].sigmoid().cpu().numpy(), values[:, 1].cpu().numpy()
        for i, (part, page) in enumerate(batch.pages):
            self._matches.append((part, match_lines(find_boxes(kernels[i], sizes[i]), page)))

    def on_validation_epoch_end(self) -> None:
        """F1 of each part, and their mean."""
        found = gather(self._matches)
        self._matches = []
        scores = {
            name: f1([Matches(*matches) for part, matches in found if part == name])
            for name in dict.fromkeys(part for part, _ in found)
        }
        for name, score in scores.items():
            self.log(f"f1_{name}", score)
        self.log("f1", sum(scores.values()) / max(len(scores), 1))

    def configure_optimizers(self) -> Any:
        """AdamW and one cycle over what is trained."""
        modules = ((self.model.encoder, self.encoder_rate), (self.model.network, 1.0))
        return one_cycle(rated_groups(modules, self.config), self.config, self.trainer)
