"""Train a captioner from flags: what `scripts/train_captioning.py` calls."""

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import pytorch_lightning as pl
import torch
from torch.utils.data import ConcatDataset, Dataset

from captioning.augmentation import FUNCTION_WORDS, View, numbered, read_sentences
from captioning.concepts import forms
from captioning.data import (
    CaptionDataset,
    CaptionedImage,
    CaptionItem,
    ImageFiles,
    collate,
    read_captions,
)
from captioning.metrics import CiderD
from captioning.model import CaptionModel, DecoderConfig
from captioning.self_critical import Baseline, SelfCriticalSystem
from captioning.system import CaptioningSystem
from common.cli import command_line, sizes_of
from common.encoder import Encoder
from common.errors import UsageError
from common.features import FeatureStore
from common.loading import FeatureConfig, PartsData
from common.schema import Range
from common.text import PAD, SPECIAL_TOKENS, UNK, Vocabulary, tokenize
from common.training import fit, prepare_run

_FEW = 5  # images of val; fewer choose an epoch by chance


@dataclass(frozen=True, kw_only=True)
class CaptioningConfig(DecoderConfig, FeatureConfig):
    """Train a captioner on pictures with captions.

        visionrnn train captioning --data DIR --out RUN

    DIR holds `images/` and `annotations/captions_{train,val}.json` (COCO), or a Karpathy `dataset*.json`, or
    `train.jsonl` and `val.jsonl` with lines of {"image": path, "captions": [...]}.
    """

    exchanged: Annotated[float, Range(0, 1)] = 0.15
    """Share of the images in which another thing of the same kind takes the place of one that is named."""
    paired: Annotated[float, Range(0, 1)] = 0.0
    """Share of the images that another one stands beside; attention learns to look at the right half."""
    views: Annotated[int, Range(1, 100)] = 1
    """Copies of each training image, the first as it is, the others varied: mirrored or not, cut, in other
    colours. An epoch sees each of them."""
    hold_out: tuple[str, ...] = ()
    """Words, plurals too, whose images and captions are left out of train, to measure novel words."""
    text: Path | None = None
    """File of sentences, one a line, without images: further words and ways to speak of concepts."""
    text_share: float = 0.5
    """With --text: sentences a step, for each caption."""
    label_smoothing: float = 0.1
    """Probability spread over all words."""
    min_count: int = 5
    """Words rarer than this in the training captions become unknown."""
    max_length: Annotated[int, Range(1, 1000)] = 20
    """Most words of a caption, in training and in captions made."""
    init_from: Path | None = None
    """Model or run folder to start from; its decoder, sizes and encoder replace the flags, but for an
    --image-size that is given."""
    words: Literal["union", "keep", "new"] = "union"
    """With --init-from: its words and those of the new captions, its words alone, or theirs alone."""
    finetune_encoder: bool = False
    """Also train the encoder; best after the decoder, with --init-from. Its features are then not cached."""
    encoder_frozen: int = 0
    """With --finetune-encoder: the stride up to which its layers stay as they are; 0 trains all."""
    encoder_rate: float = 0.1
    """With --finetune-encoder: its learning rate, relative to the decoder's."""
    scheduled_sampling: Annotated[float, Range(0, 1)] = 0.0
    """Share of its own words that the decoder reads at the end of training; grows from 0 evenly."""
    self_critical: bool = False
    """Train on CIDEr-D of sampled captions (SCST); start from a model with --init-from."""
    baseline: Baseline = "mean"
    """With --self-critical: mean (of the image's other samples) or greedy."""
    samples: Annotated[int, Range(2)] = 5
    """With --self-critical: captions drawn an image."""
    references: Annotated[float, Range(0)] = 0.0
    """With --self-critical: weight of the cross entropy of the references beside the reward, with the pairs,
    exchanges and sentences of the other flags."""
    description: str = ""
    """What the data set is and its terms, for the model card."""


def train(config: CaptioningConfig) -> None:
    """Train as the flags say. Raises UsageError, DataError, EncoderWeightsError, OSError."""
    if not config.data.is_dir():
        raise UsageError(f"--data {config.data}: no such folder")
    _check(config)
    config = prepare_run(config)
    pl.seed_everything(config.seed, verbose=False)
    parts = {name: read_captions(config.data, name) for name in ("train", "val")}
    if config.limit:
        parts = {name: images[: config.limit] for name, images in parts.items()}
    if config.hold_out:
        parts["train"] = without(parts["train"], config.hold_out)
    if not _can_choose(parts["val"]):
        print(
            f"val: {len(parts['val'])} images are too few, or too much alike, to choose an epoch by CIDEr-D; "
            "all epochs are trained and the last is kept",
            flush=True,
        )
        config = replace(config, keep="last", patience=0)
    text = read_sentences(config.text) if config.text else []
    model = _model(config, parts["train"], text)
    frozen = model.encoder
    if config.finetune_encoder:
        frozen = copy.deepcopy(model.encoder)
        model.encoder.unfreeze()
        if config.encoder_frozen:
            model.encoder.freeze_up_to(config.encoder_frozen)
    model.info = {
        "data": config.description or config.data.resolve().name,
        "images": len(parts["train"]),
        "captions": sum(len(image.captions) for image in parts["train"]),
        "command": command_line(),
        "seed": config.seed,
    }
    data = PartsData(partial(_open, config, model, frozen, parts), collate, config)
    options: Any = (model, config, parts["val"], config.label_smoothing)
    rates: Any = {
        "scheduled_sampling": config.scheduled_sampling,
        "encoder_rate": config.encoder_rate,
        "exchanged": config.exchanged,
        "paired": config.paired,
        "sentences": numbered(text, model.vocabulary, model.max_length) if text else None,
        "text_share": config.text_share,
    }
    if config.self_critical:
        system: CaptioningSystem = SelfCriticalSystem(
            parts["train"],
            config.baseline,
            config.samples,
            *options,
            references=config.references,
            **rates,
        )
    else:
        system = CaptioningSystem(*options, **rates)
    report = ("bleu_4", *(("reward",) if config.self_critical else ()), "num_images")
    fit(system, data, config, model=model, monitor="cider_d", report=report)
    if system.silent:
        print(
            f"the model says nothing of {system.silent:.0%} of the val images: {system.global_step:,} steps "
            "are too few. Start from a trained model (--init-from flickr8k), or train for more --epochs "
            "with --patience 0",
            flush=True,
        )
    if isinstance(system, SelfCriticalSystem) and system.step_seconds:
        print(f"rewards took {system.reward_seconds / system.step_seconds:.1%} of the training steps' time")
    print(f"best model: {config.out / 'best'}")


def _learn_tags(
    model: CaptionModel, store: FeatureStore, rows: dict[Path, int], images: list[CaptionedImage]
) -> None:
    """Teach the classifier the words of content that the captions say most often."""
    captions = [[model.vocabulary.encode(tokenize(c)) for c in image.captions] for image in images]
    counts = Counter(word for each in captions for word in {i for caption in each for i in caption})
    words = model.vocabulary.words
    content = [i for i, _ in counts.most_common() if words[i] not in FUNCTION_WORDS and i > UNK]
    means = torch.stack([store[rows[image.path]].float().mean(dim=0) for image in images])
    chosen = content[: len(model.classifier.tags)]
    model.classifier.learn(means, captions, chosen + [PAD] * (len(model.classifier.tags) - len(chosen)))


def without(images: list[CaptionedImage], words: Sequence[str]) -> list[CaptionedImage]:
    """The images none of whose captions says one of the words or its plural; prints how many."""
    held = forms(words)
    kept = [i for i in images if not any(held & set(tokenize(caption)) for caption in i.captions)]
    print(f"held out {', '.join(words)}: {len(images) - len(kept):,} of {len(images):,} images", flush=True)
    if not kept:
        raise UsageError(f"--hold-out {' '.join(words)}: no image of train is left")
    return kept


def _can_choose(val: list[CaptionedImage]) -> bool:
    """Whether CIDEr-D tells captions of val apart; it counts only n-grams that not all the images share."""
    if len(val) < _FEW:
        return False
    references = [[tokenize(caption) for caption in image.captions] for image in val]
    return bool(CiderD(references).scores([image[0] for image in references]).any())


def _check(config: CaptioningConfig) -> None:
    if config.self_critical and config.init_from is None:
        raise UsageError("--self-critical starts from a trained model; name it with --init-from")
    if config.text_share <= 0:
        raise UsageError(f"--text-share {config.text_share}: must be above 0; leave --text out for none")
    if config.views > 1 and config.finetune_encoder:
        raise UsageError("--finetune-encoder varies each image anew at each step; leave --views out")
    if config.decoder == "att2in" and config.cell != "lstm":
        raise UsageError(f"--decoder att2in is an LSTM; --cell {config.cell} does not go with it")


def _model(config: CaptioningConfig, train: list[CaptionedImage], text: list[list[str]]) -> CaptionModel:
    if config.init_from is not None:
        model = CaptionModel.from_pretrained(config.init_from).train()
        if config.image_size:
            side = config.image_size
            model.encoder.preprocess = replace(model.encoder.preprocess, height=side, width=side)
        if config.words != "keep":
            found = _vocabulary(train, text, config.min_count).to_list()
            old = model.vocabulary.to_list() if config.words == "union" else []
            added = [word for word in found if word not in set(old)]
            if added or not old:
                print(
                    f"words: {len(old):,} of {config.init_from}, {len(added):,} of the captions", flush=True
                )
                model = model.with_vocabulary(Vocabulary([*old, *added]))
    else:
        encoder = config.frozen_encoder()
        classifier = encoder.classifier() if config.concepts and not config.encoder_weights else None
        if config.concepts and classifier is None:
            print(f"encoder {config.encoder} brings no classifier: concepts are off", flush=True)
        sizes = sizes_of(DecoderConfig, config)
        if classifier is None:
            sizes = replace(sizes, concepts=0, tags=0)
        model = CaptionModel(encoder, sizes, _vocabulary(train, text, config.min_count), config.max_length)
        if sizes.concepts and classifier:
            model.classifier.fill(*classifier)
    return model


def _open(
    config: CaptioningConfig, model: CaptionModel, frozen: Encoder, parts: dict[str, list[CaptionedImage]]
) -> dict[str, Dataset[CaptionItem]]:
    """Each part with the features of a frozen encoder, or with the images for one that is trained.

    What the classifier recognises is always what it does with the frozen encoder.
    """
    opened: dict[str, CaptionDataset] = {}
    for name, images in parts.items():
        recognised, learns = None, bool(model.config.concepts) and name == "train"
        if model.encoder.frozen or learns:
            store, rows = config.features(frozen, name, (image.path for image in images))
            images = [image for image in images if image.path in rows]
            features: Any = store
        if learns:
            if not model.classifier.tags.any():
                _learn_tags(model, store, rows, images)
            starts = range(0, len(images), 64)
            batches = (torch.stack([store[rows[i.path]] for i in images[s : s + 64]]) for s in starts)
            recognised = model.classifier.recognise(batches, frozen.grid)
        if not model.encoder.frozen:
            features = ImageFiles([image.path for image in images], model.encoder.preprocess)
            unreadable = {} if learns else features.errors(config.workers)
            for error in unreadable.values():
                print(f"  {name}: left out {error}", flush=True)
            rows = {image.path: i for i, image in enumerate(images)}
            images = [image for i, image in enumerate(images) if i not in unreadable]
        numbers = {i: rows[image.path] for i, image in enumerate(images)}
        opened[name] = CaptionDataset(
            images, features, numbers, model.vocabulary, model.max_length, recognised
        )
    views: list[CaptionDataset] = []
    for number in range(1, config.views):
        store, rows = config.features(
            frozen, "train", (i.path for i in opened["train"].images), View(number), f"view {number}"
        )
        views.append(opened["train"].seen_as(store, rows))
    return {**opened, "train": ConcatDataset([opened["train"], *views])}


def _vocabulary(images: list[CaptionedImage], text: list[list[str]], min_count: int) -> Vocabulary:
    captions = [tokenize(caption) for image in images for caption in image.captions]
    vocabulary = Vocabulary.build([*captions, *text], min_count)
    words = sum(len(caption) for caption in captions)
    unknown = words - sum(1 for caption in captions for i in vocabulary.encode(caption) if i != UNK)
    print(
        f"vocabulary: {len(vocabulary):,} words that occur at least {min_count} times; "
        f"{unknown:,} of {words:,} words of train ({unknown / words:.1%}) are unknown",
        flush=True,
    )
    if len(vocabulary) <= len(SPECIAL_TOKENS):
        raise UsageError(f"--min-count {min_count}: no word occurs so often; lower it")
    return vocabulary
