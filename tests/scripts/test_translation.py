import io
import json
import sys

import pytest
from PIL import Image

from tests.translation.conftest import sentence_pairs, write_pairs

SIZES = ("--hidden-size", 32, "--embedding-size", 16, "--attention-size", 16, "--subwords", 100)
PAIRS = sentence_pairs(48)


@pytest.fixture
def data(tmp_path):
    return write_pairs(tmp_path / "data")


@pytest.fixture
def stdin(monkeypatch):
    """Set what the script reads from stdin."""
    return lambda content: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def train(script, data, out, *flags):
    languages = () if "--source" in flags else ("--source", "en", "--target", "de")
    return script(
        "train_translation.py", "--data", data, "--out", out, *languages, *SIZES, "--epochs", 2,
        "--batch-size", 16, "--workers", 0, "--device", "cpu", *flags,
    )  # fmt: skip


def test_train_evaluate_translate(script, stdin, data, tmp_path):
    run, report = tmp_path / "run", tmp_path / "report.json"
    with (data / "train.en").open("a", encoding="utf-8") as file:
        file.write(
            (data / "val.en").read_text(encoding="utf-8").splitlines()[0] + "\nlong " + "dog " * 2000 + "\n"
        )
    with (data / "train.de").open("a", encoding="utf-8") as file:
        file.write("x\nHund\n")
    done = train(script, data, run)
    assert done.code == 0, done.err
    assert "train: left out 1 pairs whose source sentence val has too" in done.out
    assert "train: left out 1 pairs longer than 100 subwords" in done.out
    assert {"best", "last.ckpt", "metrics.csv", "curves.png"} <= {path.name for path in run.iterdir()}
    languages = ("--source", "en", "--target", "de")
    done = script(
        "evaluate_translation.py", "--data", data, "--split", "val", *languages, "--model", run,
        "--report", report,
    )  # fmt: skip
    assert done.code == 0, done.err
    found = json.loads(report.read_text())
    assert 0 <= found["bleu"] <= 100
    assert set(found["signature"]) == {"bleu", "chrf"}
    assert (found["num_pairs"], len(found["translations"])) == (12, 12)
    assert sum(group["sentences"] for group in found["per_length"]) == 12
    assert found["unknown_words"]["words"] == 0
    assert found["command"].startswith("python scripts/evaluate_translation.py --data")
    stdin(b"A red dog.\n\nA tree.\n")
    done = script("translate.py", "--model", run)
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 3
    assert done.out.splitlines()[1] == ""


def test_a_model_of_other_languages_is_refused(script, data, translator_folder):
    done = script(
        "evaluate_translation.py", "--data", data, "--source", "de", "--target", "en",
        "--model", translator_folder,
    )  # fmt: skip
    assert done.code == 2
    assert "--source de: " in done.err
    assert "translates en to de" in done.err


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (
            ("--source", "en", "--target", "fr"),
            2,
            "its 'train' part is in de, en; expected train.en and train.fr",
        ),
        (("--subwords", 5), 2, "--subwords 5: "),
        (("--max-length", 1), 1, "--max-length 1: no pair of train is so short"),
        (("--hidden-size", 0), 2, "--hidden-size 0: must be at least 1"),
        (("--data", "gone"), 2, "no such folder"),
    ],
)
def test_wrong_flags_of_training(script, data, tmp_path, flags, code, said):
    done = train(script, data, tmp_path / "run", *flags)
    assert done.code == code
    assert said in done.err
    assert not (tmp_path / "run").exists()


def test_files_of_unequal_length_stop_training(script, data, tmp_path):
    with (data / "train.de").open("a", encoding="utf-8") as file:
        file.write("noch ein Satz\n")
    done = train(script, data, tmp_path / "run")
    assert done.code == 1
    assert "train.en has 60 and" in done.err
    assert "train.de has 61 lines" in done.err


def test_a_file_is_translated_line_by_line(script, translator_folder, tmp_path):
    file, bad = tmp_path / "text.txt", tmp_path / "latin.txt"
    lines = [PAIRS[0].source, "", PAIRS[1].source]
    file.write_text("\ufeff" + "\r\n".join(lines) + "\r\n", encoding="utf-8", newline="")
    bad.write_bytes(PAIRS[2].source.encode() + b"\ngr\xfcn\n")
    done = script(
        "translate.py", file, bad, tmp_path / "gone.txt", "--model", translator_folder, "--batch-size", 2
    )
    assert done.code == 1
    assert done.out.splitlines() == [PAIRS[0].target, "", PAIRS[1].target, PAIRS[2].target, ""]
    assert f"{bad}, line 2: not UTF-8" in done.err
    assert f"{tmp_path / 'gone.txt'}: No such file" in done.err


def test_json_and_n_best(script, stdin, translator_folder):
    stdin(f"{PAIRS[0].source} zebra\n".encode())
    done = script("translate.py", "--model", translator_folder, "--json", "--n-best", 2)
    assert done.code == 0, done.err
    row = json.loads(done.out)
    assert (row["path"], row["line"], row["unknown_words"]) == ("stdin", 1, ["zebra"])
    assert row["n_best"][0]["translation"] == row["translation"]
    stdin(f"{PAIRS[0].source}\n".encode())
    done = script("translate.py", "--model", translator_folder, "--n-best", 3)
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert [row[0] for row in rows] == ["1", "1", "1"]
    assert rows[0][1] == PAIRS[0].target


def test_a_line_of_2000_words_is_a_note(script, stdin, translator_folder):
    stdin(b"a red dog sees " * 500 + b"\n")
    done = script("translate.py", "--model", translator_folder)
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 1
    assert done.err.startswith("note: 'a red dog sees")
    assert "parts" in done.err


def test_attention_is_drawn(script, stdin, translator_folder, tmp_path):
    stdin(PAIRS[0].source.encode())
    done = script("translate.py", "--model", translator_folder, "--attention", tmp_path / "a.png")
    assert done.code == 0, done.err
    with Image.open(tmp_path / "a.png") as drawn:
        assert len(set(drawn.convert("L").tobytes())) > 20
    stdin(b"One.\nTwo.\n")
    done = script("translate.py", "--model", translator_folder, "--attention", tmp_path / "b.png")
    assert (done.code, "--attention draws one line, and 2 were given" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--n-best", 6), "--n-best 6"), (("--batch-size", 0), "--batch-size 0"),
        (("--beam-size", 0), "--n-best 1"), (("--model", "gone"), "no model 'gone'"),
        (("--attention", "gone/a.png"), "its folder does not exist"),
    ],
)  # fmt: skip
def test_wrong_flags_of_translating(script, stdin, translator_folder, flags, said):
    stdin(b"A dog.\n")
    model = () if "--model" in flags else ("--model", translator_folder)
    done = script("translate.py", *model, *flags)
    assert done.code == 2
    assert said in done.err
