"""The parts of a data set in batches, for training, with features from the cache."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from common.distributed import DrawSampler, EpochSampler
from common.encoder import Encoder
from common.errors import UsageError
from common.features import FeatureFlags, FeatureStore, ReadFiles, cached_features
from common.images import read_batches
from common.training import TrainConfig


@dataclass(frozen=True, kw_only=True)
class FeatureConfig(FeatureFlags, TrainConfig):
    """Flags of a training on cached features of images."""

    data: Path
    """Folder of the data set."""

    def features(
        self,
        encoder: Encoder,
        part: str,
        images: Iterable[Path],
        read: ReadFiles = read_batches,
        variant: str = "",
    ) -> tuple[FeatureStore, dict[Path, int]]:
        """Features of the images of a part, and the row of each; prints which cannot be read.

        Args:
            encoder: frozen.
            part: name of the part.
            images: files, each counted once.
            read, variant: see `common.features.cached_features`.

        Raises:
            ImageError: none can be read.
        """
        paths = list(dict.fromkeys(images))
        store, rows, errors = cached_features(
            paths,
            encoder,
            self.features_folder(self.data) / part,
            read=read,
            variant=variant,
            workers=self.workers,
            device=self.device,
        )
        for error in errors:
            print(f"  {part}: left out {error}", flush=True)
        return store, {paths[i]: of_one[0] for i, of_one in rows.items()}


class PartsData(pl.LightningDataModule):
    """Train and val in batches; each sample once an epoch over all processes.

    Args:
        open_parts: gives the data sets `train` and `val`. The first process calls it before the others do, so
            that only one process fills a cache.
        collate: items -> a batch; None is torch's own.
        config: batch size over all processes, workers, seed.

    Attributes:
        datasets: what `open_parts` gave.
    """

    def __init__(
        self,
        open_parts: Callable[[], dict[str, Any]],
        collate: Callable[..., Any] | None,
        config: TrainConfig,
    ) -> None:
        super().__init__()
        self.open_parts, self.collate, self.config = open_parts, collate, config
        self.datasets: dict[str, Any] = {}

    def prepare_data(self) -> None:
        """Open the parts, in one process only."""
        self.datasets = self.open_parts()

    def setup(self, stage: str) -> None:
        """Open the parts in the other processes."""
        self.datasets = self.datasets or self.open_parts()

    @property
    def share(self) -> int:
        """Samples per step of this process. Raises UsageError where they cannot be shared evenly."""
        world = self.trainer.world_size if self.trainer else 1
        if self.config.batch_size % world:
            raise UsageError(
                f"--batch-size {self.config.batch_size}: must be a multiple of the {world} processes"
            )
        return self.config.batch_size // world

    def sampler(self, part: Any, *, shuffle: bool) -> EpochSampler:
        """What is drawn of a part in an epoch."""
        return EpochSampler(
            len(part),
            self.config.seed,
            shuffle=shuffle,
            trainer=self.trainer,
            batch_size=self.config.batch_size,
        )

    def loader(self, part: Any, batch_size: int, *, shuffle: bool) -> DataLoader[Any]:
        """Batches of what the sampler draws."""
        return DataLoader(
            part,
            batch_size,
            sampler=self.sampler(part, shuffle=shuffle),
            num_workers=self.config.workers,
            collate_fn=self.collate,
            persistent_workers=self.config.workers > 0,
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled."""
        return self.loader(self.datasets["train"], self.share, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Each sample once."""
        return self.loader(self.datasets["val"], self.share, shuffle=False)


class DrawnPartsData(PartsData):
    """Samples of train are drawn with a seed each; those of val come one at a time, as their sizes differ."""

    def sampler(self, part: Any, *, shuffle: bool) -> DrawSampler:
        """Samples with their seeds."""
        return DrawSampler(
            len(part),
            self.config.seed,
            shuffle=shuffle,
            trainer=self.trainer,
            batch_size=self.config.batch_size,
            drop_last=len(part) >= self.config.batch_size,  # a last batch of one upsets BatchNorm
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Each sample once, as it is."""
        return self.loader(self.datasets["val"], 1, shuffle=False)
