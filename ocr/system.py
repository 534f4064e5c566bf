"""Training a recognizer: CTC, validation by greedy decoding, optimiser."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from common.charset import Charset
from common.ctc import greedy
from common.distributed import gather, global_max, rank_and_world
from common.loss import ctc_loss
from common.training import AveragedSystem, TrainConfig, one_cycle
from ocr.data import TextBatch
from ocr.images import WIDTH_MULTIPLE, LineBatch, stack
from ocr.labels import TextLine
from ocr.metrics import score_lines
from ocr.model import Recognizer


def fold_case(log_probs: torch.Tensor, charset: Charset) -> torch.Tensor:
    """log_probs (N, T, K): each small letter's probability is added to its capital's and then set to 0.

    After it, a label in capitals is as probable as all its spellings together.
    """
    pairs = [
        (charset.encode(c)[0], charset.encode(c.lower())[0])
        for c in charset.characters
        if c != c.lower() and len(c.lower()) == 1 and not charset.unknown(c.lower())
    ]
    if not pairs:
        return log_probs
    capital, small = (torch.tensor(classes, device=log_probs.device) for classes in zip(*pairs, strict=True))
    merged = torch.logaddexp(log_probs[..., capital], log_probs[..., small])
    folded = log_probs.index_copy(-1, capital, merged)
    return folded.index_fill(-1, small, -1e4)


class OcrSystem(AveragedSystem):
    """CTC loss (Graves et al. 2006) per character; val is decoded greedily every epoch.

    Labels whose case is unknown are scored by `fold_case`. What is validated and kept has the mean of the
    weights over all steps, of which the last thousand count most (Polyak & Juditsky 1992).

    Args:
        model: all of it is trained.
        config: learning rate and so on.
        val: the lines of val.
    """

    def __init__(self, model: Recognizer, config: TrainConfig, val: Sequence[TextLine]) -> None:
        super().__init__(model)
        self.config, self.val = config, val
        self._predictions: list[tuple[int, str]] = []

    def training_step(self, batch: TextBatch | None, batch_index: int) -> torch.Tensor | None:
        """Mean loss per character over the whole batch, however processes share it."""
        if rank_and_world()[1] > 1:
            batch = self._equally_wide(batch)
        if batch is None:
            return None
        logits, steps = self.model(*batch.images)
        log_probs = logits.float().log_softmax(-1)
        if batch.folded.any():
            folded = fold_case(log_probs, self.model.charset)
            log_probs = torch.where(batch.folded[:, None, None], folded, log_probs)
        total = ctc_loss(log_probs, steps, batch.targets, batch.lengths)
        return self.mean_over_batch(total * (batch.lengths.sum() > 0), batch.lengths.sum())

    def _equally_wide(self, batch: TextBatch | None) -> TextBatch:
        """Pad to the widest line of all processes, since BatchNorm counts padding, too; never None.

        Every process takes part in every step: one that could read none of its lines gets an empty
        one, which has no loss.
        """
        if batch is None:
            height = self.model.config.height
            blank = stack([np.zeros((height, WIDTH_MULTIPLE), np.float32)])
            empty = LineBatch(*(torch.from_numpy(array).to(self.device) for array in blank))
            zero = torch.zeros(1, dtype=torch.long, device=self.device)
            batch = TextBatch(empty, zero[:0], zero, zero > 0, [""], [-1])
        lines, widths = batch.images
        missing = int(global_max(torch.tensor(lines.shape[-1], device=self.device))) - lines.shape[-1]
        return batch._replace(images=LineBatch(F.pad(lines, (0, missing)), widths))

    def validation_step(self, batch: TextBatch | None, batch_index: int) -> None:
        """Predict the text of each line."""
        if batch is None:
            return
        logits, steps = self.average(*batch.images)
        log_probs = logits.float().log_softmax(-1).cpu().numpy()
        for index, row, length in zip(batch.indices, log_probs, steps.tolist(), strict=True):
            self._predictions.append((index, greedy(row[:length], self.model.charset).text))

    def on_validation_epoch_end(self) -> None:
        """Score the predictions of all processes, a folder at a time, and the mean over the folders."""
        predictions = dict(gather(self._predictions))
        self._predictions = []
        parts: dict[str, dict[str, float]] = {}
        for folder in dict.fromkeys(self.val[i].folder for i in predictions):
            inside = [i for i in predictions if self.val[i].folder == folder]
            parts[folder] = score_lines([predictions[i] for i in inside], [self.val[i].text for i in inside])
            self.log(f"case_insensitive_{folder}", parts[folder]["case_insensitive"])
        for name in ("case_insensitive", "cer"):
            self.log(name, sum(scores[name] for scores in parts.values()) / len(parts))
        self.log("num_lines", float(len(predictions)))

    def configure_optimizers(self) -> Any:
        """AdamW and one cycle."""
        return one_cycle(self.model.parameters(), self.config, self.trainer)
