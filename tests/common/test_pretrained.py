import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from captioning.model import CaptionModel, DecoderConfig
from common.encoder import Encoder
from common.errors import ModelError, ModelNotFoundError
from common.text import Vocabulary
from ocr.model import Recognizer
from segmentation.model import SegmentationModel
from tests.conftest import tiny_model
from video.model import VideoModel
from vqa.model import VqaModel


@pytest.fixture
def folder(model_folder, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(model_folder, tmp_path / "model")


def outputs(model):
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return model.decoder(model.encode(images), torch.full((2, 1, 4), 5))[0]


@pytest.mark.parametrize("kind", ["show_tell", "show_attend_tell"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_save_and_load_give_equal_output(tmp_path, kind, cell):
    model = tiny_model(kind, cell)
    model.info = {"metrics": {"cider_d": 1.5}, "data": "shapes"}
    model.save_pretrained(tmp_path)
    loaded = CaptionModel.from_pretrained(tmp_path)
    assert torch.equal(outputs(loaded), outputs(model))
    assert loaded.encoder.preprocess == model.encoder.preprocess
    assert loaded.vocabulary.words == model.vocabulary.words
    assert loaded.info == model.info
    assert "cider_d" in (tmp_path / "README.md").read_text()
    assert not loaded.training


def test_an_encoder_from_a_package_is_named_not_stored(tmp_path):
    sizes = DecoderConfig("show_tell", "gru", 8, 8, 8, 8, concepts=0)
    model = CaptionModel(Encoder.pretrained(image_size=64).freeze(), sizes, Vocabulary(["a", "b"]), 4).eval()
    model.save_pretrained(tmp_path)
    assert not any(name.startswith("encoder.") for name in load_file(tmp_path / "model.safetensors"))
    assert (tmp_path / "model.safetensors").stat().st_size < 100_000
    assert torch.equal(outputs(CaptionModel.from_pretrained(tmp_path)), outputs(model))
    config = json.loads((tmp_path / "config.json").read_text())
    config["encoder_weights"]["fingerprint"] = "0" * 64
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="other weights than the model was trained on"):
        CaptionModel.from_pretrained(tmp_path)


def test_half_is_half_as_large_and_as_good(tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path / "full")
    before = outputs(model)
    model.save_half(tmp_path / "half")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.6 * sizes[1]
    torch.testing.assert_close(
        outputs(CaptionModel.from_pretrained(tmp_path / "half")), before, atol=0.01, rtol=0.01
    )


def test_a_run_folder_stands_for_its_best_model(model_folder, tmp_path):
    shutil.copytree(model_folder, tmp_path / "run" / "best")
    assert CaptionModel.from_pretrained(tmp_path / "run").config.decoder == "show_attend_tell"


def alter(folder):
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)


def edit(key, value):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        config[key] = value
        (folder / "config.json").write_text(json.dumps(config))

    return change


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def only_a_pickle(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))


def other_tensors(folder):
    import hashlib

    save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
    edit("weights_sha256", hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda f: (f / "config.json").write_text("{"), "not the config"),
        (lambda f: (f / "config.json").write_text("[]"), "not the config"),
        (alter, "altered or damaged"),
        (lambda f: (f / "model.safetensors").write_bytes(b"short"), "no safetensors file"),
        (lambda f: (f / "model.safetensors").write_bytes(pickle.dumps(Evil())), "a pickle, which is refused"),
        (only_a_pickle, "pytorch_model.bin is a pickle and is refused"),
        (other_tensors, "do not belong together"),
        (edit("task", "ocr"), "a model for ocr, not for captioning"),
        (edit("format", 99), "upgrade visionrnn"),
        (edit("architecture", {}), "not the config of this model"),
    ],
)
def test_a_damaged_folder_is_refused(folder, damage, message, capsys):
    damage(folder)
    with pytest.raises(ModelError, match=message) as error:
        CaptionModel.from_pretrained(folder)
    assert str(folder) in str(error.value)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["flickr9k", "./gone", "a/b/c", "nobody/nothing"])
def test_an_unknown_name_lists_what_there_is(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelNotFoundError, match="give one of the models that come along"):
        CaptionModel.from_pretrained(name)


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(ModelError, match="not a folder"):
        CaptionModel.from_pretrained(tmp_path / "a.txt")


BUNDLED = [
    (CaptionModel, "cider_d"),
    (Recognizer, "case_insensitive"),
    (SegmentationModel, "mean_iou"),
    (VideoModel, "top_1"),
    (VqaModel, "accuracy"),
]


@pytest.mark.parametrize(
    ("kind", "metric", "name"), [(kind, metric, name) for kind, metric in BUNDLED for name in kind.bundled()]
)
def test_every_bundled_model_loads_and_is_small(kind, metric, name):
    model = kind.from_pretrained(name)
    assert model.info["metrics"][metric] > 0
    folder = kind.bundled()[name]
    assert (folder / "model.safetensors").stat().st_size <= 12 * 2**20
    assert "## Limits" in (folder / "README.md").read_text()
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_every_task_but_forecasting_brings_a_model():
    assert all(kind.bundled() for kind, _ in BUNDLED)


def test_matrices_of_integers_come_back_nearly_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr("common.pretrained._LARGE", 64)
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.save_half(tmp_path / "half")
    model.save_half(tmp_path / "int8", int8=True)
    stored = load_file(tmp_path / "int8" / "model.safetensors")
    assert stored["decoder.project.weight"].dtype == torch.int8
    assert stored["decoder.output_bias"].dtype == torch.float16
    loaded = CaptionModel.from_pretrained(tmp_path / "int8").state_dict()
    for name, tensor in before.items():
        if tensor.is_floating_point():
            step = tensor.abs().max() / 127
            torch.testing.assert_close(loaded[name], tensor, atol=float(step), rtol=1e-2)
    assert model.state_dict()["decoder.project.weight"].dtype == torch.float32
