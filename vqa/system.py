"""Training an answerer: loss, validation, optimiser."""

from typing import Any

import torch
from torch.nn import functional as F

from common.distributed import gather
from common.training import TrainConfig, TrainingSystem, one_cycle
from vqa.data import QuestionBatch
from vqa.metrics import score_answers
from vqa.model import VqaModel


class VqaSystem(TrainingSystem):
    """Cross entropy against the share of people who gave each answer; all of val is answered every epoch.

    Args:
        model: its network is trained; its encoder is frozen.
        config: learning rate and so on.
        label_smoothing: probability given to all answers alike.
    """

    def __init__(self, model: VqaModel, config: TrainConfig, label_smoothing: float) -> None:
        super().__init__()
        self.network, self.answers = model.network, model.answers
        self.config, self.label_smoothing = config, label_smoothing
        self._given: list[tuple[int, str]] = []

    def training_step(self, batch: QuestionBatch, batch_index: int) -> torch.Tensor:
        """Mean loss per question over the whole batch, however processes share it."""
        logits, _ = self.network(batch.features.float(), batch.tokens, batch.lengths)
        even = self.label_smoothing / logits.shape[-1]
        targets = batch.targets * (1 - self.label_smoothing) + even
        targets = targets.repeat(len(logits) // len(targets), 1)  # the same for each member
        return self.mean_over_batch(F.cross_entropy(logits.float(), targets, reduction="sum"), len(targets))

    def validation_step(self, batch: QuestionBatch, batch_index: int) -> None:
        """Answer each question."""
        logits, _ = self.network(batch.features.float(), batch.tokens, batch.lengths)
        best = logits.argmax(dim=-1).tolist()
        self._given += [(row, self.answers[i]) for row, i in zip(batch.rows, best, strict=True)]

    def on_validation_epoch_end(self) -> None:
        """Score the answers of all processes, each question once."""
        given = dict(gather(self._given))
        self._given = []
        questions = self.trainer.datamodule.datasets["val"].questions  # type: ignore[attr-defined]
        scores = score_answers(list(given.values()), [questions[row] for row in given])
        self.log("accuracy", float(scores["accuracy"]))  # type: ignore[arg-type]
        self.log("num_questions", float(len(given)))

    def configure_optimizers(self) -> Any:
        """AdamW and one cycle."""
        return one_cycle(self.network.parameters(), self.config, self.trainer)
