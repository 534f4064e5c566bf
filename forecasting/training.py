"""Train a forecaster from flags: what `scripts/train_forecasting.py` calls."""

from dataclasses import asdict, dataclass, replace
from typing import Annotated

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import TensorDataset

from common.cli import command_line, sizes_of
from common.device import Precision
from common.errors import UsageError
from common.loading import PartsData
from common.schema import Range
from common.training import TrainConfig, fit, prepare_run
from forecasting.config import ForecastConfig, ForecastSizes, Scaler
from forecasting.data import SeriesFlags, Split, read_series, windows
from forecasting.model import ForecastModel, linear_base
from forecasting.system import ForecastingSystem


@dataclass(frozen=True, kw_only=True)
class ForecastingConfig(SeriesFlags, ForecastSizes, TrainConfig):
    """Train an RNN to forecast a time series.

        visionrnn train forecasting --data FILE.csv --date-column DATE --value-column VALUE
            --window 24 --horizon 12 --out RUN

    The last rows (`--test`) are never used; scaler and base are fitted on the training part alone.
    """

    test: float = 0.2
    """Rows (or, below 1, share) at the end that training never uses."""
    val: float = 0.1
    """Rows (or share) before those, that choose the best epoch."""
    season: Annotated[int, Range(0)] = 0
    """Rows of a season; 0 follows the dates: 24 for hours, 7 for days, 52 for weeks, 12 for months."""
    epochs: int = 40
    """Passes over the training part."""
    batch_size: int = 64
    """Windows per step, over all processes together."""
    patience: int = 10
    """Epochs without a better validation metric after which training stops; 0 never stops early."""
    precision: Precision = "fp32"
    """auto (bf16 where the hardware has it), bf16 or fp32; so small a model gains nothing from bf16."""


def window_parts(values: np.ndarray, split: Split, window: int, horizon: int) -> dict[str, TensorDataset]:
    """Windows of the train and val parts of scaled values (T, F); the test part is not used.

    Raises:
        UsageError: a part is too short for one window.
    """
    parts = {}
    for name, first, last in (("train", 0, split.train), ("val", split.train, split.val)):
        inputs, targets = windows(values, first, last, window, horizon)
        if not len(inputs):
            raise UsageError(
                f"--window {window} with --horizon {horizon} does not fit into the {last - first} rows of"
                f" the {name} part: shorten them, or give it more rows"
            )
        parts[name] = TensorDataset(*(torch.tensor(a, dtype=torch.float32) for a in (inputs, targets)))
    return parts


def train(config: ForecastingConfig) -> None:
    """Train as the flags say. Raises UsageError, DataError, OSError."""
    config = prepare_run(config)
    series = read_series(config.data, config.date_column, config.value_column, config.covariates, config)
    split = Split.of(len(series), config.test, config.val)
    pl.seed_everything(config.seed, verbose=False)
    season = config.season or series.dates.frequency.season(split.train)
    sizes = replace(sizes_of(ForecastSizes, config), quantiles=tuple(sorted(config.quantiles)), season=season)
    model_config = ForecastConfig(columns=series.values.shape[1], **asdict(sizes))
    try:
        scaler = Scaler.fit(series.values[: split.train], config.transform)
        scaled = scaler.scale(series.values[: split.val])
        parts = window_parts(scaled, split, config.window, config.horizon)
        base = linear_base(model_config, scaled[: split.train, 0])
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from None
    model = ForecastModel(model_config, scaler)
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
    data = PartsData(lambda: parts, None, replace(config, workers=0))  # they are in memory
    fit(ForecastingSystem(model, config), data, config, model=model, monitor="rmse", mode="min")
    print(f"best model: {config.out / 'best'}")
