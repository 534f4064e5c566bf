"""Training a forecaster: loss, validation in the data's own units, optimiser."""

from typing import Any

import numpy as np
import torch

from common.distributed import gather
from common.training import TrainConfig, TrainingSystem, one_cycle
from forecasting.config import point_forecast
from forecasting.model import ForecastModel


class ForecastingSystem(TrainingSystem):
    """Squared error, or the pinball loss of quantiles (Koenker & Bassett 1978), in scaled units.

    Args:
        model: what is trained.
        config: learning rate and so on.
    """

    def __init__(self, model: ForecastModel, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        self.register_buffer("levels", torch.tensor(model.config.quantiles), persistent=False)
        self._errors: list[float] = []

    def training_step(self, batch: list[torch.Tensor], batch_index: int) -> torch.Tensor:
        """Mean loss per value (and quantile) over the whole batch, however processes share it."""
        inputs, targets = batch
        error = targets.unsqueeze(-1) - self.model(inputs)
        levels: Any = self.levels
        losses = torch.maximum(levels * error, (levels - 1) * error) if len(levels) else error.square()
        return self.mean_over_batch(losses.sum(), losses.numel())

    def validation_step(self, batch: list[torch.Tensor], batch_index: int) -> None:
        """Squared errors in the data's own units."""
        inputs, targets = batch
        scaler = self.model.scaler
        predicted = scaler.restore(
            point_forecast(self.model(inputs).float(), self.model.config.quantiles).cpu().numpy()
        )
        self._errors += np.square(predicted - scaler.restore(targets.cpu().numpy())).ravel().tolist()

    def on_validation_epoch_end(self) -> None:
        """Root mean square over all windows and steps."""
        self.log("rmse", float(np.sqrt(np.mean(gather(self._errors)))))
        self._errors = []

    def configure_optimizers(self) -> Any:
        """AdamW and one cycle."""
        return one_cycle(self.model.parameters(), self.config, self.trainer)
