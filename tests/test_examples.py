"""The programs of examples/ do what they say."""

import csv
import runpy
import sys

import numpy as np
import pytest
from PIL import Image

from common.errors import VisionWarning
from tests.conftest import SCRIPTS
from tests.forecasting.conftest import write_series
from tests.language.conftest import small_text, write_text
from tests.speech.conftest import learn, spoken, tiny_speech, write_wav
from tests.video.conftest import moving_square, write_video

EXAMPLES = SCRIPTS.parent / "examples"


@pytest.fixture
def program(monkeypatch, capsys):
    """Run a program of examples/ -> what it printed."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_caption_folder(program, tmp_path):
    (tmp_path / "torn.jpg").write_bytes((EXAMPLES / "cat.jpg").read_bytes()[:99])
    (tmp_path / "cat.jpg").write_bytes((EXAMPLES / "cat.jpg").read_bytes())
    program("caption_folder.py", tmp_path, tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert "cat" in rows[0]["caption"]
    assert float(rows[0]["log probability"]) < 0
    assert rows[1]["caption"].startswith("error: ")


def test_find_total(program):
    assert program("find_total.py", EXAMPLES / "receipt.jpg").split("\t")[1].strip() == "27.14"


def test_watch_recording(program, tmp_path):
    clip = write_video(tmp_path / "clip.mp4", moving_square("up", 60))
    lines = program("watch_recording.py", clip).splitlines()
    assert lines
    assert all(line.split(": ")[1] in ("fight", "no_fight") for line in lines)


def test_hide_class(program, tmp_path):
    out = tmp_path / "hidden.png"
    said = program("hide_class.py", EXAMPLES / "coffee.jpg", "building", out)
    share = float(said.split("%")[0]) / 100
    with Image.open(out) as drawn:
        grey = (np.asarray(drawn) == 128).all(axis=-1).mean()
    assert grey >= share - 0.001 > 0


def test_ask_photos(program):
    lines = program("ask_photos.py", "what is on the table?", EXAMPLES / "coffee.jpg", EXAMPLES / "cat.jpg")
    assert [len(line.split("\t")) for line in lines.splitlines()] == [4, 4]


def test_forecast_series(program, tmp_path):
    table = write_series(tmp_path / "series.csv")
    printed = program("forecast_series.py", table, "date", "value", tmp_path / "run").splitlines()
    assert printed[-13].split() == ["date", "value", "quantile_0.1", "quantile_0.5", "quantile_0.9"]


def test_imitate_author(program, tmp_path):
    printed = program("imitate_author.py", write_text(tmp_path / "text.txt", 600), tmp_path / "run")
    written = printed.partition("best")[2].partition("\n")[2]
    assert len(written) == 301
    assert set(written) <= set(small_text())


def test_find_word(tmp_path, capsys):
    model = tiny_speech(hidden_size=48, layers=1)
    assert learn(model, tmp_path, 100) < 0.3
    model.save_pretrained(tmp_path / "model")
    silence = write_wav(tmp_path / "silence.wav", np.zeros(8000, np.float32))
    said = write_wav(tmp_path / "said.wav", spoken("dab cab", 2))
    find = runpy.run_path(str(EXAMPLES / "find_word.py"))["main"]
    with pytest.warns(VisionWarning, match="has no graphs"):
        find("Cab", str(silence), str(said), model=str(tmp_path / "model"))
    file, seconds = capsys.readouterr().out.strip().split(": ")
    assert file == str(said)
    assert 0.4 < float(seconds.removesuffix(" s")) < 1


def test_every_program_has_a_test_and_a_row():
    rows = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for file in EXAMPLES.glob("*.py"):
        assert f"test_{file.stem}" in globals()
        assert f"`{file.name}`" in rows
