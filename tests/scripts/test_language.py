import json

import pytest
import torch

from language.model import LanguageModel
from tests.language.conftest import small_text, write_text

SIZES = (
    "--epochs", 3, "--hidden-size", 24, "--embedding-size", 8, "--batch-size", 8, "--steps", 16, "--device",
    "cpu", "--precision", "fp32", "--learning-rate", 0.02, "--input-dropout", 0, "--dropout", 0.1,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Data and run folder of a small training, made by the first test that asks."""
    return tmp_path_factory.mktemp("language")


@pytest.fixture
def run(script, trained):
    if not (trained / "run").exists():
        write_text(trained / "text.txt", 900)
        done = script("train_language.py", "--data", trained / "text.txt", *SIZES, "--out", trained / "run")
        assert done.code == 0, done.err
    return trained / "run"


def test_train_evaluate_write(script, run, trained, tmp_path):
    assert {"best", "last.ckpt", "metrics.csv", "curves.png"} <= {path.name for path in run.iterdir()}
    report = tmp_path / "report.json"
    flags = ("--data", trained / "text.txt", "--model", run, "--precision", "fp32")
    done = script("evaluate_language.py", *flags, "--report", report)
    assert done.code == 0, done.err
    found = json.loads(report.read_text())
    assert found["nats_per_character"] < found["baselines"]["unigram"]["nats_per_character"]
    assert 0 < found["baselines"]["kneser_ney_5"]["nats_per_character"] < 1
    assert found["bits_per_character"] == pytest.approx(found["nats_per_character"] / 0.6931, abs=1e-3)
    assert {"perplexity", "num_characters", "num_unknown", "seed", "command"} <= set(found)
    text = small_text(900)
    val = text[int(0.9 * len(text)) :]
    assert found["num_characters"] == len(val)
    model = LanguageModel.from_pretrained(run)  # the same by one pass of the network
    codes = torch.from_numpy(model.alphabet.encode(val).astype("int64"))
    logits, _ = model(torch.cat([torch.zeros(1, dtype=torch.long), codes[:-1]])[None])
    assert found["nats_per_character"] == pytest.approx(
        torch.nn.functional.cross_entropy(logits[0], codes).item(), abs=1e-4
    )
    assert "baselines" not in script("evaluate_language.py", *flags, "--split", "train", "--limit", 500).out


def test_writing_is_repeatable_and_says_what_it_does_not_know(script, run):
    flags = ("generate.py", "--model", run, "--length", 40, "--temperature", 0.7)
    one = script(*flags, "--prompt", "O night", "--seed", 5)
    assert (one.code, one.err) == (0, "")
    assert one.out.startswith("O night")
    assert len(one.out) == 7 + 40 + 1
    assert script(*flags, "--prompt", "O night", "--seed", 5).out == one.out
    assert script(*flags, "--prompt", "O night", "--seed", 6).out != one.out
    odd = script(*flags, "--prompt", "Zürich\r\n", "--seed", 5)
    assert odd.code == 0
    assert odd.out.startswith("Zürich\r\n")  # said, not dropped
    assert "3 characters that the model does not know ('Z', 'ü', 'c')" in odd.err
    assert script(*flags, "--top-k", 1, "--seed", 1).out == script(*flags, "--temperature", 0).out
    for flag, value in (("--top-p", 0), ("--top-k", -1), ("--temperature", -1), ("--length", -1)):
        result = script(*flags, flag, value)
        assert (result.code, "must be at least 0, top-p" in result.err, result.out) == (2, True, ""), flag


def test_the_page_of_neurons(script, run, trained, tmp_path):
    page = tmp_path / "page.html"
    done = script("generate.py", "--model", run, "--neurons", page, "--data", trained / "text.txt")
    assert done.code == 0, done.err
    assert "line position" in done.out
    assert "inside quotes" in page.read_text(encoding="utf-8")
    result = script("generate.py", "--model", run, "--neurons", tmp_path / "no" / "page.html")
    assert (result.code, "its folder does not exist" in result.err) == (2, True)


def test_words_with_tied_embeddings(script, trained, tmp_path):
    write_text(trained / "text.txt", 900)
    train = ("train_language.py", "--data", trained / "text.txt", *SIZES, "--unit", "words", "--tied")
    assert script(*train, "--out", tmp_path / "run").code == 0
    done = script("evaluate_language.py", "--data", trained / "text.txt", "--model", tmp_path / "run")
    assert "num_words" in done.out
    done = script("generate.py", "--model", tmp_path / "run", "--length", 5, "--prompt", "The queen said")
    assert "1 words that the model does not know (' queen')" in done.err
    result = script("generate.py", "--model", tmp_path / "run", "--neurons", tmp_path / "page.html")
    assert (result.code, "needs a model of characters" in result.err) == (2, True)


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b"", 1, "empty"),
        (b"x", 2, "give more text"),
        (b"ab" * 20, 2, "too few for --batch-size"),
        (b"x" * 3000, 1, "a model needs two"),
        ("Grüße".encode("latin-1") * 500, 1, "not UTF-8"),
        (b"some\0text " * 300, 1, "NUL byte"),
    ],
)
def test_what_cannot_be_trained_on_is_said(script, tmp_path, content, code, message):
    file = tmp_path / "text.txt"
    file.write_bytes(content)
    result = script("train_language.py", "--data", file, *SIZES, "--out", tmp_path / "run")
    assert (result.code, message in result.err) == (code, True), result.err
    assert not (tmp_path / "run").exists()


def test_wrong_flags_are_said(script, trained, run, tmp_path):
    for flag, value in (("--steps", 0), ("--layers", 0), ("--dropout", 1), ("--weight-dropout", -0.1)):
        result = script(
            "train_language.py", "--data", trained / "text.txt", *SIZES, flag, value, "--out", tmp_path / "x"
        )
        assert (result.code, f"{flag} {value}" in result.err) == (2, True), result.err
    result = script("evaluate_language.py", "--data", trained / "text.txt", "--model", run, "--split", "test")
    assert (result.code, "expected one of train, val, all" in result.err) == (2, True)
    (tmp_path / "other.txt").write_text("ÄÖÜ" * 100, encoding="utf-8")
    result = script("evaluate_language.py", "--data", tmp_path / "other.txt", "--model", run)
    assert (result.code, "knows none of the 30 characters" in result.err) == (1, True)


def test_windows_line_ends_train_the_same_model(script, tmp_path):
    text = small_text(300)
    found = []
    for name, content in (("unix", text), ("windows", text.replace("\n", "\r\n"))):
        (tmp_path / f"{name}.txt").write_bytes(content.encode())
        flags = (*SIZES, "--epochs", 1, "--out", tmp_path / name)
        assert script("train_language.py", "--data", tmp_path / f"{name}.txt", *flags).code == 0
        found.append(torch.load(tmp_path / name / "last.ckpt", weights_only=True)["state_dict"])
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())
