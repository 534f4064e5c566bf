import csv
import json

import pytest
import torch
from safetensors.torch import save_file

from common.encoder import Encoder
from ocr.finder import LineFinder
from tests.ocr.conftest import write_whole_pages

ENCODER = "test_efficientnet"
FLAGS = ("--encoder", ENCODER, "--width", 16, "--side", 96, "--batch-size", 4, "--workers", 0, "--device",
         "cpu", "--precision", "fp32", "--patience", 0)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_whole_pages(tmp_path_factory.mktemp("whole") / "pages")


@pytest.fixture
def train(script, tmp_path):
    torch.manual_seed(0)
    weights = tmp_path / "tiny.safetensors"
    save_file(Encoder(ENCODER).backbone.state_dict(), weights)

    def run(*flags):
        return script("train_line_finder.py", "--encoder-weights", weights, *FLAGS, *flags)

    return run


def test_train(train, folder, tmp_path):
    run = tmp_path / "run"
    done = train("--data", folder, "--val-last", 2, "--labelled", 24, "--drawn", 8, "--val-drawn", 2,
                 "--epochs", 2, "--out", run)  # fmt: skip
    assert done.code == 0, done.err
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert float(rows[1]["train_loss"]) < float(rows[0]["train_loss"])
    assert {"f1", "f1_labelled", "f1_drawn"} <= rows[0].keys()
    model = LineFinder.from_pretrained(run)
    assert model.info["pages"] == 10
    assert "graphs" in json.loads((run / "best" / "config.json").read_text())


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ((), "nothing to train on"),
        (("--data", "{folder}"), "no val"),
        (("--data", "{folder}", "--val-last", 12), "none is left"),
        (("--data", "{folder}/missing", "--val-last", 2), "no such folder"),
        (("--data", "{folder}", "--val-last", 2, "--side", 100), "multiple of 32"),
        (("--drawn", 8, "--val-drawn", 0), "no val"),
    ],
)
def test_wrong_flags(train, folder, tmp_path, flags, told):
    done = train(*(str(flag).format(folder=folder) for flag in flags), "--out", tmp_path / "run")
    assert done.code == 2
    assert told in done.err
    assert not (tmp_path / "run").exists()


def test_pages_that_cannot_be_used_are_left_out(train, tmp_path):
    folder = write_whole_pages(tmp_path / "pages", 9)
    (folder / "000.json").unlink()
    (folder / "001.json").write_text("{")
    (folder / "002.json").write_text('[{"box": [1, 2, 3]}]')
    (folder / "003.json").write_text('[{"box": [5, 5, 5, 9]}]')
    (folder / "004.png").write_bytes(b"no picture")
    done = train(
        "--data", folder, "--val-last", 1, "--epochs", 1, "--out", tmp_path / "run", "--batch-size", 2
    )
    assert done.code == 0, done.err
    assert "4 pages" in done.out
    for reason in ("no JSON", "a damaged JSON", "no list", "without an area", "damaged picture"):
        assert reason in done.out
    for file in folder.glob("*.json"):
        file.unlink()
    done = train("--data", folder, "--val-last", 1, "--out", tmp_path / "other")
    assert done.code == 1
    assert "nothing is left to use" in done.err
