import csv
import itertools
import json
import shutil

import pytest
import torch
from PIL import Image

from common.export import export
from tests.conftest import TINY_ENCODER
from tests.video.conftest import MOVES, damage, moving_square, tiny_classifier, write_clips, write_video
from video.model import VideoModel

FLAGS = ("--encoder", TINY_ENCODER, "--image-size", 64, "--frames", 8, "--hidden-size", 32, "--place-size", 8,
         "--dropout", 0, "--batch-size", 8, "--workers", 0, "--learning-rate", 5e-3, "--device", "cpu",
         "--precision", "fp32")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("video") / "set")


@pytest.fixture(scope="module")
def classifier_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    tiny_classifier().save_pretrained(folder)
    export(VideoModel, folder)
    return folder


@pytest.fixture
def train(script, folder, encoder_weights, tmp_path):
    def run(out, *flags, data=folder):
        return script(
            "train_video.py", "--data", data, "--out", out, "--encoder-weights", encoder_weights,
            "--cache", tmp_path / "cache", *FLAGS, *flags,
        )  # fmt: skip

    return run


@pytest.mark.slow
def test_train_and_evaluate(script, train, folder, tmp_path):
    run, report = tmp_path / "run", tmp_path / "report.json"
    done = train(run, "--epochs", 12, "--patience", 0, "--views", 2)
    assert done.code == 0, done.err
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert float(rows[-1]["train_loss"]) < 0.8 * float(rows[0]["train_loss"])
    done = script("evaluate_video.py", "--data", folder, "--model", run, "--report", report)
    assert done.code == 0, done.err
    scores = json.loads(report.read_text())
    assert scores["top_1"] == pytest.approx(max(float(row["top_1"]) for row in rows), abs=0.01)
    assert scores["top_1"] >= 62.5
    assert scores["num_clips"] == len(scores["clips"]) == 8
    assert set(scores["per_class"]) == set(MOVES)
    assert {"top_5", "shuffled_top_1", "frames_per_second"} <= set(scores)
    with Image.open(tmp_path / "report.png") as drawn:
        assert drawn.width > 300


@pytest.mark.slow
def test_the_last_epoch_is_kept_on_demand(train, tmp_path):
    run = tmp_path / "run"
    done = train(run, "--epochs", 4, "--keep", "last", "--streams", "difference", "flow", "--places", "mean")
    assert done.code == 0, done.err
    model = VideoModel.from_pretrained(run)
    assert model.info["epoch"] == 4
    assert model.config.places == "mean"
    state = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, state[f"network.{name}"]), name


@pytest.mark.slow
def test_folds_by_group(train, tmp_path):
    run = tmp_path / "run"
    done = train(run, "--epochs", 1, "--folds", "group", "--strides", 16, 32)
    assert done.code == 0, done.err
    report = json.loads((run / "folds.json").read_text())
    assert (report["streams"], report["strides"]) == ("appearance, difference", "16, 32")
    assert [fold["groups"] for fold in report["folds"]] == [["person0"], ["person1"], ["person2"]]
    assert report["num_clips"] == sum(fold["num_clips"] for fold in report["folds"]) == 32
    first, second = (run / f"fold-{fold}" / "best" / "model.safetensors" for fold in (1, 2))
    weights, known = [each.read_bytes() for each in (first, second)], (run / "folds.json").read_text()
    shutil.rmtree(run / "fold-2")
    (run / "folds.json").unlink()
    done = train(run, "--epochs", 1, "--folds", "group", "--strides", 16, 32, "--resume")
    assert done.code == 0, done.err
    assert [each.read_bytes() for each in (first, second)] == weights
    again = json.loads((run / "folds.json").read_text())
    assert {**again, "command": report["command"]} == json.loads(known)
    right = sum(fold["top_1"] * fold["num_clips"] for fold in report["folds"])
    assert report["top_1"] == pytest.approx(right / 32, abs=0.01)


@pytest.mark.slow
def test_all_clips_with_views_that_are_mirrored_warped_and_thinned(train, tmp_path):
    run = tmp_path / "run"
    done = train(
        run, "--epochs", 2, "--folds", "all", "--views", 2, "--flip", "--mirror-pairs", "left", "right",
        "--time-warp", 0.3, "--drop-frames", 0.1,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "scores below are of what was seen" in done.out
    info = VideoModel.from_pretrained(run).info
    assert (info["clips"], info["epoch"]) == (32, 2)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--data", "nowhere"), "--data nowhere: no such folder"),
        (("--folds", "some"), "--folds some: expected 'group', 'all' or a number"),
        (("--time-warp", 1), "--time-warp 1.0: must be at most 0.9"),
        (("--drop-frames", -1), "--drop-frames -1.0: must be at least 0"),
        (
            ("--mirror-pairs", "left", "--flip", "--views", 2),
            "--mirror-pairs left: expected two labels a pair, each label once",
        ),
        (("--mirror-pairs", "left", "left"), "left left: expected two labels a pair, each label once"),
        (("--mirror-pairs", "left", "wave"), "no clip has the label 'wave'; there are down, left, right, up"),
        (
            ("--mirror-pairs", "left", "right", "--views", 2),
            "nothing is mirrored without --flip and --views 2",
        ),
        (("--mirror-pairs", "left", "right", "--flip"), "nothing is mirrored without --flip and --views 2"),
        (("--folds", "9"), "--folds 9: must be 2 to 3"),
    ],
)
def test_mistakes_leave_nothing_behind(train, tmp_path, flags, message):
    done = train(tmp_path / "run", *flags)
    assert (done.code, message in done.err) == (2, True), done.err
    assert not (tmp_path / "run").exists()


def test_a_leaking_group_and_a_label_of_val_alone(train, tmp_path):
    root = write_clips(tmp_path / "set", 2, 1, frames=4)
    text = (root / "val.csv").read_text()
    (root / "val.csv").write_text(text.replace("person2", "person1"))
    done = train(tmp_path / "run", "--epochs", 1, data=root)
    assert (done.code, "group 'person1'" in done.err) == (1, True)
    (root / "val.csv").write_text(text.replace(",up,", ",sideways,"))
    done = train(tmp_path / "run", "--epochs", 1, data=root)
    assert done.code == 0, done.err
    assert "val: 1 clips have a label that train lacks (sideways); they count as wrong" in done.out


def test_a_clip_that_cannot_be_read_is_reported(script, classifier_folder, tmp_path):
    root = write_clips(tmp_path / "set", 1, 1, frames=4)
    (root / "clips" / "val_up_0.mp4").write_text("x")
    done = script("evaluate_video.py", "--data", root, "--model", classifier_folder)
    assert (done.code, "left out" in done.out) == (1, True)
    assert "num_clips          3" in done.out


def test_classify(script, classifier_folder, folder, tmp_path):
    good, bad = folder / "clips" / "val_up_0.mp4", tmp_path / "bad.mp4"
    bad.write_text("x")
    other = folder / "clips" / "val_down_0.mp4"
    done = script("classify_video.py", good, bad, other, "--model", classifier_folder, "--top", 2)
    assert done.code == 1
    lines = [line.split("\t") for line in done.out.splitlines()]
    assert [line[0] for line in lines] == [str(good), str(other)]
    assert lines[0][1] in MOVES
    assert float(lines[0][2]) >= float(lines[0][4])
    assert f"error: {bad}: damaged, or not a video" in done.err
    done = script("classify_video.py", good, "--model", classifier_folder, "--json", "--top", 9)
    found = json.loads(done.out)
    assert found["label"] == found["top"][0]["label"] == lines[0][1]
    assert (found["num_frames"], len(found["top"])) == (8, 4)


def test_folders_and_patterns_of_clips(script, classifier_folder, tmp_path):
    folder = write_clips(tmp_path / "set", 1, 1, frames=4)
    (folder / "clips" / "notes.txt").touch()
    (folder / "empty").mkdir()
    done = script("classify_video.py", folder / "empty", folder / "clips", "--model", classifier_folder)
    assert done.code == 1
    assert [line.split("\t")[0] for line in done.out.splitlines()] == [
        str(path) for path in sorted((folder / "clips").glob("*.mp4"))
    ]
    told = done.err.splitlines()
    assert told[0] == f"error: {folder}/empty: no videos in this folder"
    assert told[1].startswith("note: no videos, so left out of folders: 1 (.txt: 1)")
    pattern = f"{folder}/clips/val_*.mp4"
    done = script("classify_video.py", pattern, "--model", classifier_folder, "--json")
    assert (done.code, len(done.out.splitlines()), done.err) == (0, len(MOVES), "")


def test_joined_recordings_with_damage(script, classifier_folder, tmp_path):
    """Read to their end, from 0 on; what is left out is told."""
    parts = [
        write_video(tmp_path / f"{i}.ts", moving_square("up", 40, size=(64 + 32 * i, 64))) for i in (0, 1)
    ]
    content = bytearray(parts[0].read_bytes() + parts[1].read_bytes())
    path = tmp_path / "all.ts"
    path.write_bytes(content)
    done = script("classify_video.py", path, "--stream", "--model", classifier_folder, "--json")
    assert (done.code, done.err) == (0, "")
    found = [json.loads(line) for line in done.out.splitlines()]
    assert found[0]["start"] < 0.2
    assert 3.8 < found[-1]["end"] <= 4
    path = write_video(tmp_path / "damaged.mp4", moving_square("up", 40))
    damage(path, 10, 2)
    done = script("classify_video.py", path, "--stream", "--model", classifier_folder, "--json")
    assert done.code == 0
    assert json.loads(done.out.splitlines()[-1])["end"] > 1.8
    assert done.err == f"note: {path}: damaged frames left out: 2\n"


def test_a_long_recording(script, classifier_folder, tmp_path):
    pictures = [p for move in ("left", "up", "right") for p in moving_square(move, 40)]
    path = write_video(tmp_path / "long.mp4", pictures)
    out = tmp_path / "time.png"
    done = script("classify_video.py", path, "--stream", "--model", classifier_folder, "--json",
                  "--timeline", out)  # fmt: skip
    assert done.code == 0, done.err
    found = [json.loads(line) for line in done.out.splitlines()]
    assert found[0]["start"] < 0.2
    assert found[-1]["end"] > 5.5
    assert all(a["end"] == b["start"] and a["label"] != b["label"] for a, b in itertools.pairwise(found))
    assert all(set(segment) == {"path", "start", "end", "label", "score"} for segment in found)
    with Image.open(out) as drawn:
        assert drawn.width > 800


def test_a_recording_shorter_than_the_window(script, classifier_folder, tmp_path):
    for frames in (1, 3):
        path = write_video(tmp_path / f"{frames}.mp4", moving_square("up", frames))
        done = script("classify_video.py", path, "--stream", "--model", classifier_folder, "--window", 5)
        assert done.code == 0, done.err
        assert len(done.out.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ((), 2, "no video given"),
        (("a.mp4", "b.mp4", "--stream"), 2, "--stream reads one recording, and 2 were given"),
        (("a.mp4", "--timeline", "x.png"), 2, "--timeline shows a long recording; add --stream"),
        (("a.mp4", "--top", 0), 2, "--top 0: must be at least 1"),
        (("a.mp4", "--stream", "--window", -1), 2, "must not be negative"),
        (("77", "--stream"), 1, "camera 77: there is none"),
        (("gone.mp4",), 1, "gone.mp4: no such file"),
        (("a.mp4", "--model", "nothing"), 2, "no model 'nothing'"),
    ],
)
def test_mistakes_in_classifying(script, classifier_folder, flags, code, message):
    done = script("classify_video.py", *("--model", classifier_folder), *flags)
    assert (done.code, message in done.err) == (code, True), done.err
