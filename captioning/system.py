"""Training a captioner: loss, validation by decoding, optimiser."""

import random
from collections.abc import Sequence
from typing import Any

import torch

from captioning.augmentation import FUNCTION_WORDS, Concepts, Pairs, draw_pairs, vary
from captioning.concepts import Seen
from captioning.data import CaptionBatch, CaptionDataset, CaptionedImage
from captioning.metrics import evaluate_captions
from captioning.model import CaptionModel
from common.distributed import epochs_trained, gather
from common.sampling import draw
from common.text import PAD, UNK, tokenize
from common.training import TrainConfig, TrainingSystem, one_cycle

_GUIDED = 0.25  # weight of the loss of attention that goes astray
_KEPT = 1.0  # weight of the loss that keeps the classifier of an encoder that is trained


class CaptioningSystem(TrainingSystem):
    """Cross entropy with label smoothing (Szegedy et al. 2016); greedy captions of all of val every epoch.

    Args:
        model: its decoder is trained, and its encoder where that is not frozen.
        config: learning rate and so on.
        val: the images of val with their references.
        label_smoothing: probability given to all words alike.
        scheduled_sampling: share of its own words that the decoder reads at the end of training (Bengio et
            al. 2015); it grows from 0 evenly.
        encoder_rate: learning rate of an encoder that is trained, relative to the decoder's.
    """

    content: torch.Tensor

    def __init__(
        self,
        model: CaptionModel,
        config: TrainConfig,
        val: Sequence[CaptionedImage],
        label_smoothing: float,
        *,
        scheduled_sampling: float = 0.0,
        encoder_rate: float = 0.1,
        exchanged: float = 0.0,
        paired: float = 0.0,
        sentences: torch.Tensor | None = None,
        text_share: float = 0.0,
    ) -> None:
        super().__init__()
        self.decoder = model.decoder
        self.see, self.classifier = model.see, model.classifier
        self.tags = model.classifier.tags if model.config.concepts else torch.zeros(0, dtype=torch.long)
        self.concepts: Concepts | None = None
        self.exchanged, self.paired, self.grid = exchanged, paired, model.encoder.grid
        content = [word not in FUNCTION_WORDS for word in model.vocabulary.words]
        self.register_buffer("content", torch.tensor(content), persistent=False)
        self.sentences, self.text_share = sentences, text_share
        self.encoder = None if model.encoder.frozen else model.encoder
        self.scheduled_sampling, self.encoder_rate = scheduled_sampling, encoder_rate
        self.vocabulary, self.max_length = model.vocabulary, model.max_length
        self.config, self.label_smoothing = config, label_smoothing
        self.references = {image.image_id: [tokenize(c) for c in image.captions] for image in val}
        self._captions: list[tuple[int | str, list[str]]] = []
        self.silent = 0.0
        """Share of the val images of which the last captions say nothing."""

    def on_fit_start(self) -> None:
        """Learn from the training images what the classifier finds in images."""
        train: CaptionDataset = self.trainer.datamodule.datasets["train"].datasets[0]  # type: ignore[attr-defined]
        if train.recognised is not None and (self.exchanged or self.sentences is not None):
            self.concepts = Concepts(self.vocabulary, self.tags, train.recognised, train.tokens)

    def training_step(self, batch: CaptionBatch, batch_index: int) -> torch.Tensor:
        """Mean loss a word over the whole batch, whatever process holds which part of it.

        Pairs, exchanges and sentences are drawn by each process for its own part.
        """
        pairs = draw_pairs(len(batch.tokens), self.paired, batch.tokens.device)
        features = self.features(batch, pairs)
        seen, tokens = self.learnt(features), batch.tokens
        if self.concepts is not None and self.exchanged:
            chance = random.Random(int(torch.randint(2**31, ())))
            seen, tokens = self.concepts.exchange(seen, tokens, self.exchanged, chance)
        loss, words, weights = self.cross_entropy(seen, tokens)
        count = int(self.text_share * tokens[..., 0].numel())
        if self.sentences is not None and count:
            text = self.sentences[torch.randint(len(self.sentences), (count,))].long()
            text = text[:, : int((text != PAD).sum(dim=1).max())]
            blank = seen.grid.new_zeros(count, 1, seen.grid.shape[2])
            none = seen.words.new_zeros(count, 0), seen.scores.new_zeros(count, 0)
            imagined = self.concepts.imagine(text) if self.concepts else none
            words_alone = Seen(blank, *(field.to(blank.device) for field in imagined))
            text_loss, text_words, _ = self.cross_entropy(words_alone, text[:, None].to(blank.device))
            loss, words = loss + text_loss, words + text_words
        loss = self.mean_over_batch(loss, words)
        if len(pairs.rows):
            loss = loss + _GUIDED * self.astray(weights[pairs.rows], tokens[pairs.rows], pairs.own(self.grid))
        if self.encoder is not None and batch.classes.numel():
            classes = batch.classes.clone()
            classes[pairs.rows] = (classes[pairs.rows] + classes[pairs.partners]) / 2
            loss = loss + _KEPT * self.classifier.change(features, classes)
        return loss

    def learnt(self, features: torch.Tensor) -> Seen:
        """features (N, L, C) -> what the decoder is given in training.

        Where sentences teach it to say what no caption names, see `Concepts.known`.
        """
        seen: Seen = self.see(features)
        return seen if self.concepts is None or self.sentences is None else self.concepts.known(seen)

    def astray(self, weights: torch.Tensor, tokens: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """How little the attention on content words falls on the image that they are said of.

        Mean of -log(share), as Liu et al. 2017 ("Attention correctness in neural image captioning") guide
        attention by where a thing is; here all that is known is which half the image has.

        Args:
            weights: attention (P, K, T, L + M).
            tokens: (P, K, 1 + T).
            own: (P, L), the image's share of each place.
        """
        weights = weights[..., : own.shape[1]].float()
        share = (weights * own[:, None, None]).sum(dim=-1) / weights.sum(dim=-1).clamp(min=1e-6)
        named = self.content[tokens[..., 1:]] & (tokens[..., 1:] > UNK)
        return -(share[named] + 1e-3).log().sum() / named.sum().clamp(min=1)

    def cross_entropy(
        self, seen: Seen, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """seen of N images, tokens (N, K, 1 + T) -> loss over all words, their number, attention weights."""
        sampled = self.scheduled_sampling * epochs_trained(self.trainer) / max(1, self.config.epochs - 1)
        targets = tokens[..., 1:].flatten(1)  # N, K * T
        memory = self.decoder.remember(seen)
        output, weights = self.decoder.unroll(memory, tokens[..., :-1], sampled)
        loss = self.decoder.loss(output.flatten(1, 2), memory, targets, self.label_smoothing)
        return loss, (targets != PAD).sum(), weights

    def features(self, batch: CaptionBatch, pairs: Pairs | None = None) -> torch.Tensor:
        """(N, L, C): those of the cache, or what an encoder that is trained sees, once an image.

        Where `pairs` are given, the images are also varied for an encoder that is trained.
        """
        if self.encoder is None:
            grid = batch.features.float()
            if pairs is None or not len(pairs.rows):
                return grid
            maps = grid.transpose(1, 2).unflatten(2, self.grid)  # N, L, C -> N, C, H, W
            return pairs.beside(maps).flatten(2).transpose(1, 2)
        images = batch.features if pairs is None else pairs.beside(vary(batch.features))
        images = images.contiguous(memory_format=torch.channels_last)
        return self.encoder.places(images).float()

    def validation_step(self, batch: CaptionBatch, batch_index: int) -> None:
        """Caption each image."""
        memory = self.decoder.remember(self.see(self.features(batch)))
        state = self.decoder.init_state(memory)
        found = draw(self.decoder.step, state, memory, max_length=self.max_length + 1)
        for image_id, hypothesis in zip(batch.image_ids, found, strict=True):
            self._captions.append((image_id, self.vocabulary.decode(hypothesis.tokens)))

    def on_validation_epoch_end(self) -> None:
        """Score the captions of all processes, each image once."""
        captions = dict(gather(self._captions))
        self._captions = []
        self.silent = sum(not words for words in captions.values()) / max(1, len(captions))
        references = [self.references[image_id] for image_id in captions]
        scores = evaluate_captions(list(captions.values()), references)
        self.log("num_images", float(len(captions)))
        for name in ("cider_d", "bleu_4"):
            self.log(name, scores[name])

    def configure_optimizers(self) -> Any:
        """AdamW and one cycle."""
        groups: list[dict[str, Any]] = [{"params": list(self.decoder.parameters())}]
        if self.encoder is not None:
            rate = self.encoder_rate * self.config.learning_rate
            groups.append({"params": list(self.encoder.parameters()), "lr": rate})
        return one_cycle(groups, self.config, self.trainer)
