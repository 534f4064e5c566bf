"""Self-critical training: captions that the model says itself, judged by CIDEr-D (Rennie et al. 2017)."""

import time
from collections.abc import Sequence
from typing import Any, Literal

import torch

from captioning.data import CaptionBatch, CaptionedImage
from captioning.metrics import CiderD
from captioning.system import CaptioningSystem
from common.distributed import global_sum, rank_and_world
from common.sampling import Choose, draw
from common.search import reorder
from common.text import BOS, EOS, PAD, tokenize

Baseline = Literal["mean", "greedy"]
_END = "<end>"
"""Counts as a word of captions and references: without it captions learn to stop half-way."""


class SelfCriticalSystem(CaptioningSystem):
    """REINFORCE on CIDEr-D with a baseline (Rennie et al. 2017, eqs. 6 to 9); validation as before.

    The baseline of a sampled caption is the greedy caption's reward, or the mean reward of the image's other
    samples (Luo 2020, "A better variant of self-critical sequence training"). Dropout is off, so that what is
    sampled is what is trained. The document frequencies are those of the training captions.

    Args:
        train: the images of train with their references.
        baseline: `greedy` or `mean`.
        samples: captions drawn an image; at least 2 for `mean`.
        references: weight of the loss of `CaptioningSystem` beside that of the rewards (Paulus et al. 2018,
            "A deep reinforced model for abstractive summarization", eq. 16).
        other: of `CaptioningSystem`.

    Attributes:
        reward_seconds, step_seconds: time spent so far on rewards, and in training steps altogether.
    """

    def __init__(
        self,
        train: Sequence[CaptionedImage],
        baseline: Baseline,
        samples: int,
        *other: object,
        references: float = 0.0,
        **more: object,
    ) -> None:
        super().__init__(*other, **more)  # type: ignore[arg-type]
        self.baseline, self.samples, self.references_weight = baseline, samples, references
        self.positions = {image.image_id: i for i, image in enumerate(train)}
        self.reward = CiderD([[[*tokenize(c), _END] for c in image.captions] for image in train])
        self.reward_seconds = self.step_seconds = 0.0

    def on_train_epoch_start(self) -> None:
        """Start the epoch's mean loss and mean reward."""
        super().on_train_epoch_start()
        self._earned: list[float] = []

    def on_train_epoch_end(self) -> None:
        """The epoch's mean loss and mean reward over all processes."""
        super().on_train_epoch_end()
        total, count = global_sum(torch.tensor([sum(self._earned), len(self._earned)], device=self.device))
        self.log("reward", 100 * total / count)

    def training_step(self, batch: CaptionBatch, batch_index: int) -> torch.Tensor:
        """Mean over all sampled captions of the whole batch of advantage times log-probability."""
        started = time.monotonic()
        self.decoder.eval()
        for module in self.decoder.modules():
            if isinstance(module, torch.nn.RNNBase):
                module.train()  # it has no dropout of its own; cuDNN goes backwards in training mode alone
        seen = self.learnt(self.features(batch))
        images, count = len(seen.grid), self.samples
        with torch.no_grad():
            memory = self.decoder.remember(seen)
            rows = torch.arange(images, device=seen.grid.device).repeat_interleave(count)
            state = reorder(self.decoder.init_state(memory), rows)
            self._everyone = self.draws(images, seen.grid.device)
            drawn = self._draw(state, memory, self._choose)
            if self.baseline == "greedy":
                greedy = self._draw(self.decoder.init_state(memory), memory, None)
        judged = time.monotonic()
        ids = [image for image in batch.image_ids for _ in range(count)]
        rewards = self._rewards(ids, drawn).view(images, count)
        if self.baseline == "greedy":
            base = self._rewards(batch.image_ids, greedy)[:, None]
        else:
            base = (rewards.sum(dim=1, keepdim=True) - rewards) / (count - 1)
        advantage = (rewards - base).flatten().to(seen.grid.device)
        self.reward_seconds += time.monotonic() - judged
        tokens = self._pad(drawn).to(seen.grid.device)  # N*K, 1 + T
        inputs, targets = tokens[:, :-1].unflatten(0, (images, count)), tokens[:, 1:]
        memory = self.decoder.remember(seen)
        output, _ = self.decoder.unroll(memory, inputs)
        loss = self.decoder.loss(
            output.flatten(1, 2),
            memory,
            targets.unflatten(0, (images, count)).flatten(1),
            advantage=advantage[:, None].expand_as(targets).unflatten(0, (images, count)).flatten(1),
        )
        self.decoder.train()
        loss = self.mean_over_batch(loss, (targets != PAD).sum())
        if self.references_weight:
            loss = loss + self.references_weight * super().training_step(batch, batch_index)
        self._earned += rewards.flatten().tolist()
        self.step_seconds += time.monotonic() - started
        return loss

    def _choose(self, probabilities: torch.Tensor) -> torch.Tensor:
        """probabilities (N*K, V) -> words (N*K,) that do not depend on the process that holds an image."""
        if rank_and_world()[1] == 1:
            return torch.multinomial(probabilities, 1).squeeze(-1)
        images, mine, generator = self._everyone
        captions = probabilities.unflatten(0, (-1, self.samples))  # N, K, V
        whole = captions.new_ones(images, *captions.shape[1:])
        whole[mine] = captions
        words = torch.multinomial(whole.flatten(0, 1), 1, generator=generator)
        return words.view(images, -1)[mine].flatten()

    def _draw(self, state: Any, memory: Any, choose: Choose | None) -> list[list[int]]:
        """One caption a row of the state, as ids, with the end where it was said."""
        found = draw(self.decoder.step, state, memory, max_length=self.max_length + 1, choose=choose)
        return [[*h.tokens, *([EOS] if h.finished else [])] for h in found]

    def _rewards(self, image_ids: Sequence[int | str], captions: Sequence[Sequence[int]]) -> torch.Tensor:
        """CIDEr-D of each caption against the references of its image."""
        words = [[*self.vocabulary.decode(ids), *([_END] if ids[-1:] == [EOS] else [])] for ids in captions]
        return torch.tensor(self.reward.rewards([self.positions[i] for i in image_ids], words))

    @staticmethod
    def _pad(captions: Sequence[Sequence[int]]) -> torch.Tensor:
        longest = max(len(ids) for ids in captions)
        return torch.tensor([[BOS, *ids, *[PAD] * (longest - len(ids))] for ids in captions])
