"""Speed and memory of captioning, each as a ratio against a named baseline in the same run.

    python benchmarks/benchmark_captioning.py --model rooms --report FILE.json

- `folder_over_encoder`: images/s of captioning a folder (beam 3) over those of the bare encoder; pictures are
  read from disk in both, with the same batch, threads and precision. Bar: 0.8.
- `batched_over_single`: images/s of beam search (beam 3) on 32 pictures at a time over one at a time, from
  features on; `captioned_batched_over_single` is the same with the encoder in both. Bar: 4.
- `cold_over_imports`: wall time of `scripts/caption.py` on one picture over `python -c "import torch, timm"`.
  Bar: 2.
- `training_over_lstm`: words/s of a training step of the decoder, from features on, over those of a plain
  `torch.nn.LSTM` with embedding and classifier of the same sizes, without attention. Bar: 0.5.
- `cache_memory_gib`: growth of this process's memory while it reads, in random order, 30,000 rows of a
  feature file of COCO's size (118,000 x 49 x 1280 fp16, sparse). Bar: below 1.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timing import ratios, resident
from torch import nn
from torch.nn import functional as F

from captioning import Captioner
from captioning.model import DECODERS, CaptionModel
from common.cli import command_line, run
from common.features import FeatureStore
from common.images import read_batches
from common.search import beam_search

SCRIPT = Path(__file__).parent.parent / "scripts" / "caption.py"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags."""

    model: str = "rooms"
    """A bundled model, or a model or run folder."""
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
        captioner.ensemble.encode(batch.images)


def decode(captioner: Captioner, features: tuple[torch.Tensor, ...]) -> None:
    """Beam search from features (N, L, C) on."""
    decoder = captioner.ensemble
    with torch.inference_mode():
        memory = decoder.remember(features)
        beam_search(decoder.step, decoder.init_state(memory), memory, beam_size=3, max_length=21)


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


def training_over_lstm(model: CaptionModel, repeats: int) -> dict[str, float]:
    """Words/s of a training step of the decoder over those of `nn.LSTM` and a classifier, sizes alike."""
    sizes, words = model.config, len(model.vocabulary)
    images, captions, steps = 32, 5, 15
    features = torch.randn(images, 49, model.encoder.out_channels)
    tokens = torch.randint(4, words, (images, captions, steps))
    decoder = DECODERS[sizes.kind](sizes, model.encoder.out_channels, words)
    plain = nn.LSTM(sizes.embedding_size, sizes.hidden_size, batch_first=True)
    embedding, output = nn.Embedding(words, sizes.embedding_size), nn.Linear(sizes.hidden_size, words)

    def attending() -> None:
        F.cross_entropy(decoder(features, tokens)[0].flatten(0, 2), tokens.flatten()).backward()

    def bare() -> None:
        outputs, _ = plain(embedding(tokens.flatten(0, 1)))
        F.cross_entropy(output(outputs).flatten(0, 1), tokens.flatten()).backward()

    return ratios(bare, attending, repeats)


def main(config: Config) -> None:
    """Run all four and print them."""
    captioner = Captioner.from_pretrained(config.model)
    result: dict[str, Any] = {
        "model": config.model,
        "threads": torch.get_num_threads(),
        "precision": captioner.precision,
        "torch": torch.__version__,
        "command": command_line(),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = sorted(config.images.glob("*.jpg")) if config.images else make_pictures(folder, config.count)
        paths = paths[: config.count]
        result["folder_over_encoder"] = ratios(
            lambda: encoder_only(captioner, paths),
            lambda: list(captioner.caption_each(paths)),
            config.repeats,
        )
        images = torch.stack([captioner.model.encoder.preprocess(p) for p in paths[:32]])
        (features,) = captioner.ensemble.encode(images)
        result["batched_over_single"] = ratios(
            lambda: list(map(partial(decode, captioner), zip(features.split(1), strict=True))),
            lambda: decode(captioner, (features,)),
            config.repeats,
        )
        result["captioned_batched_over_single"] = ratios(
            lambda: [captioner.search(image) for image in images.split(1)],
            lambda: captioner.search(images),
            config.repeats,
        )
        command = [sys.executable, str(SCRIPT), str(paths[0]), "--model", config.model]
        cold = ratios(
            lambda: subprocess.run([sys.executable, "-c", "import torch, timm"], check=True),
            lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL),
            config.repeats,
        )
        cold["ratio"] = round(1 / cold["ratio"], 3)
        cold["lowest"], cold["highest"] = round(1 / cold["highest"], 3), round(1 / cold["lowest"], 3)
        result["cold_over_imports"] = cold
        result["training_over_lstm"] = training_over_lstm(captioner.model, config.repeats)
        result["cache_memory_gib"] = cache_memory(folder)
    print(json.dumps(result, indent=1))
    if config.report:
        config.report.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    run(main, Config, __doc__)
