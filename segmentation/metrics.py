"""Scores of a segmentation from its confusion matrix, summed over a whole data set. K classes."""

from collections.abc import Sequence

import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix


def confusion(predicted: torch.Tensor, labels: torch.Tensor, classes: int, ignore_label: int) -> torch.Tensor:
    """Class ids of equal shape -> counts (K, K), rows are the truth; pixels of `ignore_label` left out."""
    return multiclass_confusion_matrix(
        predicted.flatten(), labels.flatten(), classes, ignore_index=ignore_label, validate_args=False
    )


def score_confusion(counts: torch.Tensor, names: Sequence[str]) -> dict[str, object]:
    """counts (K, K) -> percentages.

    Returns:
        `mean_iou`, `pixel_accuracy`, `class_accuracy` (mean recall), and `iou`, class name -> intersection
        over union. A class that neither occurs nor is predicted is left out of `iou` and the mean; one that
        does not occur is left out of `class_accuracy`.
    """
    matrix = counts.double()
    correct, truth, predicted = matrix.diag(), matrix.sum(1), matrix.sum(0)
    union = truth + predicted - correct
    iou = {name: 100 * float(correct[i] / union[i]) for i, name in enumerate(names) if union[i] > 0}
    recalls = [100 * float(correct[i] / truth[i]) for i in range(len(names)) if truth[i] > 0]
    return {
        "mean_iou": sum(iou.values()) / max(1, len(iou)),
        "pixel_accuracy": 100 * float(correct.sum() / matrix.sum().clamp(min=1)),
        "class_accuracy": sum(recalls) / max(1, len(recalls)),
        "iou": iou,
    }
