import json
from xml.etree import ElementTree

import pytest
from PIL import Image

from ocr.model import Recognizer
from tests.ocr.conftest import line_picture, page_picture

FLAGS = ("--epochs", 2, "--hidden-size", 16, "--layers", 1, "--batch-size", 16, "--device", "cpu",
         "--precision", "fp32", "--workers", 0)  # fmt: skip


@pytest.mark.slow
def test_train_evaluate_read(script, lines, tmp_path):
    run, report = tmp_path / "run", tmp_path / "report.json"
    done = script(
        "train_ocr.py", "--data", lines, "--val-last", "2groups", "--out", run, *FLAGS, "--synthetic", 4
    )
    assert done.code == 0, done.err
    assert "train: 48 lines\nval: 12 lines\n" in done.out
    assert {"best", "last.ckpt", "metrics.csv", "curves.png"} <= {path.name for path in run.iterdir()}
    history = (run / "metrics.csv").read_text().splitlines()
    assert history[0] == "epoch,train_loss,case_insensitive,cer,num_lines,seconds"
    losses = [float(row.split(",")[1]) for row in history[1:]]
    assert losses[1] < losses[0]
    assert json.loads((run / "best" / "config.json").read_text())["architecture"]["ngrams"] > 48
    done = script("evaluate_ocr.py", "--data", lines, "--last", "2groups", "--model", run, "--report", report)
    assert done.code == 0, done.err
    scores = json.loads(report.read_text())
    assert {"exact", "case_insensitive", "alphanumeric", "cer", "lines_per_second"} <= set(scores)
    assert scores["num_lines"] == len(scores["worst_lines"]) == 12
    assert scores["worst_lines"][0]["cer"] >= scores["worst_lines"][-1]["cer"]
    done = script("read_text.py", "--line", lines / "lines" / "000_000.png", "--model", run)
    assert done.code == 0
    assert done.out.startswith(f"{lines / 'lines' / '000_000.png'}\t")


@pytest.mark.slow
def test_val_folders_and_means_over_them(script, lines, recognizer_folder, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("quagmire\nquixotic\n")
    drawn = tmp_path / "drawn"
    done = script("draw_synthetic_text.py", "--out", drawn, "--lines", 8, "--kind", "scene", "--words", words)
    assert done.code == 0, done.err
    run = tmp_path / "run"
    done = script(
        "train_ocr.py", "--data", lines, "--val", drawn, lines, "--init-from", recognizer_folder,
        "--out", run, *FLAGS, "--epochs", 1, "--labelled", 16, "--synthetic", 8, "--words", words,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "train: 60 lines\n" in done.out
    header, row = (line.split(",") for line in (run / "metrics.csv").read_text().splitlines())
    scores = dict(zip(header, map(float, row), strict=True))
    parts = [scores[f"case_insensitive_{folder.name}"] for folder in (drawn, lines)]
    assert scores["case_insensitive"] == pytest.approx(sum(parts) / 2)
    model = Recognizer.from_pretrained(run)
    assert model.language_model.log_prob("u", "q") > -1  # no label has a q
    report = tmp_path / "report.json"
    flags = ("--data", drawn, lines, "--last", "8rows", "6rows", "--model", run, "--report", report)
    done = script("evaluate_ocr.py", *flags)
    assert done.code == 0, done.err
    scores = json.loads(report.read_text())
    assert scores["num_lines"] == len(scores["worst_lines"]) == 14
    assert set(scores["folders"]) == {"drawn", lines.name}
    mean = sum(part["cer"] for part in scores["folders"].values()) / 2
    assert scores["cer"] == pytest.approx(mean, abs=0.01)
    done = script("evaluate_ocr.py", "--data", drawn, lines, "--last", "8rows", "--report", report)
    assert done.code == 2
    assert "--last: 1 values for 2 folders of --data" in done.err


def test_init_from_takes_sizes_and_charset(script, lines, recognizer_folder, tmp_path):
    done = script(
        "train_ocr.py", "--data", lines, "--init-from", recognizer_folder, "--out", tmp_path / "run", *FLAGS,
        "--epochs", 1, "--charset", "abc", "--hidden-size", 99,
    )  # fmt: skip
    assert done.code == 0, done.err
    config = json.loads((tmp_path / "run" / "best" / "config.json").read_text())
    assert config["architecture"]["hidden_size"] == 16
    assert len(config["architecture"]["charset"]) == 95


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--data", "no-such-folder"), "--data no-such-folder: no such folder"),
        (("--val-last", "3rows", "3rows"), "--val-last: 2 values for 1 folders of --data"),
        (("--charset", "aa"), "--charset: 'a' stands there twice"),
        (("--encoder", "no_such"), "encoder 'no_such': expected compact, vgg or"),
        (("--init-from", "nothing"), "no model 'nothing'"),
        (("--fonts", "tests", "--synthetic", 5), "no TrueType or OpenType font"),
    ],
)
def test_mistakes_in_training_leave_nothing_behind(script, lines, tmp_path, flags, message):
    done = script("train_ocr.py", "--data", lines, *FLAGS, *flags, "--out", tmp_path / "run")
    assert done.code == 2
    assert message in done.err
    assert not (tmp_path / "run").exists()


def test_accents_of_their_own_are_composed_in_labels_and_charset(script, tmp_path):
    for i in range(4):
        line_picture("cafe").save(tmp_path / f"{i}_0.png")
    rows = [f"{i}_0.png\t{text}" for i, text in enumerate(["cafe\u0301", "caf\u00e9"] * 2)]
    (tmp_path / "labels.tsv").write_text("\n".join(["file\ttext", *rows]))
    run = tmp_path / "run"
    flags = ("--data", tmp_path, *FLAGS, "--epochs", 1, "--val-last", "1rows")
    done = script("train_ocr.py", *flags, "--out", run, "--charset", "cafe\u0301")
    assert done.code == 0, done.err
    assert "train: 3 lines\nval: 1 lines\n" in done.out
    assert json.loads((run / "best" / "config.json").read_text())["architecture"]["charset"] == "caf\u00e9"
    done = script("evaluate_ocr.py", "--data", tmp_path, "--model", run, "--report", tmp_path / "r.json")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "r.json").read_text())["unknown_labels"] == 0


def test_labels_outside_the_charset_end_in_a_clear_error(script, lines, tmp_path):
    done = script("train_ocr.py", "--data", lines, *FLAGS, "--charset", "xyz", "--out", tmp_path / "run")
    assert done.code == 1
    assert "labels fits a model with the characters 'xyz'" in done.err


def test_read_pages(script, recognizer_folder, tmp_path):
    page_picture([["RECEIPT"], ["tea", "4.50"]]).save(tmp_path / "page.png")
    Image.new("L", (300, 300), 255).save(tmp_path / "blank.png")
    (tmp_path / "bad.png").write_text("x")
    overlay = tmp_path / "overlay.png"
    done = script("read_text.py", tmp_path, "--model", recognizer_folder, "--json")
    assert done.code == 1
    assert "bad.png" in done.err
    pages = {json.loads(line)["path"]: json.loads(line) for line in done.out.splitlines()}
    assert pages[str(tmp_path / "blank.png")]["lines"] == []
    for line in pages[str(tmp_path / "page.png")]["lines"]:
        assert len(line["box"]) == 4
        assert 0 <= line["confidence"] <= 1
        assert " ".join(word["text"] for word in line["words"]) == " ".join(line["text"].split())
        for word in line["words"]:
            assert line["box"][0] <= word["box"][0] < word["box"][2] <= line["box"][2]
    done = script("read_text.py", tmp_path, "--model", recognizer_folder, "--format", "hocr")
    assert done.code == 1
    pages = [e for e in ElementTree.fromstring(done.out.encode()).iter() if e.get("class") == "ocr_page"]
    assert [page.get("title").split(";")[1] for page in pages] == [" bbox 0 0 300 300", " bbox 0 0 700 156"]
    done = script("read_text.py", tmp_path / "page.png", "--model", recognizer_folder, "--overlay", overlay)
    assert done.code == 0
    with Image.open(overlay) as drawn:
        assert drawn.size[0] == 1400


def test_several_pages_are_named(script, recognizer_folder, tmp_path):
    page, other = page_picture([["tea", "4.50"]]), page_picture([["milk"]])
    page.save(tmp_path / "fax.tif", save_all=True, append_images=[other])
    page.save(tmp_path / "page.png")
    alone = script("read_text.py", tmp_path / "page.png", "--model", recognizer_folder).out
    assert "==>" not in alone
    done = script("read_text.py", tmp_path, "--model", recognizer_folder)
    assert done.code == 0
    names = [tmp_path / "fax.tif#1", tmp_path / "fax.tif#2", tmp_path / "page.png"]
    headings = [f"==> {name} <==" for name in names]
    assert [line for line in done.out.splitlines() if line.startswith("==>")] == headings
    assert done.out.endswith(f"{headings[-1]}\n{alone}")
    done = script("read_text.py", tmp_path, "--model", recognizer_folder, "--json")
    assert [json.loads(line)["path"] for line in done.out.splitlines()] == list(map(str, names))
    done = script("read_text.py", "--line", tmp_path, "--model", recognizer_folder)
    assert [line.split("\t")[0] for line in done.out.splitlines()] == list(map(str, names))


def test_read_lines_as_json_and_with_a_language_model(script, recognizer_folder, tmp_path):
    line_picture("tea").save(tmp_path / "a line ü.png")
    (tmp_path / "words.txt").write_text("tea\nmilk\n")
    done = script(
        "read_text.py", "--line", tmp_path / "a line ü.png", "--model", recognizer_folder, "--json",
        "--beam-size", 4, "--words", tmp_path / "words.txt",
    )  # fmt: skip
    assert done.code == 0, done.err
    read = json.loads(done.out)
    assert read["text"] == "".join(c["character"] for c in read["characters"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--model", "nothing"), "no model 'nothing'"),
        (("--line", "--overlay", "x.png"), "--overlay draws one page"),
        (("--words", "words.txt", "--beam-size", 1), "--words needs a beam"),
        (("--beam-size", 0), "must be at least 1"),
    ],
)
def test_mistakes_in_reading(script, recognizer_folder, tmp_path, flags, message):
    page_picture([["tea"]]).save(tmp_path / "page.png")
    done = script("read_text.py", tmp_path / "page.png", "--model", recognizer_folder, *flags)
    assert done.code == 2
    assert message in done.err


def test_an_empty_folder_and_a_missing_page(script, recognizer_folder, tmp_path):
    done = script("read_text.py", tmp_path, "--model", recognizer_folder)
    assert (done.code, "no pictures in this folder" in done.err) == (1, True)
    done = script("read_text.py", tmp_path / "gone.png", "--model", recognizer_folder)
    assert (done.code, "no such file" in done.err) == (1, True)


def test_evaluate_pages(script, recognizer_folder, tmp_path):
    for name in ("001", "002"):
        page_picture([["tea", "4.50"]]).save(tmp_path / f"{name}.jpg")
        (tmp_path / f"{name}.json").write_text(json.dumps([{"box": [0, 0, 9, 9], "text": "tea 4.50"}]))
    report = tmp_path / "report" / "r.json"
    done = script("evaluate_ocr.py", "--pages", tmp_path, "--model", recognizer_folder, "--report", report)
    assert (done.code, "its folder does not exist" in done.err) == (2, True)
    report = tmp_path / "r.report"
    done = script("evaluate_ocr.py", "--pages", tmp_path, "--model", recognizer_folder, "--report", report)
    assert done.code == 0, done.err
    scores = json.loads(report.read_text())
    assert scores["num_pages"] == len(scores["pages"]) == 2
    assert 0 <= scores["page_bag_of_words_f1"] <= 1
    (tmp_path / "002.json").write_text("[1]")
    done = script("evaluate_ocr.py", "--pages", tmp_path, "--model", recognizer_folder)
    assert (done.code, "expected a list of" in done.err) == (1, True)


def test_evaluating_what_does_not_fit(script, recognizer_folder, tmp_path):
    done = script("evaluate_ocr.py", "--model", recognizer_folder)
    assert (done.code, "nothing to evaluate" in done.err) == (2, True)
    line_picture("tea").save(tmp_path / "a.png")
    (tmp_path / "labels.tsv").write_text("file\ttext\na.png\t\u0447\u0430\u0439\n")
    done = script("evaluate_ocr.py", "--data", tmp_path, "--model", recognizer_folder)
    assert (done.code, "every label has characters that the model does not know" in done.err) == (1, True)


def test_draw_synthetic_text(script, tmp_path):
    (tmp_path / "words.txt").write_text("tea\n")
    done = script("draw_synthetic_text.py", "--out", tmp_path / "a.png", "--words", tmp_path / "words.txt")
    assert done.code == 0, done.err
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.size == (1200, 24 * 56)
