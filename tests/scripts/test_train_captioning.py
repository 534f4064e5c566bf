import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from captioning import Captioner
from tests.conftest import SCRIPTS, TINY_ENCODER

SCRIPT = SCRIPTS / "train_captioning.py"


@pytest.fixture
def flags(shapes, encoder_weights, tmp_path):
    """A training that takes seconds."""
    return [
        "--data", shapes, "--encoder", TINY_ENCODER, "--encoder-weights", encoder_weights, "--image-size", 64,
        "--epochs", 3, "--batch-size", 8, "--hidden-size", 32, "--embedding-size", 16, "--min-count", 1,
        "--workers", 0, "--precision", "fp32", "--device", "cpu", "--max-length", 8,
        "--cache", tmp_path / "cache",
    ]  # fmt: skip


def start(*arguments, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, **options
    )


def finish(process):
    out, _ = process.communicate(timeout=240)
    return out


def wait_for(file, process):
    while not file.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


def history(run):
    with (run / "metrics.csv").open() as file:
        return [{k: float(v) for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def weights(run):
    return torch.load(run / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_a_run_leaves_a_whole_folder_and_learns(script, flags, tmp_path):
    run = tmp_path / "run"
    result = script(
        "train_captioning.py", *flags, "--out", run, "--epochs", 40, "--learning-rate", 0.01, "--dropout", 0.1
    )
    assert result.code == 0, result.err
    assert "train: 32 images, 96 captions" in result.out
    assert "epoch 1/40" in result.out
    rows = history(run)
    assert rows[-1]["train_loss"] < 0.7 * rows[0]["train_loss"]
    assert max(row["cider_d"] for row in rows) > 100  # it names colour and shape
    assert all(row["num_images"] == 8 for row in rows)
    names = {path.name for path in run.iterdir()}
    assert names == {"best", "curves.png", "last.ckpt", "metrics.csv", "tensorboard", "train_config.json"}
    assert list((run / "tensorboard").glob("events*"))
    config = json.loads((run / "best" / "config.json").read_text())
    assert config["info"]["metrics"]["cider_d"] == pytest.approx(
        max(row["cider_d"] for row in rows), abs=1e-3
    )
    assert "train_captioning.py" in config["info"]["command"]
    report = tmp_path / "report.json"
    shapes = flags[1]
    arguments = [
        "--data",
        shapes,
        "--model",
        run,
        "--beam-size",
        1,
        "--precision",
        "fp32",
        "--report",
        report,
    ]
    done = script("evaluate_captioning.py", *arguments)
    assert done.code == 0
    scores = json.loads(report.read_text())
    assert scores["cider_d"] == pytest.approx(config["info"]["metrics"]["cider_d"], abs=0.02)
    assert {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "seconds", "beam_size"} <= set(scores)
    assert ("meteor" in scores) == (shutil.which("java") is not None)
    assert (scores["num_images"], len(scores["captions"])) == (8, 8)
    picture = shapes / "images" / "val00.png"
    caption = Captioner.from_pretrained(run, precision="fp32").caption([picture], beam_size=1)[0]
    assert caption.text == next(c["caption"] for c in scores["captions"] if c["file"] == "val00.png")


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_show_tell_with_other_cells(script, flags, tmp_path, cell):
    result = script(
        "train_captioning.py", *flags, "--out", tmp_path / "run", "--decoder", "show_tell", "--cell", cell
    )
    assert result.code == 0
    model = Captioner.from_pretrained(tmp_path / "run").model
    assert (model.config.kind, model.config.cell) == ("show_tell", cell)


@pytest.mark.slow
def test_a_run_with_workers_is_killed_and_resumed(flags, tmp_path):
    flags = [*flags, "--epochs", 4]
    out = finish(start(*flags, "--out", tmp_path / "whole"))
    assert "epoch 4/4" in out, out
    killed = start(*flags, "--out", tmp_path / "killed")
    wait_for(tmp_path / "killed" / "last.ckpt", killed)
    time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    finish(killed)
    assert killed.returncode == -signal.SIGKILL
    assert len(history(tmp_path / "killed")) < 4
    out = finish(start("--data", flags[1], "--out", tmp_path / "killed", "--resume", "--workers", 1))
    assert "epoch 4/4" in out, out
    assert "epoch 1/4" not in out
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    assert history(tmp_path / "killed") == history(tmp_path / "whole")
    best = [load_file(tmp_path / name / "best" / "model.safetensors") for name in ("whole", "killed")]
    assert all(torch.equal(tensor, best[1][name]) for name, tensor in best[0].items())


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["devices", "torchrun"])
def test_two_processes_train_as_one(flags, tmp_path, launcher):
    flags = [*flags, "--dropout", 0]
    finish(start(*flags, "--out", tmp_path / "one"))
    if launcher == "devices":
        out = finish(start(*flags, "--out", tmp_path / "two", "--devices", 2))
    else:
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            SCRIPT,
        ]
        command = [*command, *flags, "--out", tmp_path / "two"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        out = subprocess.run(
            [*map(str, command)], capture_output=True, text=True, env=environment, timeout=240
        ).stdout
    assert "epoch 3/3" in out, out
    assert out.count("epoch 3/3") == 1
    for one, two in zip(history(tmp_path / "one"), history(tmp_path / "two"), strict=True):
        assert two["train_loss"] == pytest.approx(one["train_loss"], abs=1e-3)
        assert two["num_images"] == one["num_images"] == 8
        assert two["cider_d"] == pytest.approx(one["cider_d"], abs=1e-3)


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_checkpoint_whole(flags, tmp_path):
    run = tmp_path / "run"
    process = start(*flags, "--out", run, "--epochs", 500, "--patience", 0)
    wait_for(run / "last.ckpt", process)
    process.kill()
    finish(process)
    size, whole = (run / "last.ckpt").stat().st_size, weights(run)
    # no file may grow beyond half a checkpoint: a disk that fills up while one is written
    command = (
        f"ulimit -f {size // 2048}; exec {sys.executable} {SCRIPT} --data {flags[1]} --out {run} --resume"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    assert "the checkpoint before it is whole" in done.stderr
    assert all(torch.equal(tensor, weights(run)[name]) for name, tensor in whole.items())
    assert Captioner.from_pretrained(run)
    assert not [*run.glob("*.tmp"), *run.glob("*.new")]


def test_bad_usage(script, flags, tmp_path, shapes):
    used = tmp_path / "used"
    used.mkdir()
    (used / "notes.txt").touch()
    out = ("--out", tmp_path / "run")
    cases = [
        (2, [*flags, "--out", used], "exists already"),
        (2, [*flags, "--out", used, "--resume"], "holds no run"),
        (2, ["--data", tmp_path / "gone", *out], "no such folder"),
        (2, ["--data", used, *out], "holds no 'train' part"),
        (2, [*flags, *out, "--epochs", 0], "--epochs 0"),
        (2, [*flags, *out, "--min-count", 1000], "--min-count 1000"),
        (2, [*flags, *out, "--cell", "lsmt"], "lsmt"),
        (2, [*flags, *out, "--encoder", "no_such_net"], "not known to timm"),
    ]
    for code, arguments, message in cases:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        result = script("train_captioning.py", *arguments)
        assert (result.code, message in result.err + result.out) == (code, True), (arguments, result)
        assert "Traceback" not in result.err


def test_resume_refuses_other_flags(script, flags, tmp_path):
    run = tmp_path / "run"
    assert script("train_captioning.py", *flags, "--out", run, "--epochs", 1).code == 0
    result = script(
        "train_captioning.py", *flags, "--out", run, "--epochs", 1, "--resume", "--hidden-size", 64
    )
    assert (result.code, "--hidden-size 64: the run has 32" in result.err) == (2, True)


def test_evaluation_reports_bad_usage_and_unreadable_pictures(script, shapes, model_folder, tmp_path):
    data = shutil.copytree(shapes, tmp_path / "data")
    (data / "images" / "val03.png").write_bytes(b"")
    result = script(
        "evaluate_captioning.py", "--data", data, "--model", model_folder, "--report", tmp_path / "r.json"
    )
    assert (result.code, "val03.png" in result.out) == (1, True)
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["num_images"], report["num_unreadable"]) == (7, 1)
    for arguments, message in (
        (["--data", data, "--split", "test"], "holds no 'test' part"),
        (["--data", data, "--report", tmp_path / "gone" / "r.json"], "its folder does not exist"),
        (["--data", data, "--beam-size", 0], "--beam-size 0"),
    ):
        result = script("evaluate_captioning.py", "--model", model_folder, *arguments)
        assert (result.code, message in result.err) == (2, True)


@pytest.fixture
def trained(script, flags, tmp_path):
    run = tmp_path / "xe"
    done = script("train_captioning.py", *flags, "--out", run, "--decoder", "updown", "--patience", 0)
    assert done.code == 0, done.err
    return run


@pytest.mark.slow
def test_self_critical_training_raises_the_reward(script, flags, trained, tmp_path):
    run = tmp_path / "scst"
    done = script("train_captioning.py", *flags, "--out", run, "--init-from", trained, "--self-critical",
                  "--epochs", 25, "--patience", 0, "--learning-rate", 1e-2)  # fmt: skip
    assert done.code == 0, done.err
    rewards = [row["reward"] for row in history(run)]
    assert max(rewards[-5:]) > rewards[0] + 15
    assert "rewards took" in done.out
    assert Captioner.from_pretrained(run).model.config.kind == "updown"


@pytest.mark.slow
def test_the_encoder_is_trained_and_stored(script, flags, trained, tmp_path, shapes):
    run, bad = tmp_path / "tuned", shapes.parent / "broken_shapes"
    shutil.copytree(shapes, bad, dirs_exist_ok=True)
    (bad / "images" / "train03.png").write_bytes(b"x")
    flags = [bad if flag == shapes else flag for flag in flags]
    done = script("train_captioning.py", *flags, "--out", run, "--init-from", trained, "--finetune-encoder",
                  "--epochs", 2, "--patience", 0)  # fmt: skip
    assert done.code == 0, done.err
    assert "train: left out" in done.out
    assert "train03.png" in done.out
    before, after = Captioner.from_pretrained(trained).model, Captioner.from_pretrained(run).model
    changed = [
        not torch.equal(a, b)
        for a, b in zip(before.encoder.parameters(), after.encoder.parameters(), strict=True)
    ]
    assert all(changed)
    assert after.encoder.frozen
    again = script(
        "train_captioning.py", *flags, "--out", tmp_path / "third", "--init-from", run, "--epochs", 1
    )
    assert again.code == 0, again.err


@pytest.mark.slow
def test_scheduled_sampling_learns_too(script, flags, tmp_path):
    run = tmp_path / "run"
    done = script("train_captioning.py", *flags, "--out", run, "--scheduled-sampling", 0.5, "--patience", 0,
                  "--epochs", 12, "--learning-rate", 1e-2)  # fmt: skip
    assert done.code == 0, done.err
    rows = history(run)
    assert rows[-1]["train_loss"] < 0.9 * rows[0]["train_loss"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--self-critical",), "name it with --init-from"),
        (("--samples", 1), "--samples 1: must be at least 2"),
        (("--scheduled-sampling", 2), "must lie between 0 and 1"),
        (("--decoder", "att2in", "--cell", "gru"), "--decoder att2in is an LSTM"),
    ],
)
def test_flags_that_do_not_go_together(script, flags, tmp_path, more, message):
    done = script("train_captioning.py", *flags, "--out", tmp_path / "run", *more)
    assert (done.code, message in done.err) == (2, True), done.err
    assert not (tmp_path / "run").exists()
