"""Small data that the tests make themselves: coloured shapes with captions, and a tiny encoder."""

import json
import os
import random
import runpy
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file

from captioning.model import CaptionModel, DecoderConfig
from common.encoder import Encoder
from common.export import export
from common.text import Vocabulary, tokenize
from ocr.model import Recognizer
from tests.ocr.conftest import WORDS, line_picture, tiny_recognizer
from tests.translation.conftest import trained_translator
from translation.model import TranslationModel

torch.set_num_threads(1)  # the suite's time then does not depend on what else runs on the machine
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """No test reads or fills the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


SCRIPTS = Path(__file__).parent.parent / "scripts"
TINY_ENCODER = "test_resnet"
COLOURS = {"red": (220, 30, 30), "green": (30, 170, 40), "blue": (40, 60, 220), "yellow": (240, 220, 40)}


def shape_picture(colour: str, shape: str, seed: int = 0) -> Image.Image:
    """A shape on a grey, slightly noisy ground, 64 x 64."""
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(180, 220, (64, 64, 3), dtype=np.uint8))
    x, y = random.integers(4, 20, 2).tolist()
    draw = ImageDraw.Draw(image)
    (draw.rectangle if shape == "square" else draw.ellipse)([x, y, x + 36, y + 36], fill=COLOURS[colour])
    return image


def shape_captions(colour: str, shape: str) -> list[str]:
    return [
        f"A {colour} {shape}.", f"A {shape} that is {colour}.", f"There is a {colour} {shape} on grey.",
    ]  # fmt: skip


def write_shapes(root: Path) -> Path:
    """A COCO-format folder: 32 train and 8 val pictures of four colours and two shapes."""
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    for split, count in (("train", 32), ("val", 8)):
        images, annotations = [], []
        for i in range(count):
            colour, shape = list(COLOURS)[i % 4], ("square", "circle")[i // 4 % 2]
            name = f"{split}{i:02d}.png"
            shape_picture(colour, shape, seed=i).save(root / "images" / name)
            images.append({"id": i + 1, "file_name": name, "width": 64, "height": 64})
            annotations += [
                {"id": len(annotations) + k + 1, "image_id": i + 1, "caption": caption}
                for k, caption in enumerate(shape_captions(colour, shape))
            ]
        content = {"info": {}, "images": images, "annotations": annotations}
        (root / "annotations" / f"captions_{split}.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="session")
def shapes(tmp_path_factory) -> Path:
    """See `write_shapes`."""
    return write_shapes(tmp_path_factory.mktemp("captions") / "shapes")


def write_weights(file: Path, encoder: str = TINY_ENCODER) -> Path:
    """Weights of a tiny encoder, as a user would name them with --encoder-weights."""
    torch.manual_seed(0)
    save_file(Encoder(encoder).backbone.state_dict(), file)
    return file


@pytest.fixture(scope="session")
def encoder_weights(tmp_path_factory) -> Path:
    """See `write_weights`."""
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


CONCEPTS = ("dog", "cat", "elephant")
"""Words of the tiny model that the classifier of ImageNet has classes for."""


def tiny_model(
    kind: str = "show_attend_tell",
    cell: str = "lstm",
    dropout: float = 0.0,
    encoder: str = TINY_ENCODER,
    size: int = 64,
    *,
    concepts: int = 0,
    score: str = "additive",
) -> CaptionModel:
    """An untrained model; with concepts its classifier is random, and the vocabulary has `CONCEPTS` too."""
    torch.manual_seed(0)
    words = {
        w for c in COLOURS for s in ("square", "circle") for t in shape_captions(c, s) for w in tokenize(t)
    }
    if concepts:
        words |= {*CONCEPTS, "dogs", "cats"}
    sizes = DecoderConfig(kind, cell, 32, 16, 24, 8, dropout, score=score, concepts=concepts, tags=0)
    model = CaptionModel(Encoder(encoder, size).freeze(), sizes, Vocabulary(sorted(words)), 8)
    if concepts:
        model.classifier.fill(*random_classifier(model.encoder))
    return model.eval()


def random_classifier(encoder: Encoder) -> tuple[torch.Tensor, torch.Tensor]:
    """What `Encoder.classifier` gives for a weights package: weight (1000, C) and bias (1000,)."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1000, encoder.out_channels, generator=generator), torch.zeros(1000)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """An untrained model on disk, with its graphs."""
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(folder)
    export(CaptionModel, folder)
    return folder


def write_lines(root: Path) -> Path:
    """A folder as `labels.tsv` and pictures describe it: 60 lines of ten groups."""
    (root / "lines").mkdir(parents=True)
    chosen = random.Random(0)
    rows = ["file\ttext"]
    for i in range(60):
        text = chosen.choice(WORDS)
        name = f"lines/{i // 6:03d}_{i % 6:03d}.png"
        line_picture(text, chosen.randint(18, 30)).save(root / name)
        rows.append(f"{name}\t{text}")
    (root / "labels.tsv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="session")
def lines(tmp_path_factory) -> Path:
    """See `write_lines`."""
    return write_lines(tmp_path_factory.mktemp("lines") / "set")


@pytest.fixture(scope="session")
def recognizer_folder(tmp_path_factory) -> Path:
    """An untrained recognizer on disk, with its graph."""
    folder = tmp_path_factory.mktemp("recognizer")
    tiny_recognizer().save_pretrained(folder)
    export(Recognizer, folder)
    return folder


@pytest.fixture(scope="session")
def translator_model() -> TranslationModel:
    """See `trained_translator`."""
    return trained_translator()


@pytest.fixture(scope="session")
def translator_folder(translator_model, tmp_path_factory) -> Path:
    """See `trained_translator`; on disk."""
    folder = tmp_path_factory.mktemp("translator")
    translator_model.save_pretrained(folder)
    export(TranslationModel, folder)
    return folder


@pytest.fixture
def without_java(monkeypatch):
    """METEOR starts a Java program, which takes seconds; tests/captioning/test_metrics.py asks for it."""
    which = shutil.which
    monkeypatch.setattr("shutil.which", lambda name, *rest: None if name == "java" else which(name, *rest))


def mutated(content: bytes, chance: random.Random) -> bytes:
    """A file that was damaged: cut off, with a hole, or with a few other bytes, often in its header."""
    damaged = bytearray(content)
    way = chance.random()
    if way < 0.2:
        del damaged[chance.randrange(len(damaged)) :]
    elif way < 0.3:
        start = chance.randrange(len(damaged))
        damaged[start : start + chance.randrange(64)] = bytes(chance.randrange(64))
    else:
        for _ in range(chance.choice((1, 1, 2, 4, 16, 64))):
            place = chance.randrange(min(len(damaged), chance.choice((64, 512, len(damaged)))))
            damaged[place] = chance.choice((0, 127, 128, 255, chance.randrange(256)))
    return bytes(damaged)


def trainer_at(epoch: int) -> Any:
    """What a sampler asks of Lightning's trainer after so many epochs."""
    progress = SimpleNamespace(current=SimpleNamespace(processed=epoch))
    return SimpleNamespace(fit_loop=SimpleNamespace(epoch_progress=progress))


@dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def script(monkeypatch, capsys):
    """Run a script in this process as its command line would; give back exit code, stdout and stderr."""

    def run(name: str, *arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", [str(SCRIPTS / name), *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        captured = capsys.readouterr()
        return Result(stopped.value.code, captured.out, captured.err)

    return run


def by_threads(function: Callable[[Any], Any], items: Sequence[Any], rounds: int = 3) -> tuple[list, list]:
    """What `function` gives for each item, several times: one after the other, and from four threads."""
    work = list(items) * rounds
    alone = [function(item) for item in work]
    with ThreadPoolExecutor(4) as pool:
        return alone, list(pool.map(function, work))


def on_both_engines(kind: Any, model: Any, folder: Path) -> tuple[Any, Any]:
    """What users call, of a model that is saved and exported to a folder: on the engine, and on torch."""
    model.save_pretrained(folder)
    export(type(model), folder)
    engine, on_torch = (kind.from_pretrained(folder, "cpu", "fp32", engine=e) for e in ("graph", "torch"))
    return engine, on_torch
