import json
import shutil
import signal

import pytest
import torch

from captioning import Captioner
from captioning.model import CaptionModel
from common.encoder import Encoder
from common.text import EOS
from tests import runs
from tests.conftest import CONCEPTS, SCRIPTS, TINY_ENCODER, random_classifier, shape_picture, tiny_model
from tests.runs import history, weights

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


@pytest.fixture
def concept_flags(flags, encoder_weights, monkeypatch):
    """The same with an encoder that brings a classifier, as those of the weights packages do."""
    tiny = Encoder.pretrained

    def pretrained(name, image_size=0, weights=None):
        return tiny(name, image_size, weights or str(encoder_weights))

    monkeypatch.setattr(Encoder, "pretrained", pretrained)
    monkeypatch.setattr(Encoder, "classifier", random_classifier)
    at = flags.index("--encoder-weights")
    return [*flags[:at], *flags[at + 2 :], "--concepts", 3]


@pytest.fixture
def animals(shapes, tmp_path):
    """The shapes, with captions that say words of the classifier."""
    data = shutil.copytree(shapes, tmp_path / "animals")
    for file in (data / "annotations").iterdir():
        text = file.read_text().replace("circle", "dog").replace("square", "cat")
        file.write_text(text)
    return data


@pytest.fixture
def own(tmp_path):
    """Photos of one's own: twelve of something with a made-up name, and two further ones in val."""
    data = tmp_path / "own"
    data.mkdir()
    for part, count in (("train", 12), ("val", 2)):
        lines = []
        for i in range(count):
            picture = shape_picture("yellow", "square", seed=100 * count + i)
            picture.paste((160, 40, 170), (0, 44, 64, 64))
            picture.save(data / f"{part}{i}.png")
            captions = ["A wug.", "There is a wug on grey.", "A wug that is purple."]
            lines.append(json.dumps({"image": f"{part}{i}.png", "captions": captions}))
        (data / f"{part}.jsonl").write_text("\n".join(lines))
    return data


@pytest.mark.slow
def test_a_run_leaves_a_whole_folder_and_learns(script, flags, tmp_path):
    run = tmp_path / "run"
    result = script("train_captioning.py", *flags, "--out", run, "--epochs", 12, "--batch-size", 2,
                    "--learning-rate", 0.01, "--dropout", 0.1, "--patience", 0)  # fmt: skip
    assert result.code == 0, result.err
    assert "train: 32 images, 96 captions" in result.out
    assert "epoch 1/12" in result.out
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
    assert "meteor" not in scores
    assert "meteor is left out: it needs Java" in done.out + done.err
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
    assert (model.config.decoder, model.config.cell) == ("show_tell", cell)


@pytest.mark.slow
def test_devices_start_processes_that_train_as_one(script, flags, tmp_path):
    """By `--devices`; tests/scripts/test_training_runs.py does the same for torchrun."""
    flags = [*flags, "--dropout", 0, "--epochs", 2]
    alone = script("train_captioning.py", *flags, "--out", tmp_path / "one")
    assert alone.code == 0, alone.err
    log = tmp_path / "log"
    code = runs.run([SCRIPT, *flags, "--out", tmp_path / "two", "--devices", 2], log)
    assert code == [0], log.read_text()
    assert log.read_text().count("epoch 2/2") == 1
    for one, two in zip(history(tmp_path / "one"), history(tmp_path / "two"), strict=True):
        assert two["train_loss"] == pytest.approx(one["train_loss"], abs=1e-3)
        assert two["num_images"] == one["num_images"] == 8
        assert two["cider_d"] == pytest.approx(one["cider_d"], abs=1e-3)


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_checkpoint_whole(flags, tmp_path):
    run, log = tmp_path / "run", tmp_path / "log"
    assert runs.run([SCRIPT, *flags, "--out", run], log, stop=signal.SIGKILL) == [-signal.SIGKILL]
    size, whole = (run / "last.ckpt").stat().st_size, weights(run)
    # no file may grow beyond half a checkpoint: a disk that fills up while one is written
    assert runs.run([SCRIPT, *flags, "--out", run, "--resume"], log, file_size=size // 2) == [1]
    assert "the checkpoint before it is whole" in log.read_text()
    assert all(torch.equal(tensor, weights(run)[name]) for name, tensor in whole.items())
    assert Captioner.from_pretrained(run, engine="torch")
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
                  "--epochs", 10, "--batch-size", 4, "--patience", 0, "--learning-rate", 1e-2)  # fmt: skip
    assert done.code == 0, done.err
    rewards = [row["reward"] for row in history(run)]
    assert max(rewards[-5:]) > rewards[0] + 15
    assert "rewards took" in done.out
    assert Captioner.from_pretrained(run).model.config.decoder == "updown"


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
    before, after = (Captioner.from_pretrained(path, engine="torch").model for path in (trained, run))
    changed = [
        not torch.equal(a, b)
        for a, b in zip(before.encoder.parameters(), after.encoder.parameters(), strict=True)
    ]
    assert all(changed)
    assert after.encoder.frozen
    third = tmp_path / "third"
    more = ("--epochs", 1, "--image-size", 96)
    again = script("train_captioning.py", *flags, "--out", third, "--init-from", run, *more)
    assert again.code == 0, again.err
    preprocess = Captioner.from_pretrained(third, engine="torch").model.encoder.preprocess
    assert (preprocess.height, preprocess.width) == (96, 96)


@pytest.mark.slow
def test_scheduled_sampling_learns_too(script, flags, tmp_path):
    run = tmp_path / "run"
    done = script("train_captioning.py", *flags, "--out", run, "--scheduled-sampling", 0.5, "--patience", 0,
                  "--epochs", 6, "--batch-size", 4, "--learning-rate", 1e-2)  # fmt: skip
    assert done.code == 0, done.err
    rows = history(run)
    assert rows[-1]["train_loss"] < 0.9 * rows[0]["train_loss"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--self-critical",), "name it with --init-from"),
        (("--samples", 1), "--samples 1: must be at least 2"),
        (("--scheduled-sampling", 2), "--scheduled-sampling 2.0: must be at most 1"),
        (("--decoder", "att2in", "--cell", "gru"), "--decoder att2in is an LSTM"),
        (("--views", 2, "--finetune-encoder"), "leave --views out"),
    ],
)
def test_flags_that_do_not_go_together(script, flags, tmp_path, more, message):
    done = script("train_captioning.py", *flags, "--out", tmp_path / "run", *more)
    assert (done.code, message in done.err) == (2, True), done.err
    assert not (tmp_path / "run").exists()


@pytest.fixture
def concept_model(tmp_path):
    folder = tmp_path / "concept_model"
    tiny_model("between", concepts=3, score="dot").save_pretrained(folder)
    return folder


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("A big elephant.\nTwo elephants on grey.\n1234\nThe elephant is red.\n" * 4)
    return file


def test_with_concepts_pairs_and_text_it_learns(script, concept_flags, animals, text, tmp_path):
    run = tmp_path / "run"
    done = script("train_captioning.py", *concept_flags, "--data", animals, "--out", run,
                  "--decoder", "between", "--score", "dot", "--exchanged", 0.3, "--paired", 0.3,
                  "--text", text, "--epochs", 12, "--batch-size", 4,
                  "--learning-rate", 0.01, "--dropout", 0.1, "--patience", 0)  # fmt: skip
    assert done.code == 0, done.err
    assert "12 sentences from" in done.out
    assert "concepts are off" not in done.out
    rows = history(run)
    assert rows[-1]["train_loss"] < 0.8 * rows[0]["train_loss"]
    assert max(row["cider_d"] for row in rows) > 60
    model = CaptionModel.from_pretrained(run)
    assert (model.config.concepts, model.config.score, model.config.decoder) == (3, "dot", "between")
    assert "elephants" in model.vocabulary  # from the text alone
    assert torch.equal(model.classifier.weight, random_classifier(model.encoder)[0])
    seen = model.encode(torch.rand(1, 3, 64, 64))
    words = [*CONCEPTS, *model.vocabulary.decode(model.classifier.tags.tolist())]
    assert set(model.vocabulary.decode(seen.words[0].tolist())) <= set(words)
    assert seen.scores.any()


def test_self_critical_and_tuned_with_concepts(script, concept_flags, animals, tmp_path):
    flags = [*concept_flags, "--data", animals, "--epochs", 1, "--patience", 0]
    first = tmp_path / "xe"
    assert script("train_captioning.py", *flags, "--out", first, "--decoder", "between").code == 0
    before = CaptionModel.from_pretrained(first)
    for name, more in (("tuned", ("--finetune-encoder", "--paired", 0.3)), ("scst", ("--self-critical",))):
        done = script("train_captioning.py", *flags, "--out", tmp_path / name, "--init-from", first, *more)
        assert done.code == 0, done.err
        after = CaptionModel.from_pretrained(tmp_path / name)
        assert torch.equal(after.classifier.weight, before.classifier.weight)
        same = torch.equal(next(after.encoder.parameters()), next(before.encoder.parameters()))
        assert same == (name == "scst")
        assert history(tmp_path / name)[0]["train_loss"] == pytest.approx(0, abs=20)


def test_an_epoch_sees_each_view_and_rewards_go_with_references(script, concept_flags, animals, tmp_path):
    flags = [*concept_flags, "--data", animals, "--patience", 0, "--batch-size", 4]
    first = tmp_path / "xe"
    done = script("train_captioning.py", *flags, "--epochs", 4, "--learning-rate", 0.01, "--out", first)
    assert done.code == 0, done.err
    more = ["--epochs", 1, "--init-from", first, "--views", 3, "--paired", 0.5]
    losses = {}
    for weight in (0, 1):
        run = tmp_path / f"scst{weight}"
        done = script("train_captioning.py", *flags, *more, "--out", run, "--self-critical",
                      "--references", weight)  # fmt: skip
        assert done.code == 0, done.err
        losses[weight] = history(run)[0]["train_loss"]
    assert losses[1] > losses[0] + 1  # nats beside rewards near zero
    run = tmp_path / "views"
    assert script("train_captioning.py", *flags, *more, "--out", run).code == 0
    before, after = (torch.load(r / "last.ckpt", weights_only=True)["global_step"] for r in (first, run))
    assert after == 3 * before // 4  # one epoch of three views, four of one


def test_an_encoder_without_a_classifier_says_that_concepts_are_off(script, flags, tmp_path):
    done = script("train_captioning.py", *flags, "--out", tmp_path / "run", "--epochs", 1)
    assert done.code == 0, done.err
    assert f"encoder {TINY_ENCODER} brings no classifier: concepts are off" in done.out
    model = CaptionModel.from_pretrained(tmp_path / "run")
    assert model.config.concepts == 0
    assert not any(name.startswith("classifier") for name in model.state_dict())
    done = script("train_captioning.py", *flags, "--out", tmp_path / "quiet", "--epochs", 1, "--concepts", 0)
    assert "concepts are off" not in done.out


def test_captions_without_the_classifiers_words(script, concept_flags, tmp_path):
    """Nothing can be recognised, in no picture."""
    done = script(
        "train_captioning.py", *concept_flags, "--tags", 0, "--out", tmp_path / "run", "--epochs", 2
    )
    assert done.code == 0, done.err
    model = CaptionModel.from_pretrained(tmp_path / "run")
    assert not model.encode(torch.rand(2, 3, 64, 64)).words.any()
    assert Captioner(model, "cpu", "fp32").caption([shape_picture("red", "circle")])


def test_own_photos_bring_their_words(script, flags, own, tmp_path):
    run, known = tmp_path / "run", tmp_path / "known"
    done = script("train_captioning.py", *flags, "--out", known, "--decoder", "between", "--score", "dot",
                  "--epochs", 5, "--batch-size", 4, "--learning-rate", 0.01)  # fmt: skip
    assert done.code == 0, done.err
    done = script("train_captioning.py", *flags, "--data", own, "--out", run, "--init-from", known,
                  "--epochs", 8, "--learning-rate", 0.01, "--batch-size", 2)  # fmt: skip
    assert done.code == 0, done.err
    assert "val: 2 images are too few" in done.out
    assert len(history(run)) == 8  # CIDEr-D of two pictures with the same words is 0 throughout
    old = CaptionModel.from_pretrained(known).vocabulary
    assert f"words: {len(old) - 4} of {known}, 2 of the captions" in done.out
    captioner = Captioner.from_pretrained(run, "cpu", "fp32")
    assert captioner.model.vocabulary.to_list()[: len(old) - 4] == old.to_list()
    captions = captioner.caption([own / "val0.png", own / "val1.png"])
    assert all("wug" in caption.tokens for caption in captions), captions


@pytest.mark.parametrize("words", ["keep", "new", "union"])
def test_whose_words_are_kept(script, flags, own, concept_model, tmp_path, words):
    run, new = tmp_path / "run", {"wug", "a", "there", "is", "on", "grey", "that", "purple"}
    done = script("train_captioning.py", *flags, "--data", own, "--out", run, "--init-from", concept_model,
                  "--words", words, "--epochs", 1)  # fmt: skip
    assert done.code == 0, done.err
    old = set(CaptionModel.from_pretrained(concept_model).vocabulary.to_list())
    model = CaptionModel.from_pretrained(run)
    assert set(model.vocabulary.to_list()) == {"keep": old, "new": new, "union": old | new}[words]
    assert Captioner(model, "cpu", "fp32").caption([own / "val0.png"])


def test_a_training_too_short_to_say_anything_says_so(script, flags, tmp_path):
    silent = tiny_model()
    with torch.no_grad():
        silent.decoder.output_bias[EOS] = 30.0
    silent.save_pretrained(tmp_path / "silent")
    done = script("train_captioning.py", *flags, "--out", tmp_path / "run", "--epochs", 1,
                  "--init-from", tmp_path / "silent")  # fmt: skip
    assert done.code == 0, done.err
    assert "the model says nothing of 100% of the val images: 4 steps are too few" in done.out
    assert "--init-from" in done.out
    done = script("train_captioning.py", *flags, "--out", tmp_path / "long", "--epochs", 8,
                  "--batch-size", 2, "--learning-rate", 0.01, "--dropout", 0.1)  # fmt: skip
    assert "says nothing" not in done.out


def test_held_out_words_are_in_no_caption(script, flags, text, tmp_path):
    run = tmp_path / "run"
    text.write_text("Two circles.\n")
    done = script("train_captioning.py", *flags, "--out", run, "--hold-out", "circle", "zebra",
                  "--text", text, "--epochs", 1)  # fmt: skip
    assert done.code == 0, done.err
    assert "held out circle, zebra: 16 of 32 images" in done.out
    model = CaptionModel.from_pretrained(run)
    assert (model.info["images"], model.info["captions"]) == (16, 48)
    assert "circle" not in model.vocabulary
    assert "circles" in model.vocabulary  # text alone may have it
    assert history(run)[0]["num_images"] == 8  # val keeps all
    done = script("train_captioning.py", *flags, "--out", tmp_path / "none", "--hold-out", "circle", "square")
    assert (done.code, "--hold-out circle square: no image of train is left" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"", "holds no sentence"),
        (b"a dog\nun caf\xe9\n", "not UTF-8 (byte 12)"),
        (b"a dog sits " * 1_000_000, "holds no sentence"),
    ],
    ids=["gone", "empty", "Latin-1", "one line of 11 MB"],
)
def test_a_text_that_is_none(script, flags, tmp_path, content, message):
    file = tmp_path / "odd.txt"
    if content is not None:
        file.write_bytes(content)
    done = script("train_captioning.py", *flags, "--out", tmp_path / "run", "--text", file)
    assert (done.code, message in done.err, str(file) in done.err) == (1, True, True), done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("share", [0.01, 1.0])
def test_text_without_concepts(script, flags, text, tmp_path, share):
    done = script("train_captioning.py", *flags, "--out", tmp_path / "run", "--text", text, "--concepts", 0,
                  "--text-share", share, "--epochs", 1)  # fmt: skip
    assert done.code == 0, done.err
    assert "elephant" in CaptionModel.from_pretrained(tmp_path / "run").vocabulary


def test_a_val_part_of_one_thing_does_not_end_the_training(script, flags, own, tmp_path):
    """All its pictures are captioned alike: CIDEr-D is 0 whatever is said, and chooses nothing."""
    (own / "val.jsonl").write_text((own / "train.jsonl").read_text())
    done = script("train_captioning.py", *flags, "--data", own, "--out", tmp_path / "run", "--epochs", 3,
                  "--patience", 1)  # fmt: skip
    assert done.code == 0, done.err
    assert "val: 12 images are too few, or too much alike" in done.out
    assert len(history(tmp_path / "run")) == 3
