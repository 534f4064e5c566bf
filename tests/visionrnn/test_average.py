"""`visionrnn average`: one model from several of the same form."""

import json

import pytest
import torch

from captioning import Captioner
from captioning.model import CaptionModel
from ocr.model import Recognizer
from tests.conftest import tiny_model
from tests.ocr.conftest import tiny_recognizer


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three captioners that differ, and models that do not go with them."""
    root = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    for name in ("a", "b", "c"):
        model = tiny_model()
        with torch.no_grad():
            for parameter in model.decoder.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.info = {"data": "shapes", "minutes": 2.0, "metrics": {"cider_d": 1.0}}
        model.save_pretrained(root / name)
    tiny_model("show_tell").save_pretrained(root / "other_decoder")
    tiny_recognizer().save_pretrained(root / "reader")
    return root


def numbers(folder, kind=CaptionModel):
    return {k: v for k, v in kind.from_pretrained(folder).state_dict().items() if v.is_floating_point()}


def test_the_mean_is_one_model_with_graphs(script, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(runs)
    done = script("average.py", "a", "b", "c", "--out", tmp_path / "mean")
    assert (done.code, done.out.splitlines()[-1]) == (0, str(tmp_path / "mean")), done.err
    each = [numbers(runs / name) for name in "abc"]
    for key, tensor in numbers(tmp_path / "mean").items():
        torch.testing.assert_close(tensor, sum(one[key] for one in each) / 3)
    Captioner.from_pretrained(tmp_path / "mean", engine="graph")
    info = json.loads((tmp_path / "mean" / "config.json").read_text())["info"]
    command = f"python scripts/average.py a b c --out {tmp_path / 'mean'}"
    assert info == {"data": "shapes", "minutes": 6.0, "command": command}


def test_weights_are_in_proportion(script, runs, tmp_path):
    done = script("average.py", runs / "a", runs / "b", "--weights", 1, 3, "--out", tmp_path / "mean")
    assert done.code == 0, done.err
    a, b = numbers(runs / "a"), numbers(runs / "b")
    for key, tensor in numbers(tmp_path / "mean").items():
        torch.testing.assert_close(tensor, a[key] / 4 + 3 * b[key] / 4)
    command = json.loads((tmp_path / "mean" / "config.json").read_text())["info"]["command"]
    assert "--weights 1 3 --out" in command


def test_readers_are_averaged_too(script, runs, tmp_path):
    done = script("average.py", runs / "reader", runs / "reader", "--out", tmp_path / "mean")
    assert done.code == 0, done.err
    same = numbers(runs / "reader", Recognizer)
    for key, tensor in numbers(tmp_path / "mean", Recognizer).items():
        torch.testing.assert_close(tensor, same[key])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a",), "a mean takes two models or more"),
        (("a", "b", "--weights", "1"), "give a number above 0 for each of the 2 models"),
        (("a", "b", "--weights", "1", "0"), "give a number above 0"),
        (("a", "b", "--weights", "1", "nan"), "give a number above 0"),
        (("a", "other_decoder"), "other_decoder: has another decoder than a; train on from one model"),
        (("a", "reader"), "reader: a model for ocr, a is for captioning"),
        (("a", "nothing"), "nothing"),
    ],
)
def test_what_has_no_mean_is_told_in_one_line(script, runs, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(runs)
    done = script("average.py", *words, "--out", tmp_path / "mean")
    assert done.code in (1, 2)
    assert said in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "mean").exists()


def test_no_folder_is_overwritten(script, runs):
    done = script("average.py", runs / "a", runs / "b", "--out", runs / "c")
    assert (done.code, "is there already; name a new folder" in done.err) == (2, True)
