import csv
import io
import json
import os
import sys

import numpy as np
import pytest

from tests.speech.conftest import RATE, TEXTS, learn, spoken, tiny_speech, write_speech, write_wav

SIZES = ("--sample-rate", RATE, "--bands", 20, "--channels", 8, "--hidden-size", 24, "--layers", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that has learnt `TEXTS`, of one direction."""
    root = tmp_path_factory.mktemp("speech")
    model = tiny_speech(hidden_size=48, layers=1, unidirectional=True, look_ahead=6)
    assert learn(model, root, 250) < 0.2
    model.save_pretrained(root / "model")
    return root / "model"


@pytest.fixture
def stdin(monkeypatch):
    """Set what the script reads from standard input."""
    return lambda content: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def train(script, data, out, *flags):
    return script(
        "train_speech.py", "--data", data, "--out", out, *SIZES, "--epochs", 2, "--batch-size", 8,
        "--workers", 0, "--device", "cpu", "--cache", out.parent / "cache", *flags,
    )  # fmt: skip


def test_train_evaluate_transcribe(script, tmp_path):
    data, run, report = write_speech(tmp_path / "data"), tmp_path / "run", tmp_path / "report.json"
    with (data / "train.tsv").open("a", encoding="utf-8") as file:
        file.write("clips/none.wav\tab\ts\nclips/val0.wav\tgrün\ts\nclips/val1.wav\tum 3\ts\n")
        file.write(f"clips/short.wav\t{'ab' * 30}\ts\n")
    write_wav(data / "clips" / "short.wav", spoken("a"))
    write_speech(tmp_path / "extra")
    done = train(script, data, run, "--charset", " abcd", "--extra", tmp_path / "extra", "--join", 2)
    assert done.code == 0, done.err
    for said in ("no such file", "text with digits", "characters outside the alphabet, e.g. val0.wav: 'grün'",
                 "clip too short for its text", "train: 48 clips"):  # fmt: skip
        assert said in done.out, said
    assert {"best", "last.ckpt", "metrics.csv", "curves.png"} <= {path.name for path in run.iterdir()}
    assert (run / "best" / "read.xml").is_file()
    with (run / "metrics.csv").open() as file:
        assert {"train_loss", "cer", "wer", "exact"} <= set(next(csv.DictReader(file)))
    with (data / "val.tsv").open("a", encoding="utf-8") as file:
        file.write("clips/bad.wav\tab\tspeaker0\nclips/train0.wav\tgrün\tspeaker0\n")
    (data / "clips" / "bad.wav").write_text("no sound")
    done = script("evaluate_speech.py", "--data", data, "--split", "val", "--model", run, "--report", report)
    assert done.code == 1
    assert "left out" in done.out
    assert "1 texts have characters that the model does not know" in done.out
    found = json.loads(report.read_text())
    assert {"exact", "cer", "wer", "real_time_factor", "num_clips"} <= found.keys()
    assert (found["num_clips"], found["num_unreadable"]) == (9, 1)
    assert set(found["per_speaker"]) == {"speaker0", "speaker1"}
    assert sum(part["num_clips"] for part in found["per_speaker"].values()) == 9
    assert len(found["worst_clips"]) == 9
    assert found["worst_clips"][0]["cer"] >= found["worst_clips"][-1]["cer"]
    assert found["command"].startswith("python scripts/evaluate_speech.py --data")
    done = script("transcribe.py", data / "clips" / "train0.wav", "--model", run)
    assert (done.code, len(done.out.splitlines())) == (0, 1)


def test_strings_are_scored(script, folder, tmp_path):
    data, report = write_speech(tmp_path / "data"), tmp_path / "report.json"
    done = script(
        "evaluate_speech.py", "--data", data, "--model", folder, "--report", report, "--join", 2, 3,
        "--strings", 5,
    )  # fmt: skip
    assert done.code == 0, done.err
    found = json.loads(report.read_text())
    assert (found["num_clips"], found["join"]) == (10, [2, 3])
    assert all(len(row["text"].split()) >= 2 for row in found["worst_clips"])


def test_several_recordings_and_what_cannot_be_read(script, folder, tmp_path):
    good = write_wav(tmp_path / "a.wav", spoken(TEXTS[0], 0))
    (tmp_path / "b.wav").write_text("This is a text.\n")
    (tmp_path / "c.wav").write_bytes(b"")
    (tmp_path / "d.txt").write_text("left out")
    silent = write_wav(tmp_path / "e.wav", np.zeros(RATE, np.float32))
    done = script("transcribe.py", tmp_path, "--model", folder)
    assert done.code == 1
    assert done.out.splitlines() == [f"{good}\t{TEXTS[0]}", f"{silent}\t"]
    assert done.err.count("error: ") == 2
    assert ".txt: 1" in done.err
    done = script("transcribe.py", good, silent, "--model", folder, "--json")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [next(iter(row)) for row in rows] == ["path", "path"]
    assert rows[0]["text"] == TEXTS[0]
    assert set(rows[0]["words"][0]) == {"word", "start", "end", "confidence"}
    assert (rows[1]["text"], rows[1]["words"]) == ("", [])


def test_standard_input_and_subtitles(script, folder, stdin, tmp_path):
    content = write_wav(tmp_path / "a.wav", spoken("dab cab", 2)).read_bytes()
    stdin(content)
    assert script("transcribe.py", "-", "--model", folder).out == "dab cab\n"
    stdin(content)
    done = script("transcribe.py", "-", "--model", folder, "--format", "srt")
    assert done.out.startswith("1\n00:00:0")
    assert done.out.endswith("\ndab cab\n\n")
    done = script("transcribe.py", tmp_path / "a.wav", "--model", folder, "--format", "vtt", "--stream")
    assert done.out.startswith("WEBVTT\n\n00:00:0")
    assert "dab cab" in done.out
    stdin(b"no sound")
    done = script("transcribe.py", "-", "--model", folder)
    assert done.code == 1
    assert "standard input" in done.err


def test_a_stream_prints_words(script, folder, tmp_path):
    sound = np.concatenate([spoken("dab cab", 2), np.zeros(RATE // 4, np.float32)])
    file = write_wav(tmp_path / "a.wav", sound)
    assert script("transcribe.py", file, "--model", folder, "--stream").out.split() == ["dab", "cab"]
    done = script("transcribe.py", file, "--model", folder, "--stream", "--json")
    assert [json.loads(line)["word"] for line in done.out.splitlines()] == ["dab", "cab"]
    (tmp_path / "b.wav").write_text("no sound")
    done = script("transcribe.py", tmp_path, "--model", folder, "--stream")
    assert done.code == 1
    assert "b.wav" in done.err


def test_the_alignment_is_drawn(script, folder, tmp_path):
    file = write_wav(tmp_path / "a.wav", spoken("dab cab", 2))
    done = script("transcribe.py", file, "--model", folder, "--alignment", tmp_path / "a.png")
    assert done.code == 0
    assert (tmp_path / "a.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--alignment", "none/a.png"), "folder does not exist"),
        (("--alignment", "a.png", "--stream"), "--alignment draws one file"),
        (("--beam-size", 0), "--beam-size 0"),
        (("--model", "none"), "no model 'none'"),
        (("b.wav", "--format", "srt"), "one recording, and 2"),
    ],
)
def test_bad_usage_of_transcribe(script, folder, tmp_path, monkeypatch, flags, said):
    monkeypatch.chdir(tmp_path)
    write_wav(tmp_path / "a.wav", spoken("a"))
    model = ("--model", folder) if "--model" not in flags else ()
    done = script("transcribe.py", "a.wav", *flags, *model)
    assert done.code == 2
    assert said in done.err


def test_a_stream_needs_one_direction(script, tmp_path):
    tiny_speech().save_pretrained(tmp_path / "model")
    file = write_wav(tmp_path / "a.wav", spoken("a"))
    done = script("transcribe.py", file, "--model", tmp_path / "model", "--stream")
    assert (done.code, "--unidirectional" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--split", "test"), 2, "no 'test' part"),
        (("--join", 3, 2), 2, "--join 3 2"),
        (("--beam-size", 0), 2, "--beam-size 0"),
    ],
)
def test_bad_usage_of_evaluate(script, folder, tmp_path, flags, code, said):
    data = write_speech(tmp_path / "data", 8, 2)
    done = script("evaluate_speech.py", "--data", data, "--model", folder, *flags)
    assert (done.code, said in done.err) == (code, True)


def test_nothing_to_train_on(script, tmp_path):
    data = write_speech(tmp_path / "data")
    done = train(script, data, tmp_path / "run", "--charset", "xyz")
    assert done.code == 1
    assert "nothing is left to use" in done.err
    assert not (tmp_path / "run").exists()


def test_words_are_spoken(script, tmp_path, monkeypatch):
    """With a program in the place of espeak-ng, which writes what it is called with."""
    table = "Pty Language Age/Gender VoiceName File Other\\n 5 en --/M x gmw/en\\n 5 en --/M y mb/mb-en1\\n"
    program = tmp_path / "bin" / "espeak-ng"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\ncase "$1" in --voices=*) printf "{table}";; '
        '*) while [ "$1" != -w ]; do shift; done; echo x > "$2";; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    out = tmp_path / "spoken"
    assert script("speak_words.py", "--words", "one", "two", "--out", out, "--count", 3).code == 0
    rows = (out / "train.tsv").read_text().splitlines()
    assert len(rows) == 7
    assert rows[1].startswith("clips/0_0.wav\tone\tgmw/en ")
    assert len(list((out / "clips").iterdir())) == 6
    assert script("speak_words.py", "--words", "one", "--out", out).code == 2
