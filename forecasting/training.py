"""Train a forecaster from flags: what `scripts/train_forecasting.py` calls."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from common.cli import command_line
from common.device import Precision
from common.distributed import EpochSampler
from common.errors import UsageError
from common.recurrent import CellKind
from common.training import TrainConfig, fit, prepare_run
from forecasting.data import Split, read_series, windows
from forecasting.model import Base, ForecastConfig, ForecastModel, Scaler, Transform, linear_base
from forecasting.system import ForecastingSystem
from forecasting.table import TableFlags


@dataclass(frozen=True, kw_only=True)
class SeriesFlags(TableFlags):
    """Which series; the same in every script."""

    data: Path
    """CSV file with a date column, a value column and perhaps covariates."""
    date_column: str
    """Name of the column of dates."""
    value_column: str
    """Name of the column to forecast."""
    covariates: tuple[str, ...] = ()
    """Further numeric columns that the model sees up to the present."""


@dataclass(frozen=True, kw_only=True)
class ForecastingConfig(SeriesFlags, TrainConfig):
    """Flags of forecasting."""

    window: int
    """Rows that the model looks at."""
    horizon: int
    """Rows that it forecasts, all at once."""
    test: float = 0.2
    """Rows (or, below 1, share) at the end that training never looks at."""
    val: float = 0.1
    """Rows (or share) before those, that choose the best epoch."""
    cell: CellKind = "gru"
    """lstm, gru or rnn."""
    hidden_size: int = 32
    """Units of the RNN in each direction."""
    layers: int = 1
    """Stacked layers."""
    bidirectional: bool = False
    """Read the window in both directions."""
    dropout: float = 0.0
    """Between layers and before the output."""
    quantiles: tuple[float, ...] = ()
    """Quantiles to forecast, e.g. 0.1 0.5 0.9; without them the mean."""
    transform: Transform = "none"
    """Applied to the value first: log for growth by percent, sqrt for counts."""
    base: Base = "ar"
    """What the RNN corrects: a linear autoregression, the last season, or nothing."""
    season: int = 0
    """Rows of a season; 0 follows the dates: 24 for hours, 7 for days, 52 for weeks, 12 for months."""
    lags: int = 0
    """Lags of the autoregressive base; 0 is the whole window."""
    epochs: int = 40
    """Passes over the training part."""
    batch_size: int = 64
    """Windows a step, over all processes together."""
    patience: int = 10
    """Epochs without a better validation metric after which training stops; 0 never stops early."""
    precision: Precision = "fp32"
    """auto (bf16 where the hardware has it), bf16 or fp32; so small a model gains nothing from bf16."""


class WindowData(pl.LightningDataModule):
    """Windows of the train and val parts, already scaled.

    Args:
        values: scaled (T, F).
        split: its parts; nothing of the test part is looked at.
        window: W.
        horizon: H.
        batch_size: windows a step over all processes.
        seed: of the order.

    Raises:
        UsageError: a part is too short for one window.
    """

    def __init__(
        self, values: np.ndarray, split: Split, window: int, horizon: int, batch_size: int, seed: int
    ) -> None:
        super().__init__()
        self.batch_size, self.seed = batch_size, seed
        self.parts: dict[str, TensorDataset] = {}
        for name, first, last in (("train", 0, split.train), ("val", split.train, split.val)):
            inputs, targets = windows(values, first, last, window, horizon)
            if not len(inputs):
                raise UsageError(
                    f"--window {window} with --horizon {horizon} does not fit into the {last - first} rows of"
                    f" the {name} part: shorten them, or give it more rows"
                )
            self.parts[name] = TensorDataset(
                *(torch.tensor(a, dtype=torch.float32) for a in (inputs, targets))
            )

    def _loader(self, name: str, *, shuffle: bool) -> DataLoader[Any]:
        world = self.trainer.world_size if self.trainer else 1
        if self.batch_size % world:
            raise UsageError(f"--batch-size {self.batch_size}: must be a multiple of the {world} processes")
        part = self.parts[name]
        sampler = EpochSampler(
            len(part), self.seed, shuffle=shuffle, trainer=self.trainer, batch_size=self.batch_size
        )
        return DataLoader(part, self.batch_size // world, sampler=sampler)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Each window once."""
        return self._loader("val", shuffle=False)


def train(config: ForecastingConfig) -> None:
    """Train as the flags say. Raises UsageError, DataError, OSError."""
    for name in ("window", "horizon", "hidden_size", "layers"):
        if getattr(config, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} {getattr(config, name)}: must be at least 1")
    if any(not 0 < q < 1 for q in config.quantiles):
        raise UsageError(f"--quantiles {config.quantiles}: must lie between 0 and 1")
    if config.season < 0:
        raise UsageError(f"--season {config.season}: must be at least 1")
    series = read_series(config.data, config.date_column, config.value_column, config.covariates, config)
    split = Split.of(len(series), config.test, config.val)
    config = prepare_run(config)
    pl.seed_everything(config.seed, verbose=False)
    season = config.season or series.dates.frequency.season(split.train)
    sizes = ForecastConfig(
        window=config.window,
        horizon=config.horizon,
        columns=series.values.shape[1],
        cell=config.cell,
        hidden_size=config.hidden_size,
        layers=config.layers,
        bidirectional=config.bidirectional,
        dropout=config.dropout,
        quantiles=tuple(sorted(config.quantiles)),
        transform=config.transform,
        base=config.base,
        season=season,
        lags=config.lags,
    )
    try:
        scaler = Scaler.fit(series.values[: split.train], config.transform)
        scaled = scaler.scale(series.values[: split.val])
        data = WindowData(scaled, split, config.window, config.horizon, config.batch_size, config.seed)
        base = linear_base(sizes, scaled[: split.train, 0])
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from None
    model = ForecastModel(sizes, scaler)
    model.set_base(*base)
    model.info = {
        "data": config.data.name,
        "columns": {
            "date_column": config.date_column,
            "value_column": config.value_column,
            "covariates": config.covariates,
        },
        "frequency": str(series.dates.frequency),
        "train_until": str(series.dates.index[split.train - 1]),
        "val_until": str(series.dates.index[split.val - 1]),
        "command": command_line(),
        "seed": config.seed,
    }
    print(
        f"{series.dates.frequency}, season of {season} rows; "
        f"train {series.dates.text(0)} to {series.dates.text(split.train - 1)}, "
        f"val to {series.dates.text(split.val - 1)}, {len(series) - split.val} rows of test not looked at",
        flush=True,
    )
    fit(ForecastingSystem(model, config), data, config, model=model, monitor="rmse", mode="min")
    print(f"best model: {config.out / 'best'}")
