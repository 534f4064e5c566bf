import copy
import hashlib
import json
import os
import pickle
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from captioning.model import CaptionModel, DecoderConfig
from common.encoder import Encoder
from common.errors import ModelError, ModelNotFoundError
from common.model_folder import read_weights
from common.ngrams import CharacterNgrams
from common.text import Vocabulary
from forecasting.config import ForecastConfig, Scaler
from forecasting.model import ForecastModel
from ocr.finder import LineFinder
from ocr.model import Recognizer
from segmentation.model import SegmentationModel
from tests.conftest import shape_picture, tiny_model
from tests.ocr.conftest import tiny_recognizer
from tests.segmentation.conftest import tiny_segmenter
from tests.video.conftest import tiny_classifier
from tests.vqa.conftest import tiny_answerer
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
    card = ModelCard.load(tmp_path / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("visionrnn", "image-to-text")
    assert [(r.metric_type, r.metric_value) for r in card.data.eval_results] == [("cider_d", 1.5)]
    assert "cider_d" in card.text
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
        (lambda f: (f / "config.json").write_text("[" * 200_000), "not the config"),
        (edit("architecture", {"a": 1e400}), "not the config"),
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


def weights(change):
    """Damage that changes the tensors, with the SHA-256 that then is right."""

    def damage(folder):
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")
        digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        edit("weights_sha256", digest)(folder)

    return damage


def swap(name, value):
    """Another tensor of this name, or the old one changed by a function."""

    def change(tensors):
        tensors[name] = value(tensors[name]) if callable(value) else value

    return weights(change)


BIAS = "decoder.output_bias"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (swap(BIAS, lambda t: t * torch.nan), "1 tensors hold NaN or infinity, first 'decoder.output_bias'"),
        (swap(BIAS, lambda t: t / 0), "NaN or infinity"),
        (swap(BIAS, lambda t: t.long()), "decoder.output_bias is I64"),
        (swap(BIAS, lambda t: t.double()), "decoder.output_bias is F64"),
        (swap(BIAS, lambda t: t.to(torch.int8)), "decoder.output_bias is I8"),
        (swap("decoder.project.weight", lambda t: t.to(torch.int8)), "decoder.project.weight is I8"),
        (swap(BIAS, lambda t: t[:-1]), r"do not belong together \(decoder.output_bias is F32"),
        (swap("more", torch.zeros(1)), "'more' is not of the network"),
        (weights(lambda tensors: tensors.pop(BIAS)), "decoder.output_bias is nothing"),
    ],
)
def test_tensors_of_other_types_shapes_and_values_are_refused(folder, damage, message):
    damage(folder)
    with pytest.raises(ModelError, match=message):
        CaptionModel.from_pretrained(folder)


def deep(config, path, value):
    *keys, last = path.split(".")
    for key in keys:
        config = config[key]
    config[last] = value


def largest_memory():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])  # KiB


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *[("decoder.hidden_size", v) for v in (10**9, 20_000, -1, 0, "512", 1.5, None, [1], True, 10**400)],
        *[("max_length", v) for v in (10**9, -3, 0, 2.0, "8")],
        *[("decoder.dropout", v) for v in (-0.5, 2, "0.5", None)],
        *[("decoder.concepts", v) for v in (-1, 10**9)],
        ("decoder.tags", 10**9),
        ("decoder.cell", "lstm2"),
        ("decoder.decoder", ["show_tell"]),
        ("decoder.more", 1),
        ("decoder", None),
        ("more", 1),
        ("vocabulary", [1, 2]),
        ("vocabulary", ["a", "\ud800"]),
        ("vocabulary", ["a", "a"]),
        ("vocabulary", "abc"),
        *[("encoder", v) for v in (None, 5, "", "no_such", "hf-hub:evil/model", "local-dir:/tmp", "*[")],
        ("encoder", "eva_giant_patch14_560"),
        *[("preprocess.height", v) for v in (0, 10**6, "224")],
        ("preprocess.std", [0, 1, 1]),
        ("preprocess.std", [1, 1]),
        ("preprocess.interpolation", "worst"),
    ],
)
def test_values_of_other_types_and_ranges_are_refused_before_anything_is_allocated(
    folder, path, value, monkeypatch
):
    config = json.loads((folder / "config.json").read_text())
    deep(config["architecture"], path, value)
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("asks the network"))
    monkeypatch.setattr("common.pretrained.load_safetensors", lambda *_: pytest.fail("reads the weights"))
    Path("/proc/self/clear_refs").write_text("5")  # the largest memory so far is counted from here on
    before = largest_memory()
    with pytest.raises(ModelError) as error:
        CaptionModel.from_pretrained(folder)
    assert str(folder) in str(error.value)
    assert largest_memory() - before < 200_000  # KiB


def tiny_forecaster():
    config = ForecastConfig(window=6, horizon=2, hidden_size=4, quantiles=(0.1, 0.9))
    return ForecastModel(config, Scaler("none", (0.0,), (1.0,)))


@pytest.mark.parametrize(
    ("kind", "make", "path", "values"),
    [
        (Recognizer, tiny_recognizer, "height", (0, -1, 10**6, None)),
        (Recognizer, tiny_recognizer, "layers", (0, 10**6)),
        (Recognizer, tiny_recognizer, "ngrams", (10**12, 10**6, -1, "x")),
        (Recognizer, tiny_recognizer, "charset", ("", "aa", "\ud800b", 5)),
        (Recognizer, tiny_recognizer, "encoder", ("hf-hub:a/b", "local-dir:/", None)),
        (ForecastModel, tiny_forecaster, "model.window", (0, 10**9)),
        (ForecastModel, tiny_forecaster, "model.quantiles", ([2.0], [None], 1)),
        (ForecastModel, tiny_forecaster, "scaler.std", ([0.0], [], [1.0, 1.0], ["1"])),
        (SegmentationModel, tiny_segmenter, "network.width", (6, 0, 10**6)),
        (SegmentationModel, tiny_segmenter, "network.stride", (0, 3, "16")),
        (SegmentationModel, tiny_segmenter, "classes", ([], "sky", [1])),
        (VideoModel, tiny_classifier, "network.streams", ([], ["flow"] * 9, ["x"], "flow")),
        (VideoModel, tiny_classifier, "network.frames", (0, 10**9)),
        (VideoModel, tiny_classifier, "clip_seconds", (0, -1.0, None, 1e300)),
        (VqaModel, tiny_answerer, "network.hops", (0, 10**6)),
        (VqaModel, tiny_answerer, "answers", ([], [1])),
    ],
)
def test_every_task_checks_its_config(tmp_path, kind, make, path, values):
    make().save_pretrained(tmp_path)
    kind.from_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for value in values:
        altered = copy.deepcopy(config)
        deep(altered["architecture"], path, value)
        (tmp_path / "config.json").write_text(json.dumps(altered))
        with pytest.raises(ModelError):
            kind.from_pretrained(tmp_path)


def test_numbers_in_tensors_that_stand_for_nothing_are_refused(tmp_path):
    tiny_model(concepts=4).save_pretrained(tmp_path / "caption")
    swap("classifier.words", lambda t: t + 10_000)(tmp_path / "caption")
    with pytest.raises(ModelError, match="words that the vocabulary lacks"):
        CaptionModel.from_pretrained(tmp_path / "caption")
    reader = tiny_recognizer()
    reader.language_model = CharacterNgrams.of(["cat", "dog"], reader.charset)
    reader.save_pretrained(tmp_path / "ocr")
    swap("language_model.counts", lambda t: -t)(tmp_path / "ocr")
    with pytest.raises(ModelError, match="less than once"):
        Recognizer.from_pretrained(tmp_path / "ocr")


def huge(path):
    path.touch()
    os.truncate(path, 3 * 2**30)


def replaced(name, make):
    def damage(folder):
        (folder / name).unlink()
        make(folder / name)

    return damage


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "not a file"),
        (Path.mkdir, "not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "a link out of the folder"),
        (lambda path: path.symlink_to("/etc/passwd"), "a link out of the folder"),
        (lambda path: path.symlink_to("../other"), "a link out of the folder"),
        (lambda path: path.symlink_to(path.name), "not a file"),
        (huge, "bytes, expected at most"),
    ],
)
def test_what_is_no_file_of_the_folder_is_refused(folder, name, make, message):
    replaced(name, make)(folder)
    with pytest.raises(ModelError, match=message):
        CaptionModel.from_pretrained(folder)


def test_links_within_the_folder_or_the_hubs_cache_and_to_the_folder_are_followed(folder, tmp_path):
    snapshot = tmp_path / "models--user--name" / "snapshots" / "1a2b"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "blobs").mkdir()
    for i, file in enumerate(sorted(folder.iterdir())):
        shutil.copy(file, snapshot.parents[1] / "blobs" / str(i))
        (snapshot / file.name).symlink_to(f"../../blobs/{i}")
    CaptionModel.from_pretrained(snapshot)
    (folder / "model.safetensors").rename(folder / "a")
    (folder / "model.safetensors").symlink_to("a")
    (tmp_path / "link").symlink_to(folder)
    CaptionModel.from_pretrained(tmp_path / "link")


def hub_of(folder, monkeypatch, fetched, sizes=None):
    """A hub with one model, whose files have the sizes that are given, or those of `folder`."""
    sizes = sizes or {file.name: file.stat().st_size for file in folder.iterdir()}
    files = [SimpleNamespace(rfilename=name, size=size) for name, size in sizes.items()]
    monkeypatch.setattr(
        "huggingface_hub.HfApi.model_info", lambda *_, **__: SimpleNamespace(sha="0" * 40, siblings=files)
    )
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: fetched.append(name) or folder)


@pytest.mark.parametrize(
    ("file", "size"), [("model.safetensors", 2**40), ("step.xml", 2**30), ("config.json", None)]
)
def test_a_file_too_large_is_not_fetched_from_the_hub(file, size, model_folder, monkeypatch):
    fetched = []
    hub_of(model_folder, monkeypatch, fetched, {"config.json": 900, "video.mp4": 2**40, file: size})
    with pytest.raises(ModelError, match=f"hub:user/name: {file} has .* bytes, expected at most"):
        CaptionModel.from_pretrained("hub:user/name")
    assert not fetched


def test_without_a_network_a_model_of_the_hubs_cache_serves(model_folder, monkeypatch):
    asked = {}
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda name, **options: asked.update(options) or model_folder
    )
    CaptionModel.from_pretrained("hub:user/name")
    assert asked["local_files_only"]


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("runs/mine", None),
        ("here/mine", None),
        ("./user/name", None),
        ("../name", None),
        ("user/", None),
        ("hub:name", None),
        ("hub:a/b/c", None),
        ("user/name", "user/name"),
        ("hub:user/name", "user/name"),
        ("hub:runs/mine", "runs/mine"),
        ("hub:here/mine", "here/mine"),
    ],
)
def test_a_path_that_does_not_exist_is_never_asked_for_on_the_hub(
    name, asked, model_folder, tmp_path, monkeypatch
):
    names = []
    hub_of(model_folder, monkeypatch, names)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    if asked:
        CaptionModel.from_pretrained(name)
    else:
        with pytest.raises(ModelNotFoundError):
            CaptionModel.from_pretrained(name)
    assert names == ([asked] if asked else [])


def test_escapes_in_a_vocabulary_do_not_reach_the_terminal(tmp_path, script):
    model = tiny_model()
    model.vocabulary = Vocabulary([f"\x1b[3{i % 8}m{w}" for i, w in enumerate(model.vocabulary.to_list())])
    with torch.no_grad():
        model.decoder.output_bias[2] = -100  # it says something
    model.save_pretrained(tmp_path / "model")
    shape_picture("red", "square").save(tmp_path / "a.png")
    result = script("caption.py", tmp_path / "a.png", "--model", tmp_path / "model", "--device", "cpu")
    assert result.code == 0
    assert "\\x1b[3" in result.out
    assert "\x1b" not in result.out + result.err


def test_the_model_before_is_found_where_a_run_was_killed_between_two_renames(model_folder, tmp_path):
    shutil.copytree(model_folder, tmp_path / "run" / "best.old")
    (tmp_path / "run" / "last.ckpt").write_bytes(pickle.dumps(Evil()))
    assert CaptionModel.from_pretrained(tmp_path / "run").config.decoder == "show_attend_tell"


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
    (LineFinder, "f1"),
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
    folder = kind.bundled()[name]
    card = (folder / "README.md").read_text()
    assert (folder / "model.safetensors").stat().st_size <= 25 * 2**20
    assert "## Limits" in card
    if "metrics" in model.info:
        assert model.info["metrics"][metric] > 0
    else:  # trained on all there is
        assert "nothing is left to score this model on" in card
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


@pytest.mark.parametrize("first", [b"PK", b"\x80\x02", b"\x80\x04"])
def test_a_header_whose_length_begins_as_a_pickle_does_is_none(tmp_path, first):
    length = int.from_bytes(first, "little")
    tensor = b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
    content = length.to_bytes(8, "little") + tensor.ljust(length) + bytes(4)
    (tmp_path / "model.safetensors").write_bytes(content)
    assert content.startswith(first)
    assert read_weights(tmp_path, {"weights_sha256": hashlib.sha256(content).hexdigest()}) == content
