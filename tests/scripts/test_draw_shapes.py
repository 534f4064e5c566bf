import json

import pytest


@pytest.mark.parametrize("task", ["vqa", "segmentation"])
def test_a_set_is_drawn(script, tmp_path, task):
    done = script("draw_shapes.py", "--task", task, "--out", tmp_path / "set", "--train", 40, "--val", 30)
    assert done.code == 0, done.err
    assert f"written: {tmp_path / 'set'}" in done.out
    if task == "vqa":
        questions = json.loads((tmp_path / "set" / "annotations" / "questions_val.json").read_text())
        assert f"val: {len(questions['questions'])} questions" in done.out
    else:
        assert len(list((tmp_path / "set" / "train" / "images").iterdir())) == 40


@pytest.mark.parametrize("task", ["vqa", "segmentation"])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--train", 0), "--train 0: must be at least 1"),
        (("--val", -1), "--val -1: must be at least 1"),
        (("--seed", -1), "--seed -1: must be at least 0"),
    ],
)
def test_mistakes_leave_nothing_behind(script, tmp_path, task, flags, message):
    done = script("draw_shapes.py", "--task", task, "--out", tmp_path / "set", *flags)
    assert (done.code, message in done.err) == (2, True), done.err
    assert not (tmp_path / "set").exists()


def test_too_few_pictures_to_balance(script, tmp_path):
    done = script("draw_shapes.py", "--task", "vqa", "--out", tmp_path / "set", "--train", 1)
    assert (done.code, "--train 1: no question is left with each of its answers" in done.err) == (2, True)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("task", ["vqa", "segmentation"])
def test_a_folder_that_is_there_is_kept(script, tmp_path, task):
    (tmp_path / "set").mkdir()
    done = script("draw_shapes.py", "--task", task, "--out", tmp_path / "set")
    assert (done.code, "exists already" in done.err) == (2, True)
    assert not list((tmp_path / "set").iterdir())


def test_another_task_is_refused(script, tmp_path):
    assert script("draw_shapes.py", "--task", "video", "--out", tmp_path / "set").code == 2
