"""What the commands print and write is the same everywhere: JSON with a path first, pictures under --out."""

import json

import pytest
from PIL import Image

from tests.conftest import shape_picture
from tests.segmentation.conftest import tiny_segmenter
from tests.video.conftest import moving_square, tiny_classifier, write_video
from tests.vqa.conftest import tiny_answerer


@pytest.fixture(scope="module")
def models(tmp_path_factory, model_folder, recognizer_folder):
    """A tiny model for each verb."""
    folders = {"caption": model_folder, "read_text": recognizer_folder}
    for name, make in (
        ("segment", tiny_segmenter), ("classify_video", tiny_classifier), ("ask", tiny_answerer),
    ):  # fmt: skip
        folders[name] = tmp_path_factory.mktemp(name)
        make().save_pretrained(folders[name])
    return folders


@pytest.mark.parametrize(
    ("name", "more", "kinds"),
    [
        ("caption", (), ["attention"]),
        ("read_text", (), ["overlay"]),
        ("segment", (), ["labels", "overlay"]),
        ("classify_video", (), ["timeline"]),
        ("ask", ("is it a red circle?", "is it blue?"), ["attention", "attention2"]),
    ],
)
def test_json_has_the_path_first_and_out_takes_the_pictures(script, models, tmp_path, name, more, kinds):
    suffix = "mp4" if name == "classify_video" else "png"
    path = tmp_path / f"one.{suffix}"
    if suffix == "mp4":
        write_video(path, moving_square("up", 24))
    else:
        shape_picture("red", "circle").save(path)
    out = tmp_path / "pictures"
    done = script(f"{name}.py", path, *more, "--model", models[name], "--json", "--out", out)
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert len(rows) == max(1, len(more))
    assert all(next(iter(row.items())) == ("path", str(path)) for row in rows)
    assert sorted(file.name for file in out.iterdir()) == [f"one.{kind}.png" for kind in kinds]
    for file in out.iterdir():
        with Image.open(file) as drawn:
            assert drawn.width >= 64


def test_two_inputs_for_one_picture_are_refused(script, models, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shape_picture("red", "circle").save(tmp_path / folder / "x.png")
    out = tmp_path / "pictures"
    done = script("caption.py", tmp_path / "a", tmp_path / "b", "--model", models["caption"], "--out", out)
    assert (done.code, "would both be written to x.*.png" in done.err, out.exists()) == (2, True, False)
