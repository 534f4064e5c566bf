import json

import pytest

from tests.conftest import TINY_ENCODER


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


@pytest.mark.slow
def test_the_question_alone_is_a_guess(script, encoder_weights, tmp_path):
    """Whatever it has learnt, it is right at most once in as many times as its question has answers."""
    data, run, report = tmp_path / "set", tmp_path / "run", tmp_path / "report.json"
    assert script("draw_shapes.py", "--task", "vqa", "--out", data, "--train", 60, "--val", 60).code == 0
    done = script(
        "train_vqa.py", "--data", data, "--out", run, "--kind", "question_only", "--epochs", 8,
        "--encoder", TINY_ENCODER, "--encoder-weights", encoder_weights, "--image-size", 64,
        "--hidden-size", 32, "--embedding-size", 16, "--dropout", 0, "--learning-rate", 1e-2, "--workers", 0,
        "--device", "cpu", "--cache", tmp_path / "cache", "--patience", 0,
    )  # fmt: skip
    assert done.code == 0, done.err
    done = script("evaluate_vqa.py", "--data", data, "--model", run, "--report", report)
    assert done.code == 0, done.err
    scores = json.loads(report.read_text())
    counts = {name: kind["num_questions"] for name, kind in scores["by_question_type"].items()}
    chance = sum(count / (4 if name == "what color" else 3) for name, count in counts.items())
    assert set(counts) == {"how many", "what color", "which shape", "what is in"}
    assert 0.8 * chance < scores["accuracy"] / 100 * scores["num_questions"] <= chance + 0.01
