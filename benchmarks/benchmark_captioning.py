"""Speed and memory of captioning, each as a ratio against a named baseline in the same run.

    python benchmarks/benchmark_captioning.py --decoder between --score dot --report FILE.json

Without --model it measures an untrained model of the flags' sizes over the default encoder; its captions then
have the full length.

- `folder_over_torch_bf16`, `folder_over_torch_fp32`: images/s of captioning a folder (beam 3) on the engine
  over those on torch in that precision. Bars: 1.4 and 2.5.
- `cold_cpu_over_imports`: user and system CPU time of `scripts/caption.py` on one picture over those of
  `python -c "import torch, timm"`; `cold_memory_mib` is the highest memory of the script. Bars: at most 0.35
  and 400.
- `folder_over_encoder`: images/s of captioning a folder (beam 3) over those of the bare encoder; pictures are
  read from disk in both, with the same batch, threads and precision. Bar: 0.8.
- `batched_over_single`: images/s of beam search (beam 3) on 32 pictures at a time over one at a time, from
  features on; `captioned_batched_over_single` is the same with the encoder in both. Bar: 4.
- `training_over_lstm`: words/s of a training step of the decoder and its loss, from what was seen on, over
  those of a plain `torch.nn.LSTM` with embedding and classifier of the same sizes, no attention. Bar: 0.5.
- `reward_share`: share of a self-critical step, its backward pass and update included, that the rewards take.
  Bar: at most 0.15.
- `without_over_with_concepts`: time of captioning (beam 3) 32 pictures, encoder included, without concepts
  over that with them, by untrained models of the same sizes, whose captions have the full length;
  `concepts_cost` is what concepts add, relative to captioning without them. Bar: below 0.2.
- `cache_memory_gib`: growth of this process's memory while it reads, in random order, 30,000 rows of a
  feature file of COCO's size (118,000 x 49 x 1280 fp16, sparse). Bar: below 1.
"""

import copy
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timing import cold, ratios, resident
from torch import nn
from torch.nn import functional as F

from captioning import Captioner
from captioning.concepts import Seen, concept_table
from captioning.config import ScoreKind
from captioning.data import CaptionBatch, CaptionedImage
from captioning.model import DECODERS, CaptionModel, DecoderConfig, DecoderKind
from captioning.self_critical import SelfCriticalSystem
from common.cli import command_line, run
from common.encoder import Encoder
from common.export import export
from common.features import FeatureStore
from common.images import read_batches
from common.search import beam_search
from common.text import EOS, Vocabulary
from common.training import TrainConfig

SCRIPT = Path(__file__).parent.parent / "scripts" / "caption.py"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags."""

    model: str | None = None
    """A bundled model, or a model or run folder; its sizes replace the flags."""
    decoder: DecoderKind = "between"
    """Without --model: the decoder."""
    score: ScoreKind = "dot"
    """Without --model: how its attention compares."""
    concepts: int = 8
    """Without --model: words that the classifier gives a picture."""
    tags: int = 600
    """Without --model: further words that the classifier learns of the captions."""
    words: int = 5000
    """Without --model: words of the vocabulary."""
    images: Path | None = None
    """Folder of pictures; without it, 192 of 500 x 375 pixels are made."""
    count: int = 192
    """Pictures to caption in each measurement."""
    repeats: int = 5
    """Measurements; the ratio is the median over pairs that ran side by side."""
    report: Path | None = None
    """JSON file to write."""


def make_pictures(folder: Path, count: int) -> list[Path]:
    """JPEGs of the size of a web photo, smooth as photos are."""
    random = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{i:04d}.jpg", quality=90)
    return sorted(folder.glob("*.jpg"))


def encoder_only(captioner: Captioner, paths: list[Path]) -> None:
    """The baseline: read the folder and encode it, no captions."""
    for batch in read_batches(list(paths), captioner.model.encoder.preprocess, 32):
        captioner.ensemble.look(batch.images)


def untrained(config: DecoderConfig, words: int, encoder: Encoder) -> CaptionModel:
    """A model whose vocabulary begins with the concepts, and whose captions never end early."""
    concepts = list(dict.fromkeys(word for names, _ in concept_table() for word in names))
    vocabulary = Vocabulary([*concepts, *(f"word{i}" for i in range(words))][:words])
    model = CaptionModel(encoder, config, vocabulary, 20).eval()
    classifier = encoder.classifier()
    if config.concepts and classifier is not None:
        model.classifier.fill(*classifier)
    with torch.no_grad():
        model.decoder.output_bias[EOS] = -1e4
    return model


def decode(captioner: Captioner, *each: Any) -> None:
    """Beam search from the features of N pictures on, one after the other."""
    decoder = captioner.ensemble
    for features in each:
        memory, state = decoder.remember((features,))
        beam_search(decoder.step, state, memory, beam_size=3, max_length=21)


def cache_memory(folder: Path, reads: int = 30_000) -> float:
    """Growth of the resident memory, in GiB, at its highest."""
    shape = (118_000, 49, 1280)
    with (folder / "features.f16").open("wb") as file:
        file.truncate(2 * int(np.prod(shape)))
    store = FeatureStore(folder / "features.f16", shape)
    before = highest = resident()
    for i, row in enumerate(np.random.default_rng(0).integers(0, len(store), reads).tolist()):
        store[row]
        if i % 100 == 0:
            highest = max(highest, resident())
    return round((highest - before) / 2**30, 3)


def drawn(model: CaptionModel, images: int) -> Seen:
    """As if something was seen of so many pictures."""
    height, width = model.encoder.grid
    concepts = model.config.concepts
    words = torch.randint(4, len(model.vocabulary), (images, concepts))
    grid = torch.randn(images, height * width, model.encoder.out_channels).relu()
    return Seen(grid, words, torch.rand(images, concepts))


def training_over_lstm(model: CaptionModel, repeats: int) -> dict[str, float]:
    """Words/s of a training step of the decoder over those of `nn.LSTM` and a classifier, sizes alike."""
    sizes, words = model.config, len(model.vocabulary)
    images, captions, steps = 32, 5, 15
    seen = drawn(model, images)
    tokens = torch.randint(4, words, (images, captions, steps))
    decoder = DECODERS[sizes.decoder](sizes, model.encoder.out_channels, words)
    plain = nn.LSTM(sizes.embedding_size, sizes.hidden_size, batch_first=True)
    embedding, output = nn.Embedding(words, sizes.embedding_size), nn.Linear(sizes.hidden_size, words)

    def attending() -> None:
        memory = decoder.remember(seen)
        outputs, _ = decoder.unroll(memory, tokens)
        decoder.loss(outputs.flatten(1, 2), memory, tokens.flatten(1), 0.1).backward()

    def bare() -> None:
        outputs, _ = plain(embedding(tokens.flatten(0, 1)))
        F.cross_entropy(output(outputs).flatten(0, 1), tokens.flatten()).backward()

    return ratios(bare, attending, repeats)


def reward_share(model: CaptionModel, steps: int) -> float:
    """Share of self-critical steps of 32 pictures, five captions each, that rewards take."""
    random = np.random.default_rng(0)
    vocabulary = model.vocabulary.to_list()

    def caption() -> str:  # 8 to 14 words, the first of the vocabulary often, as words of a language are
        chosen = random.zipf(1.2, int(random.integers(8, 15))) % len(vocabulary)
        return " ".join(vocabulary[i] for i in chosen)

    images = [CaptionedImage(i, Path(f"{i}"), tuple(caption() for _ in range(5))) for i in range(1000)]
    model = copy.deepcopy(model)  # it is trained
    system = SelfCriticalSystem(
        images, "mean", 5, model, TrainConfig(out=Path("unused")), images[:1], label_smoothing=0.0
    )
    setattr(system, "log", lambda *_, **__: None)  # noqa: B010  # no trainer listens
    system.on_train_epoch_start()
    optimizer = torch.optim.AdamW(system.decoder.parameters())
    started = 0.0
    for step in range(steps + 1):
        if step == 1:  # the first warms up
            started, system.reward_seconds = time.monotonic(), 0.0
        features = drawn(model, 32).grid
        batch = CaptionBatch(
            features, torch.zeros(32, 5, 2, dtype=torch.long), list(range(32)), torch.zeros(32, 0)
        )
        optimizer.zero_grad()
        system.training_step(batch, step).backward()
        optimizer.step()
    return round(system.reward_seconds / (time.monotonic() - started), 3)


def concepts_cost(model: CaptionModel, images: np.ndarray, repeats: int) -> dict[str, Any]:
    """What concepts add to the time of captioning preprocessed pictures (N, 3, H, W)."""
    captioners = [
        Captioner(
            untrained(replace(model.config, concepts=concepts), len(model.vocabulary) - 4, model.encoder)
        )
        for concepts in (0, model.config.concepts)
    ]
    without, including = captioners
    found: dict[str, Any] = ratios(lambda: without.search(images), lambda: including.search(images), repeats)
    return {
        "without_over_with_concepts": found,
        "concepts_cost": round(1 / found["ratio"] - 1, 3),
    }


def main(config: Config) -> None:
    """Run all and print them."""
    with tempfile.TemporaryDirectory() as name:
        measure(config, Path(name))


def measure(config: Config, folder: Path) -> None:
    """As `main`, with a folder for what is made."""
    name = config.model
    if name is None:
        name = str(folder / "model")
        sizes = DecoderConfig(config.decoder, score=config.score, concepts=config.concepts, tags=config.tags)
        untrained(sizes, config.words, Encoder.pretrained().freeze()).save_pretrained(folder / "model")
        export(CaptionModel, folder / "model")
    captioner = Captioner.from_pretrained(name)
    result: dict[str, Any] = {
        "model": config.model or "untrained",
        "decoder": asdict(captioner.model.config),
        "words": len(captioner.model.vocabulary),
        "threads": torch.get_num_threads(),
        "precision": captioner.precision,
        "torch": torch.__version__,
        "command": command_line(),
    }
    paths = sorted(config.images.glob("*.jpg")) if config.images else make_pictures(folder, config.count)
    paths = paths[: config.count]
    result["folder_over_encoder"] = ratios(
        lambda: encoder_only(captioner, paths),
        lambda: list(captioner.caption_each(paths)),
        config.repeats,
    )
    for precision in ("bf16", "fp32"):
        other = Captioner.from_pretrained(name, precision=precision, engine="torch")
        result[f"folder_over_torch_{precision}"] = ratios(
            lambda other=other: list(other.caption_each(paths)),
            lambda: list(captioner.caption_each(paths)),
            config.repeats,
        )
    images = np.stack([captioner.model.encoder.preprocess(p) for p in paths[:32]])
    (features,) = captioner.ensemble.look(images)
    result["batched_over_single"] = ratios(
        lambda: decode(captioner, *(features[i : i + 1] for i in range(len(features)))),
        lambda: decode(captioner, features),
        config.repeats,
    )
    result["captioned_batched_over_single"] = ratios(
        lambda: [captioner.search(image[None]) for image in images],
        lambda: captioner.search(images),
        config.repeats,
    )
    command = [sys.executable, str(SCRIPT), str(paths[0]), "--model", name]
    result |= cold(command, config.repeats)
    model = CaptionModel.from_pretrained(name)
    result["training_over_lstm"] = training_over_lstm(model, config.repeats)
    result["reward_share"] = reward_share(model, config.repeats)
    if model.config.concepts:
        result |= concepts_cost(model, images, config.repeats)
    result["cache_memory_gib"] = cache_memory(folder)
    print(json.dumps(result, indent=1))
    if config.report:
        config.report.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    run(main, Config, __doc__)
