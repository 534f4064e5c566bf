import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from tests.conftest import SCRIPTS, shape_picture, tiny_model


@pytest.fixture
def photos(tmp_path):
    """A folder whose names have spaces and accents."""
    folder = tmp_path / "my photos"
    folder.mkdir()
    for i, name in enumerate(["a.jpg", "caf\u00e9 2.png", "z.webp"]):
        shape_picture("red", "circle", seed=i).save(folder / name)
    return folder


def test_one_line_a_picture(script, photos, model_folder):
    result = script("caption.py", photos, "--model", model_folder)
    assert (result.code, result.err) == (0, "")
    lines = [line.split("\t") for line in result.out.splitlines()]
    assert [path for path, _ in lines] == [
        str(photos / name) for name in ("a.jpg", "caf\u00e9 2.png", "z.webp")
    ]
    assert all(caption for _, caption in lines)


def test_json_lines_hold_the_alternatives(script, photos, model_folder):
    result = script("caption.py", f"{photos}/*.png", "--model", model_folder, "--json", "--n-best", 3)
    (line,) = map(json.loads, result.out.splitlines())
    assert line["path"] == str(photos / "caf\u00e9 2.png")
    assert line["caption"] == line["n_best"][0]["caption"]
    assert line["log_prob"] < 0
    assert len(line["n_best"]) == 3


def test_one_bad_picture_does_not_stop_the_others(script, photos, model_folder):
    (photos / "b.jpg").write_text("not a picture")
    (photos / "c.jpg").write_bytes(b"")
    result = script("caption.py", photos, photos / "gone.jpg", "--model", model_folder)
    assert result.code == 1
    assert len(result.out.splitlines()) == 3
    errors = result.err.splitlines()
    assert [name in line for name, line in zip(("b.jpg", "c.jpg", "gone.jpg"), errors, strict=True)] == [
        True
    ] * 3


def test_folders_of_every_kind(script, photos, model_folder, tmp_path):
    """New formats are read, what is not read is named, an empty folder stops nothing."""
    shape_picture("red", "circle").save(photos / "new.avif")
    (photos / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (photos / "notes.txt").touch()
    (photos / "empty").mkdir()
    result = script("caption.py", photos / "empty", photos, photos / "*.gif", "--model", model_folder)
    assert result.code == 1
    assert [line.split("\t")[0] for line in result.out.splitlines()] == [
        str(photos / name) for name in ("a.jpg", "caf\u00e9 2.png", "new.avif", "z.webp")
    ]
    told = result.err.splitlines()
    assert told[0] == f"error: {photos}/empty: no pictures in this folder"
    assert told[1] == f"error: {photos}/*.gif: nothing matches this pattern"
    assert told[2].startswith("note: no pictures, so left out of folders: 1 (.txt: 1)")
    assert told[3] == f"error: {photos}/phone.heic: .heic is not read; convert it to JPEG or PNG first"


def test_a_name_in_no_encoding(script, photos, model_folder):
    shutil.copy(photos / "a.jpg", os.fsencode(photos) + b"/caf\xe9\n.jpg")
    result = script("caption.py", photos, "--model", model_folder)
    assert (result.code, result.err) == (0, "")
    assert [line.split("\t")[0] for line in result.out.splitlines()][2] == f"{photos}/caf\\udce9\\n.jpg"


def test_attention_is_drawn(script, photos, model_folder, tmp_path):
    result = script(
        "caption.py", photos / "a.jpg", "--model", model_folder, "--attention", tmp_path / "a.png"
    )
    assert result.code == 0
    with Image.open(tmp_path / "a.png") as drawn:
        assert drawn.format == "PNG"


def test_bad_usage_exits_with_2_and_says_what_to_do(script, photos, model_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    picture, model = photos / "a.jpg", ("--model", model_folder)
    tiny_model("show_tell").save_pretrained(tmp_path / "blind")
    cases = [
        (2, ["caption.py", picture, "--model", "flickr9k"], "models that come along"),
        (2, ["caption.py", picture, *model, "--n-best", 4], "--n-best 4"),
        (2, ["caption.py", picture, *model, "--beam-size", 0], "--beam-size"),
        (2, ["caption.py", photos, *model, "--attention", tmp_path / "a.png"], "one picture"),
        (
            2,
            ["caption.py", picture, "--model", tmp_path / "blind", "--attention", tmp_path / "a.png"],
            "no attention",
        ),
        (2, ["caption.py", picture, *model, "--device", "cuda:99"], "--device cpu"),
        (2, ["caption.py", picture, *model, "--batch-size", 0], "--batch-size"),
        (2, ["caption.py", picture, *model, "--no-such-flag"], "no-such-flag"),
        (2, ["caption.py"], "no pictures given"),
        (1, ["caption.py", tmp_path / "empty", *model], "no pictures in this folder"),
        (1, ["caption.py", tmp_path / "*.gif", *model], "nothing matches"),
        (1, ["caption.py", tmp_path / "gone.jpg", *model], "no such file"),
        (1, ["caption.py", picture, *model, "--attention", tmp_path / "gone" / "a.png"], "gone"),
    ]
    for code, arguments, message in cases:
        result = script(*arguments)
        assert (result.code, message in result.err + result.out) == (code, True), (arguments, result)
        assert "Traceback" not in result.err


def test_a_damaged_model_exits_with_1(script, photos, model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"\x80\x04pickle")
    result = script("caption.py", photos, "--model", folder)
    assert (result.code, "refused" in result.err) == (1, True)


def test_inference_imports_nothing_that_it_does_not_need(photos, model_folder):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['caption.py', {str(photos / 'a.jpg')!r}, '--model', {str(model_folder)!r}]\n"
        f"try: runpy.run_path({str(SCRIPTS / 'caption.py')!r}, run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'pytorch_lightning', 'tensorboard', 'nltk', 'pycocotools', 'pycocoevalcap', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_diverse_captions_of_several_models_and_a_moving_picture(script, photos, model_folder, tmp_path):
    out = tmp_path / "look.gif"
    done = script("caption.py", photos / "a.jpg", "--model", model_folder, model_folder, "--beam-size", 4,
                  "--n-best", 4, "--groups", 4, "--no-repeat-ngram", 1, "--attention", out)  # fmt: skip
    assert done.code == 0, done.err
    captions = [line.split("\t")[1] for line in done.out.splitlines()]
    assert len(set(captions)) == len(captions) > 1
    assert all(len(words) == len(set(words)) for words in (c.lower().split() for c in captions))
    with Image.open(out) as moving:
        assert (moving.format, moving.n_frames) == ("GIF", len(captions[0].split()) + 2)
    for flags, message in (
        (("--groups", 2), "--groups 2: must divide --beam-size, 3"),
        (("--no-repeat-ngram", -1), "must be at least 0"),
    ):
        done = script("caption.py", photos / "a.jpg", "--model", model_folder, *flags)
        assert (done.code, message in done.err) == (2, True)


def test_a_gallery_is_one_page(script, shapes, model_folder, tmp_path):
    page = tmp_path / "page.html"
    done = script("evaluate_captioning.py", "--data", shapes, "--model", model_folder, "--gallery", page)
    assert done.code == 0, done.err
    text = page.read_text()
    assert text.count("<article>") == text.count("data:image/jpeg;base64,") == 8
    scores = [float(part.split(" ")[0]) for part in text.split("CIDEr-D ")[1:]]
    assert scores == sorted(scores, reverse=True)
    assert "A red square." in text
    done = script(
        "evaluate_captioning.py", "--data", shapes, "--model", model_folder, "--gallery", "no/p.html"
    )
    assert (done.code, "--gallery no/p.html: its folder does not exist" in done.err) == (2, True)
