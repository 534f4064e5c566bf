"""Training a translation model: loss, validation by translating, optimiser."""

from typing import Any

import torch

from common.distributed import gather
from common.sampling import draw
from common.training import TrainConfig, TrainingSystem, one_cycle
from translation.config import longest
from translation.data import SentencePair, TranslationBatch
from translation.metrics import bleu
from translation.model import TranslationModel


class TranslationSystem(TrainingSystem):
    """Cross entropy with label smoothing (Szegedy et al. 2016); greedy translations of val every epoch.

    Args:
        model: what is trained.
        config: learning rate and so on.
        val: the pairs of val.
        label_smoothing: probability given to all subwords alike.
    """

    def __init__(
        self, model: TranslationModel, config: TrainConfig, val: list[SentencePair], label_smoothing: float
    ) -> None:
        super().__init__()
        self.model, self.config, self.label_smoothing = model, config, label_smoothing
        self.references = [pair.target for pair in val]
        self._found: list[tuple[int, str]] = []

    def training_step(self, batch: TranslationBatch, batch_index: int) -> torch.Tensor:
        """Mean loss a subword over the whole batch, whatever process holds which part of it."""
        loss, tokens = self.model.network.loss(batch.source, batch.target, self.label_smoothing)
        return self.mean_over_batch(loss, tokens)

    def validation_step(self, batch: TranslationBatch, batch_index: int) -> None:
        """Translate each sentence."""
        network = self.model.network
        memory = network.remember(batch.source)
        state = network.init_state(memory)
        most = longest(min(batch.source.shape[1], self.model.max_length))  # a line may be very long
        found = draw(network.step, state, memory, max_length=most)
        for index, hypothesis in zip(batch.indices, found, strict=True):
            self._found.append((index, self.model.target.decode(hypothesis.tokens)))

    def on_validation_epoch_end(self) -> None:
        """Score the translations of all processes, each sentence once."""
        found = dict(gather(self._found))
        self._found = []
        self.log("num_pairs", float(len(found)))
        self.log("bleu", bleu(list(found.values()), [self.references[i] for i in found]))

    def configure_optimizers(self) -> Any:
        """AdamW and one cycle."""
        return one_cycle(self.model.parameters(), self.config, self.trainer)
