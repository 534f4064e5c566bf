"""Captions by the engine are those of torch."""

import json
from itertools import product

import numpy as np
import pytest

from captioning import Captioner
from captioning.model import DECODERS, CaptionModel
from captioning.on_graphs import OnGraphs
from common.errors import ModelError, UsageError, VisionWarning
from common.export import export
from tests.conftest import by_threads, shape_picture, tiny_model

KINDS = [
    (kind, cell, concepts, score)
    for kind, (cell, concepts, score) in product(
        DECODERS, [("lstm", 3, "dot"), ("gru", 0, "additive"), ("rnn", 3, "additive")]
    )
    if kind != "att2in" or cell == "lstm"
]


def exported(folder, kind="between", cell="lstm", concepts=3, score="dot", half=False):
    model = tiny_model(kind, cell=cell, concepts=concepts, score=score)
    if half:
        model.save_half(folder, int8=True)
    else:
        model.save_pretrained(folder)
    export(CaptionModel, folder)
    return folder


@pytest.fixture(scope="module")
def pictures():
    return [
        shape_picture(c, s, seed=i) for i, (c, s) in enumerate([("red", "circle"), ("blue", "square")] * 3)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("exported"))


@pytest.mark.parametrize(("kind", "cell", "concepts", "score"), KINDS)
def test_every_decoder_says_on_the_engine_what_it_says_on_torch(
    tmp_path, pictures, kind, cell, concepts, score
):
    exported(tmp_path, kind, cell, concepts, score)
    graph = Captioner.from_pretrained(tmp_path, "cpu", "fp32")
    torch_ = Captioner.from_pretrained(tmp_path, "cpu", "fp32", engine="torch")
    assert isinstance(graph.model, OnGraphs)
    for size in (1, 3):
        ours, theirs = (c.caption(pictures, beam_size=size, batch_size=4) for c in (graph, torch_))
        assert [c.tokens for c in ours] == [c.tokens for c in theirs]
        assert [c.log_prob for c in ours] == pytest.approx([c.log_prob for c in theirs], abs=1e-3)
    if kind != "show_tell":
        maps = [c.attention(pictures[0], ours[0]) for c in (graph, torch_)]
        np.testing.assert_allclose(maps[0], maps[1], atol=1e-4)
    assert graph.parameters == torch_.parameters
    assert len(graph.sample(pictures[0], 2)) == 2


def test_weights_are_stored_once_also_in_half_precision(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr("common.pretrained._LARGE", 64)
    exported(tmp_path, half=True)
    size = (tmp_path / "model.safetensors").stat().st_size
    assert (tmp_path / "graphs.bin").stat().st_size < size / 20
    ours, theirs = (
        Captioner.from_pretrained(tmp_path, "cpu", "fp32", engine=engine).caption(pictures)
        for engine in ("graph", "torch")
    )
    assert [c.tokens for c in ours] == [c.tokens for c in theirs]


def test_several_models_on_the_engine(folder, tmp_path, pictures):
    alone = Captioner.from_pretrained(folder, "cpu", "fp32").caption(pictures)
    captioner = Captioner.from_pretrained([folder, folder], "cpu", "fp32")
    assert [c.text for c in captioner.caption(pictures)] == [c.text for c in alone]
    tiny_model("between", concepts=3, score="dot").save_pretrained(tmp_path / "other")
    with pytest.warns(VisionWarning, match=r"other has no graphs; visionrnn export"):
        mixed = Captioner.from_pretrained([folder, tmp_path / "other"], "cpu", "fp32")
    assert not isinstance(mixed.model, OnGraphs)
    assert len(mixed.caption(pictures[:1])) == 1


def test_the_engine_is_chosen_by_name(folder, tmp_path):
    tiny_model().save_pretrained(tmp_path / "plain")
    with pytest.raises(ModelError, match="has no graphs"):
        Captioner.from_pretrained(tmp_path / "plain", engine="graph")
    with pytest.raises(UsageError, match="expected auto, graph or torch"):
        Captioner.from_pretrained(folder, engine="onnx")
    with pytest.raises(UsageError, match="graphs run on the CPU"):
        Captioner.from_pretrained(folder, "cuda", engine="graph")


def edit(change):
    def damage(folder):
        config = json.loads((folder / "config.json").read_text())
        change(config)
        (folder / "config.json").write_text(json.dumps(config))

    return damage


def swapped(folder):
    (folder / "step.xml").write_bytes((folder / "look.xml").read_bytes())


def unknown_operator(folder):
    import hashlib

    text = (folder / "look.xml").read_text().replace('type="Transpose"', 'type="Warp"')
    (folder / "look.xml").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    edit(lambda config: config["graphs"]["files"].update({"look.xml": digest}))(folder)


def out_of_bounds(folder):
    import hashlib
    import re

    text = (folder / "look.xml").read_text()
    text = re.sub(r'offset="\d+" size', 'offset="99999999999" size', text, count=1)
    (folder / "look.xml").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    edit(lambda config: config["graphs"]["files"].update({"look.xml": digest}))(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "look.xml").unlink(), r"look\.xml is missing"),
        (lambda f: (f / "graphs.bin").write_bytes(b"x"), r"graphs\.bin: altered or damaged"),
        (lambda f: (f / "look.xml").write_bytes(b"<net"), r"look\.xml: altered or damaged"),
        (swapped, r"step\.xml: altered or damaged"),
        (lambda f: (f / "model.safetensors").write_bytes(b"short"), "no safetensors file"),
        (edit(lambda c: c["graphs"].update(format=2)), "graphs of format 2, this version reads 1"),
        (edit(lambda c: c["graphs"]["files"].pop("step.xml")), "has no graph 'step'"),
        (edit(lambda c: c.update(graphs="yes")), "lists no graphs"),
        (edit(lambda c: c["graphs"].pop("grid")), "not the config of this model"),
        (unknown_operator, "OpenVINO .* cannot run it"),
        (out_of_bounds, "OpenVINO .* cannot run it"),
    ],
)
def test_a_damaged_graph_is_refused_in_one_line(folder, tmp_path, damage, message):
    import shutil

    shutil.copytree(folder, tmp_path / "copy")
    damage(tmp_path / "copy")
    with pytest.raises(ModelError, match=message) as error:
        Captioner.from_pretrained(tmp_path / "copy")
    assert "\n" not in str(error.value)
    assert str(tmp_path / "copy") in str(error.value)


def test_what_differs_is_not_written(tmp_path, monkeypatch):
    tiny_model().save_pretrained(tmp_path)
    from common import export as module

    real = module._compare

    def wrong(name, found, part, inputs):
        real(name, [each + 0.1 for each in found], part, inputs)

    monkeypatch.setattr(module, "_compare", wrong)
    with pytest.raises(ModelError, match="gives other values than torch"):
        export(CaptionModel, tmp_path)
    assert not [path.name for path in tmp_path.iterdir() if path.suffix in (".xml", ".bin")]
    assert "graphs" not in json.loads((tmp_path / "config.json").read_text())


def test_a_cpu_without_avx2_is_told(folder, monkeypatch):
    monkeypatch.setattr("common.engine._has_avx", lambda: False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    with pytest.raises(ModelError, match="no AVX2"):
        Captioner.from_pretrained(folder)


@pytest.mark.parametrize("engine", ["graph", "torch"])
def test_threads_that_share_a_captioner_say_what_one_says(folder, pictures, engine):
    captioner = Captioner.from_pretrained(folder, "cpu", "fp32", engine=engine)
    alone, together = by_threads(
        lambda part: captioner.caption(part, beam_size=3), [pictures[:4], pictures[3:]], 8
    )
    for expected, found in zip(alone, together, strict=True):
        assert [c.text for c in found] == [c.text for c in expected]
        assert [c.log_prob for c in found] == pytest.approx([c.log_prob for c in expected], abs=1e-4)
    maps = by_threads(lambda picture: captioner.attention(picture, alone[0][0]), pictures)
    assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(*maps, strict=True))
