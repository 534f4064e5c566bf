"""Training an action classifier: loss, validation in order and shuffled, optimiser."""

from typing import Any

import torch
from torch.nn import functional as F

from common.distributed import gather
from common.training import TrainConfig, TrainingSystem, one_cycle
from video.data import ClipBatch, drop_frames, sample, shuffle_frames, warped
from video.model import VideoModel


class VideoSystem(TrainingSystem):
    """Cross entropy of each head with label smoothing; val is classified in order and shuffled.

    Args:
        model: its network is trained; its encoder is frozen.
        config: learning rate and so on.
        label_smoothing: probability given to all classes alike.
        time_warp: largest change of speed within a training clip, relative.
        drop_frames: share of the frames of a training clip that are left out.
    """

    def __init__(
        self,
        model: VideoModel,
        config: TrainConfig,
        label_smoothing: float,
        time_warp: float = 0.0,
        drop_frames: float = 0.0,
    ) -> None:
        super().__init__()
        self.time_warp, self.drop_frames = time_warp, drop_frames
        self.network, self.frames = model.network, model.config.frames
        self.config, self.label_smoothing = config, label_smoothing
        self._correct: list[tuple[int, bool, bool]] = []

    def training_step(self, batch: ClipBatch, batch_index: int) -> torch.Tensor:
        """Mean loss per clip over the whole batch, however processes share it: of each head by itself.

        Were the mean of the heads trained instead, one that is right would leave the others nothing to learn.
        """
        clips, mine, generator = self.draws(len(batch.lengths), torch.device("cpu"))
        moments = torch.rand(clips, self.frames, generator=generator)[mine]
        if self.time_warp:
            bends = torch.rand(clips, generator=generator)[mine]
            moments = warped(moments, self.time_warp * (2 * bends - 1))
        features, lengths = sample(batch.features, batch.lengths, self.frames, jitter=moments)
        if self.drop_frames:
            kept = torch.rand(clips, self.frames, generator=generator)[mine] >= self.drop_frames
            features, lengths = drop_frames(features, lengths, kept.to(features.device))
        logits = self.network.of_heads(features.float(), lengths).float()  # H, N, K
        labels = batch.labels.repeat(len(logits))
        total = F.cross_entropy(
            logits.flatten(0, 1), labels, label_smoothing=self.label_smoothing, reduction="sum"
        )
        return self.mean_over_batch(total / len(logits), len(batch.labels))

    def validation_step(self, batch: ClipBatch, batch_index: int) -> None:
        """Classify each clip twice."""
        features, lengths = sample(batch.features, batch.lengths, self.frames, jitter=False)
        features = features.float()
        correct = [
            (self.network(x, lengths).argmax(dim=-1) == batch.labels).tolist()
            for x in (features, shuffle_frames(features, lengths))
        ]
        self._correct += zip(batch.rows, *correct, strict=True)

    def on_validation_epoch_end(self) -> None:
        """Score the clips of all processes, each once."""
        correct = {row: flags for row, *flags in gather(self._correct)}
        self._correct = []
        for i, name in enumerate(("top_1", "shuffled_top_1")):
            self.log(name, 100 * sum(flags[i] for flags in correct.values()) / len(correct))
        self.log("num_clips", float(len(correct)))

    def configure_optimizers(self) -> Any:
        """AdamW and one cycle."""
        return one_cycle(self.network.parameters(), self.config, self.trainer)
