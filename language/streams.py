"""The streams of units that training reads.

Notation: N units (characters or words) of a text, R streams that are read side by side, T units of a step.
"""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from common.distributed import epochs_trained, rank_and_world
from common.errors import UsageError
from language.data import BEGIN


class Streams(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """A text as R streams side by side, T units a step: inputs (R, T) and targets (R, T), the next units.

    Each stream goes on where its step before ended, so that the state of a network can be carried over. In
    training the text is a ring, which each epoch cuts at another place. In validation each stream first reads
    the step before its own part, as warm-up, whose targets are -100.

    Args:
        codes: of the text (N,).
        streams: R over all processes.
        steps: T.
        seed: of the cuts.
        trainer: has the number of the epoch; None is epoch 0.
        shuffle: cut at another place each epoch; else it is validation.

    Raises:
        UsageError: more streams than processes can share, or fewer units than one step of one stream takes.
    """

    def __init__(
        self,
        codes: np.ndarray,
        streams: int,
        steps: int,
        *,
        seed: int = 0,
        trainer: Any = None,
        shuffle: bool,
    ) -> None:
        super().__init__()
        self.rank, self.world = rank_and_world()
        self.codes, self.steps, self.seed, self.trainer, self.shuffle = codes, steps, seed, trainer, shuffle
        self.streams = streams
        self.length = -(-len(codes) // streams)  # of a stream; the last one of validation may be shorter
        if shuffle:
            self.length = len(codes) // streams // steps * steps
        if not self.length:
            raise UsageError(
                f"{len(codes):,} units are too few for --batch-size {streams} streams of --steps {steps}; "
                "give more text, or smaller values"
            )

    def __len__(self) -> int:
        return -(-self.length // self.steps) + (not self.shuffle)

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        if step >= len(self):
            raise IndexError(f"step {step} of {len(self)}")
        rows = np.arange(self.rank, self.streams, self.world)
        if self.shuffle:
            draw = np.random.default_rng((self.seed, epochs_trained(self.trainer)))
            starts = draw.integers(len(self.codes)) + rows * (len(self.codes) // self.streams)
            time = step * self.steps
        else:
            starts = rows * self.length
            time = (step - 1) * self.steps
        places = starts[:, None] + np.arange(time - 1, time + self.steps)  # R, T + 1
        codes = torch.from_numpy(self.codes[places % len(self.codes)].astype(np.int64))
        inputs, targets = codes[:, :-1].clone(), codes[:, 1:].clone()
        if step == 0:
            inputs[:, 0] = BEGIN
        if not self.shuffle:
            within = np.arange(time, time + self.steps)
            past = (within < 0) | (within >= self.length) | (places[:, 1:] >= len(self.codes))
            targets[torch.from_numpy(past)] = -100
            inputs[torch.from_numpy(places[:, :-1] < 0)] = (
                BEGIN  # the first stream has nothing to warm up with
            )
        return inputs, targets
