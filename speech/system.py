"""Training a speech recognizer: CTC, validation by greedy decoding, optimiser."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from common.ctc import greedy
from common.distributed import gather, global_max, rank_and_world
from common.loss import ctc_loss
from common.training import AveragedSystem, TrainConfig, one_cycle
from speech.data import SpeechBatch
from speech.metrics import score_clips
from speech.model import SpeechModel


class SpeechSystem(AveragedSystem):
    """CTC loss (Graves et al. 2006) per character; val is decoded greedily every epoch.

    What is validated and kept has the mean of the weights over all steps (`AveragedSystem`).

    Args:
        model: all of it is trained.
        config: learning rate and so on.
        texts: those of val.
    """

    def __init__(self, model: SpeechModel, config: TrainConfig, texts: Sequence[str]) -> None:
        super().__init__(model)
        self.config, self.texts = config, texts
        self._found: list[tuple[int, str]] = []

    def training_step(self, batch: SpeechBatch, batch_index: int) -> torch.Tensor:
        """Mean loss per character over the whole batch, however processes share it."""
        frames = batch.frames
        if rank_and_world()[1] > 1:  # BatchNorm counts padding, too
            longest = int(global_max(torch.tensor(frames.shape[1], device=frames.device)))
            frames = F.pad(frames, (0, 0, 0, longest - frames.shape[1]))
        logits, steps = self.model(frames, batch.lengths)
        log_probs = logits.float().log_softmax(-1)
        total = ctc_loss(log_probs, steps, batch.targets, batch.target_lengths)
        return self.mean_over_batch(total, batch.target_lengths.clamp(min=1).sum())

    def validation_step(self, batch: SpeechBatch, batch_index: int) -> None:
        """Write down each clip."""
        logits, steps = self.average(batch.frames, batch.lengths)
        log_probs = logits.float().log_softmax(-1).cpu().numpy()
        for index, row, length in zip(batch.indices, log_probs, steps.tolist(), strict=True):
            self._found.append((index, greedy(row[:length], self.model.charset).text))

    def on_validation_epoch_end(self) -> None:
        """Score the clips of all processes, each once."""
        found = dict(gather(self._found))
        self._found = []
        for name, value in score_clips(list(found.values()), [self.texts[i] for i in found]).items():
            self.log(name, value)
        self.log("num_clips", float(len(found)))

    def configure_optimizers(self) -> Any:
        """AdamW and one cycle."""
        return one_cycle(self.model.parameters(), self.config, self.trainer)
