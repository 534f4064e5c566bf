"""Training a language model: loss, the state that is carried over, validation, optimiser."""

from typing import Any

import torch
from torch.nn import functional

from common.distributed import global_sum
from common.training import TrainConfig, TrainingSystem, one_cycle
from language.model import LanguageModel, State

Batch = tuple[torch.Tensor, torch.Tensor]


class LanguageSystem(TrainingSystem):
    """Cross entropy of the next unit, by truncated backpropagation through time.

    The state is carried from step to step without its gradient (Williams & Peng 1990), from the beginning of
    an epoch to its end.

    Args:
        model: what is trained.
        config: learning rate and so on.
    """

    def __init__(self, model: LanguageModel, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        self._state: State | None = None
        self._nats = torch.zeros(2)

    def _read(self, batch: Batch, batch_index: int) -> tuple[torch.Tensor, int]:
        """Summed loss in nats of the targets that count, and how many they are; carries the state."""
        inputs, targets = batch
        logits, state = self.model(inputs, self._state if batch_index else None)
        self._state = [type(one)(*(tensor.detach() for tensor in one)) for one in state]
        loss = functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum")
        return loss, int((targets >= 0).sum())

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """Mean loss of a unit."""
        return self.mean_over_batch(*self._read(batch, batch_index))

    def on_validation_epoch_start(self) -> None:
        """Nothing was read yet."""
        self._nats = torch.zeros(2, dtype=torch.float64)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Nats of the units of val, and their number."""
        nats, count = self._read(batch, batch_index)
        self._nats += torch.tensor([float(nats), count], dtype=torch.float64)

    def on_validation_epoch_end(self) -> None:
        """Mean over all units."""
        nats, count = global_sum(self._nats.float().to(self.device)).tolist()
        self.log("nats", nats / max(count, 1))

    def configure_optimizers(self) -> Any:
        """AdamW and one cycle; biases do not decay."""
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.model.parameters() if p.ndim > 1]},
            {"params": [p for p in self.model.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ]
        for group in groups:
            group["lr"] = self.config.learning_rate
        return one_cycle(groups, self.config, self.trainer)
