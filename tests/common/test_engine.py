"""What holds for the graphs of every task."""

import hashlib
import io
import json
import os
import shutil
import warnings

import numpy as np
import pytest
import torch

from captioning import Captioner
from common import engine
from common.engine import Graph, GraphModel
from common.errors import ModelError, VisionWarning
from common.export import export
from common.model_folder import read_config
from forecasting import Forecaster
from forecasting.config import ForecastConfig, Scaler
from forecasting.model import ForecastModel
from language import Writer
from ocr import TextReader
from segmentation import Segmenter
from speech import Transcriber
from tests.conftest import shape_picture, tiny_model
from tests.language.conftest import tiny_language_model
from tests.ocr.conftest import tiny_recognizer
from tests.segmentation.conftest import tiny_segmenter
from tests.speech.conftest import tiny_speech
from tests.translation.conftest import tiny_translator
from tests.video.conftest import tiny_classifier
from tests.vqa.conftest import tiny_answerer
from translation import Translator
from video import ActionClassifier
from vqa import Answerer


def tiny_forecaster():
    torch.manual_seed(0)
    model = ForecastModel(ForecastConfig(window=12, horizon=3, hidden_size=8), Scaler("none", (0.0,), (1.0,)))
    torch.nn.init.normal_(model.output.weight)
    return model.eval()


TASKS = {
    "captioning": (Captioner, tiny_model),
    "ocr": (TextReader, tiny_recognizer),
    "speech": (Transcriber, tiny_speech),
    "segmentation": (Segmenter, tiny_segmenter),
    "video": (ActionClassifier, tiny_classifier),
    "vqa": (Answerer, tiny_answerer),
    "forecasting": (Forecaster, tiny_forecaster),
    "language": (Writer, tiny_language_model),
    "translation": (Translator, tiny_translator),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of each task's exported model, and of the same without graphs."""
    root, done = tmp_path_factory.mktemp("exported"), set()

    def folder(task):
        if task not in done:
            model = TASKS[task][1]()
            model.save_pretrained(root / task / "plain")
            export(type(model), root / task / "plain", root / task / "graphs")
            done.add(task)
        return root / task / "graphs", root / task / "plain"

    return folder


@pytest.mark.parametrize("task", TASKS)
def test_a_model_with_graphs_runs_on_them_and_one_without_on_torch(exported, task):
    kind, (graphs, plain) = TASKS[task][0], exported(task)
    with warnings.catch_warnings():
        warnings.simplefilter("error", VisionWarning)
        found = kind.from_pretrained(graphs)
    assert isinstance(found.model, GraphModel)
    on_torch = kind.from_pretrained(graphs, engine="torch")
    assert not isinstance(on_torch.model, GraphModel)
    assert found.parameters == on_torch.parameters
    with pytest.warns(VisionWarning, match="has no graphs; visionrnn export"):
        assert not isinstance(kind.from_pretrained(plain).model, GraphModel)
    with pytest.raises(ModelError, match="has no graphs"):
        kind.from_pretrained(plain, engine="graph")


@pytest.mark.parametrize("task", TASKS)
def test_export_in_place_and_again_changes_nothing(exported, task):
    kind, (graphs, _) = TASKS[task][0], exported(task)
    before = {file.name: file.read_bytes() for file in graphs.iterdir()}
    export(kind.torch_class(), graphs)
    assert {file.name: file.read_bytes() for file in graphs.iterdir()} == before


def _other_bytes(folder):
    file = next(folder.glob("*.xml"))
    file.write_bytes(file.read_bytes().replace(b"f32", b"f16", 1))


def _other_version(folder):
    config = json.loads((folder / "config.json").read_text())
    config["graphs"]["format"] += 1
    (folder / "config.json").write_text(json.dumps(config))


DAMAGES = [
    (_other_bytes, r"\.xml: altered or damaged"),
    (lambda folder: (folder / "graphs.bin").write_bytes(b"x"), r"graphs\.bin: altered or damaged"),
    (lambda folder: next(folder.glob("*.xml")).unlink(), r"\.xml is missing"),
    (_other_version, "graphs of format 2, this version reads 1"),
]


@pytest.mark.parametrize("task", TASKS)
def test_damaged_graphs_are_refused_in_one_line(exported, tmp_path, task):
    kind, (graphs, _) = TASKS[task][0], exported(task)
    for i, (damage, message) in enumerate(DAMAGES):
        copy = shutil.copytree(graphs, tmp_path / str(i))
        damage(copy)
        with pytest.raises(ModelError, match=message) as error:
            kind.from_pretrained(copy)
        assert "\n" not in str(error.value)
        assert str(copy) in str(error.value)


@pytest.mark.parametrize("task", TASKS)
def test_the_graphs_of_another_model_are_refused(exported, tmp_path, task):
    kind, (graphs, _) = TASKS[task][0], exported(task)
    copy = shutil.copytree(graphs, tmp_path / "copy")
    other = exported("ocr" if task != "ocr" else "vqa")[0]
    shutil.copy(next(other.glob("*.xml")), next(copy.glob("*.xml")))
    with pytest.raises(ModelError, match=r"\.xml: altered or damaged"):
        kind.from_pretrained(copy)


def test_numbers_of_weights_are_whole(exported):
    facts = json.loads((exported("vqa")[0] / "config.json").read_text())["graphs"]
    assert facts["parameters"] == sum(p.numel() for p in tiny_answerer().parameters())
    assert np.prod(facts["grid"]) > 0


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The compiled graphs that are kept, and how many were compiled since it was last asked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compiled = []
    keep = engine._keep
    monkeypatch.setattr(engine, "_keep", lambda *args: (compiled.append(args), keep(*args)))

    def files():
        count = len(compiled)
        compiled.clear()
        return sorted((tmp_path / "cache" / "visionrnn" / "graphs").iterdir()), count

    return files


def _answers(folder):
    answerer = Answerer.from_pretrained(folder, precision="fp32")
    return answerer.answer(shape_picture("red", "square"), "what colour is the square?").top


def test_a_graph_is_compiled_once(exported, kept, tmp_path):
    first = _answers(exported("vqa")[0])
    files, compiled = kept()
    assert len(files) == compiled > 0
    assert _answers(exported("vqa")[0]) == first
    assert kept() == (files, 0)

    other = tiny_answerer()  # the same graphs, other weights
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    other.save_pretrained(tmp_path / "other")
    export(type(other), tmp_path / "other")
    assert _answers(tmp_path / "other") != first
    assert kept()[1] == compiled


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:40] + b"x" + b[41:], lambda b: b""])
def test_a_damaged_compiled_graph_is_compiled_again(exported, kept, damage):
    first = _answers(exported("vqa")[0])
    files, compiled = kept()
    for file in files:
        file.write_bytes(damage(file.read_bytes()))
    assert _answers(exported("vqa")[0]) == first
    assert kept() == (files, compiled)
    assert _answers(exported("vqa")[0]) == first
    assert kept() == (files, 0)


def test_what_this_openvino_does_not_read_is_compiled_again(exported, kept):
    first = _answers(exported("vqa")[0])
    files, compiled = kept()
    content = b"of another version"
    for file in files:
        file.write_bytes(hashlib.sha256(content).digest() + content)
    assert _answers(exported("vqa")[0]) == first
    assert kept() == (files, compiled)


def test_the_compiled_graphs_used_last_are_kept(exported, kept, monkeypatch):
    _answers(exported("vqa")[0])
    old = kept()[0]
    for age, file in enumerate(old):
        os.utime(file, (1000 - age, 1000 - age))
    _answers(exported("vqa")[0])  # reads them all, so that they are new again
    assert all(file.stat().st_mtime > 1000 for file in old)
    for age, file in enumerate(old):
        os.utime(file, (1000 - age, 1000 - age))
    engine._keep("new", _Exported(b"new"))
    new = old[0].parent / "new"
    monkeypatch.setattr(engine, "_MOST_KEPT", new.stat().st_size + old[0].stat().st_size)
    engine._keep("new", _Exported(b"new"))
    assert set(kept()[0]) == {new, old[0]}


class _Exported:
    """What is kept of a compiled model."""

    def __init__(self, content):
        self.content = content

    def export_model(self):
        return io.BytesIO(self.content)


def test_without_a_place_for_compiled_graphs_all_runs(exported, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert _answers(exported("vqa")[0])


class _Counted:
    """What `Graph` uses of a compiled model; counts how often memory was given back."""

    outputs = (None,)

    def __init__(self):
        self.released = 0

    def create_infer_request(self):
        return self

    def infer(self, inputs, share_inputs):
        self.data = inputs[0] * 2

    def get_output_tensor(self, _):
        return self

    def release_memory(self):
        self.released += 1


def test_the_memory_of_a_huge_input_is_given_back_after_smaller_ones():
    compiled = _Counted()
    graph, small = Graph(compiled), np.ones(10, np.float32)
    for _ in range(50):
        graph(small)
    graph(np.ones(1000, np.float32))
    for _ in range(15):
        graph(small)
    graph(np.ones(300, np.float32))  # large ones still come
    for _ in range(15):
        graph(small)
    assert [compiled.released] == [0]
    np.testing.assert_array_equal(graph(small)[0], 2 * small)
    assert compiled.released == 1
    for _ in range(50):
        graph(small)
    assert compiled.released == 1


@pytest.mark.parametrize(
    "folder",
    [f for kind, _ in TASKS.values() for f in kind.graph_class.bundled().values()],
    ids=lambda f: f.name,
)
def test_models_that_come_along_have_their_graphs(folder):
    config = read_config(folder)
    assert "graphs" in config, f"visionrnn export {folder} makes them anew"
    for name, digest in config["graphs"]["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
