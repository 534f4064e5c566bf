import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from common.encoder import Encoder
from common.export import export
from segmentation.model import SegmentationModel
from tests.segmentation.conftest import CLASSES, IGNORED, TINY_STRIDED, scene, tiny_segmenter, write_scenes

FLAGS = ("--encoder", TINY_STRIDED, "--stride", 16, "--width", 16, "--image-size", 64, 80, "--crop", 64, 64,
         "--scales", 0.8, 1.25, "--dropout", 0, "--batch-size", 4, "--workers", 0, "--learning-rate", 1e-2,
         "--ignore-label", IGNORED, "--device", "cpu", "--precision", "fp32")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "set")


@pytest.fixture(scope="module")
def strided_weights(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(Encoder(TINY_STRIDED).backbone.state_dict(), file)
    return file


@pytest.fixture(scope="module")
def segmenter_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmenter")
    tiny_segmenter().save_pretrained(folder)
    export(SegmentationModel, folder)
    return folder


@pytest.fixture
def train(script, folder, strided_weights):
    def run(out, *flags, data=folder):
        return script("train_segmentation.py", "--data", data, "--out", out, "--encoder-weights",
                      strided_weights, *FLAGS, *flags)  # fmt: skip

    return run


@pytest.mark.slow
def test_train_and_evaluate(script, train, folder, tmp_path):
    run, report = tmp_path / "run", tmp_path / "report.json"
    done = train(run, "--epochs", 12, "--patience", 0)
    assert done.code == 0, done.err
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert float(rows[-1]["train_loss"]) < 0.6 * float(rows[0]["train_loss"])
    done = script("evaluate_segmentation.py", "--data", folder, "--model", run, "--report", report,
                  "--precision", "fp32")  # fmt: skip
    assert done.code == 0, done.err
    scores = json.loads(report.read_text())
    assert scores["mean_iou"] == pytest.approx(max(float(row["mean_iou"]) for row in rows), abs=0.1)
    assert scores["mean_iou"] > 50
    assert set(scores["iou"]) == set(CLASSES)
    assert scores["num_images"] == 4
    counted = sum(map(sum, scores["confusion"]))
    assert counted == 4 * (80 * 64 - 2 * 80 - 2 * 62)
    assert {"pixel_accuracy", "class_accuracy"} <= set(scores)
    with Image.open(tmp_path / "report.png") as drawn:
        assert drawn.width > 200
    again = train(tmp_path / "second", "--epochs", 1, "--init-from", run, "--image-size", 96, 120)
    assert again.code == 0, again.err
    preprocess = SegmentationModel.from_pretrained(tmp_path / "second").encoder.preprocess
    assert (preprocess.height, preprocess.width) == (96, 120)


def test_pictures_are_held_out_by_name_and_scored_alone(script, train, folder, tmp_path):
    run, report = tmp_path / "run", tmp_path / "report.json"
    done = train(run, "--epochs", 1, "--hold-out", "00", "03")
    assert done.code == 0, done.err
    assert "held out 00, 03: 2 pictures; 10 are trained on" in done.out
    done = script("evaluate_segmentation.py", "--data", folder, "--split", "train", "--names", "00", "03",
                  "--model", run, "--report", report)  # fmt: skip
    assert done.code == 0, done.err
    scores = json.loads(report.read_text())
    assert (scores["num_images"], scores["names"]) == (2, "00 03")
    done = script("evaluate_segmentation.py", "--data", folder, "--limit", 2, "--scales", 0.75, 1.25,
                  "--mirrored", "--model", run, "--report", report)  # fmt: skip
    assert done.code == 0, done.err
    scores = json.loads(report.read_text())
    assert (scores["num_images"], scores["scales"], scores["mirrored"]) == (2, "0.75 1.25", True)
    done = script("evaluate_segmentation.py", "--data", folder, "--scales", 0, "--model", run)
    assert (done.code, "--scales 0.0: expected numbers from 0.1 to 10" in done.err) == (2, True), done.err
    done = script("evaluate_segmentation.py", "--data", folder, "--names", "z", "--model", run)
    assert (done.code, "--names z: no picture of val has such a name" in done.err) == (2, True), done.err


def test_each_drive_is_held_out_once(script, train, tmp_path):
    data = write_scenes(tmp_path / "set", train=6, val=3)
    for file in [*data.glob("*/images/*"), *data.glob("*/labels/*")]:  # drives a and b, b goes on in val
        drive = "a" if file.parts[-3] == "train" and int(file.stem) < 4 else "b"
        file.rename(file.with_name(f"{drive}_{file.name}"))
    run = tmp_path / "run"
    done = train(run, "--epochs", 1, "--folds", "group", "--lovasz", 0.5, data=data)
    assert done.code == 0, done.err
    report = json.loads((run / "folds.json").read_text())
    assert [(fold["groups"], fold["num_images"]) for fold in report["folds"]] == [(["b"], 5), (["a"], 4)]
    assert report["num_images"] == 9
    of_folds = [fold["mean_iou"] for fold in report["folds"]]
    assert report["mean_iou"] == pytest.approx((5 * of_folds[0] + 4 * of_folds[1]) / 9, abs=0.01)
    done = train(tmp_path / "other", "--folds", "group", "--hold-out", "a", data=data)
    assert (done.code, "--hold-out and --folds: give one of them" in done.err) == (2, True), done.err


def test_an_epoch_has_several_crops_of_each_picture(train, tmp_path):
    done = train(tmp_path / "run", "--epochs", 1, "--crops", 3)
    assert done.code == 0, done.err
    steps = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"]
    assert steps == 12 * 3 / 4


def test_rare_classes_weigh_as_much_as_balance_says(train, tmp_path):
    losses = []
    for balance in (0, 1):
        run = tmp_path / str(balance)
        assert train(run, "--epochs", 1, "--balance", balance).code == 0
        losses.append(float(next(csv.DictReader((run / "metrics.csv").open()))["train_loss"]))
    assert abs(losses[0] - losses[1]) > 1e-3


def test_early_layers_can_stay_as_they_are(train, strided_weights, tmp_path):
    done = train(tmp_path / "run", "--epochs", 1, "--encoder-frozen", 4)
    assert done.code == 0, done.err
    before = load_file(strided_weights)
    after = SegmentationModel.from_pretrained(tmp_path / "run").encoder.backbone.state_dict()
    changed = {name for name, tensor in after.items() if name in before and (tensor != before[name]).any()}
    assert changed
    early = [name for name in after if name.startswith(("conv_stem", "bn1", "blocks.0", "blocks.1"))]
    assert early
    assert not changed & set(early)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--data", "nowhere"), "--data nowhere: no such folder"),
        (("--scales", 2, 1), "--scales"),
        (("--hold-out", "z"), "--hold-out z: 0 of 12 pictures have such names"),
        (("--hold-out", "0", "1"), "--hold-out 0 1: 12 of 12 pictures have such names"),
        (("--crop", 8, 64), "must be at least 32 pixels"),
        (("--width", 18), "--width 18: must be a multiple of 4"),
        (("--encoder-frozen", 3), "it cannot be frozen up to 3"),
        (("--stride", 64), "it cannot be cut at stride 64"),
    ],
)
def test_mistakes_leave_nothing_behind(train, tmp_path, flags, message):
    done = train(tmp_path / "run", *flags)
    assert (done.code, message in done.err) == (2, True), done.err
    assert not (tmp_path / "run").exists()


def test_other_classes_are_refused(script, segmenter_folder, tmp_path):
    data = write_scenes(tmp_path / "set", 1, 1)
    (data / "classes.txt").write_text("sky\nsea\nsand\n")
    done = script("evaluate_segmentation.py", "--data", data, "--model", segmenter_folder)
    assert done.code == 1
    assert "has the classes sky, sea, sand; the model" in done.err


def test_segment(script, segmenter_folder, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name, size in (("a b ü.png", (80, 64)), ("dot.png", (1, 1)), ("strip.png", (5000, 40))):
        scene(3, (80, 64))[0].resize(size).save(pictures / name)
    (pictures / "broken.jpg").write_text("x")
    out = tmp_path / "out"
    done = script("segment.py", pictures, "--model", segmenter_folder, "--out", out, "--json")
    assert done.code == 1
    assert "broken.jpg: not a picture" in done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [len(row["shares"]) > 0 for row in rows] == [True] * 3
    for row, size in zip(rows, ((80, 64), (1, 1), (5000, 40)), strict=True):
        assert sum(row["shares"].values()) == pytest.approx(1, abs=0.001)
        with Image.open(row["labels"]) as labels, Image.open(row["overlay"]) as overlay:
            assert (labels.mode, labels.size) == ("P", size)
            ids = np.asarray(labels)
            assert overlay.width >= 60
        shares = {CLASSES[i]: float((ids == i).mean()) for i in np.unique(ids)}
        assert row["shares"] == pytest.approx(shares, abs=1e-4)
    plain = script("segment.py", pictures / "dot.png", "--model", segmenter_folder)
    assert (plain.code, plain.out.count("\t")) == (0, 1)


@pytest.mark.parametrize(
    ("paths", "code", "message"),
    [
        (("gone.jpg",), 1, "gone.jpg: no such file"),
        (("empty",), 1, "no pictures in this folder"),
        ((), 2, "no pictures given"),
        (("a/x.png", "b/x.jpg", "--out", "out"), 2, "would both be written to x.*.png"),
    ],
)
def test_mistakes_in_segmenting(script, segmenter_folder, tmp_path, monkeypatch, paths, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    done = script("segment.py", *paths, "--model", segmenter_folder)
    assert (done.code, message in done.err) == (code, True), done.err
