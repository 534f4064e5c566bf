from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from common.charset import Charset
from common.errors import UsageError
from common.export import export
from common.model_folder import read_config
from common.ngrams import CharacterNgrams
from ocr.images import stack
from ocr.model import STRIDE, LineEncoder, Recognizer
from ocr.on_graphs import OnGraphs
from ocr.system import fold_case
from tests.ocr.conftest import line_picture, tiny_recognizer

ENCODERS = ["compact", "vgg", "resnet18", "test_resnet"]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_shapes_and_gradients(encoder):
    model = tiny_recognizer(encoder=encoder).train()
    lines, widths = torch.randn(2, 1, 32, 64), torch.tensor([64, 40])
    logits, steps = model(lines, widths)
    assert logits.shape == (2, 64 // STRIDE, 96)
    assert steps.tolist() == [16, 10]
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_padding_never_changes_a_result(encoder, cell):
    model = tiny_recognizer(encoder=encoder, cell=cell, layers=2)
    lines: list[Any] = [torch.randn(32, width) for width in (24, 100, 60, 16)]
    with torch.inference_mode():
        together, steps = model(*stack(lines))
        for row, line in enumerate(lines):
            alone, _ = model(*stack([line]))
            assert alone.shape[1] == steps[row]
            torch.testing.assert_close(together[row, : steps[row]], alone[0], atol=2e-5, rtol=1e-4)


def test_what_stands_in_the_padding_is_not_seen():
    model = tiny_recognizer()
    lines = torch.randn(2, 1, 32, 64)
    spoilt = lines.clone()
    spoilt[1, ..., 40:] = 99.0
    widths = torch.tensor([64, 40])
    with torch.inference_mode():
        a, b = model(lines, widths)[0], model(spoilt, widths)[0]
    torch.testing.assert_close(a[1, :10], b[1, :10])


def test_encoders_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="looks at the whole width at once"):
        LineEncoder("mobilenetv3_small_100")
    with pytest.raises(UsageError, match="expected compact, vgg or a convolutional backbone"):
        LineEncoder("no_such_net")
    with pytest.raises(UsageError, match="expected compact, vgg or a convolutional backbone"):
        LineEncoder("vit_tiny_patch16_224")


def test_save_and_load_give_equal_output(tmp_path):
    model = tiny_recognizer(Charset("abc é"), hidden_size=24)
    assert model.language_model is None
    model.language_model = CharacterNgrams.of(["cab", "bac é"], model.charset)
    model.save_half(tmp_path / "half")
    model.save_pretrained(tmp_path)
    again = Recognizer.from_pretrained(tmp_path)
    assert again.config == model.config
    assert again.charset.characters == "abc é"
    lines, widths = torch.randn(1, 1, 32, 48), torch.tensor([48])
    with torch.inference_mode():
        assert torch.equal(model(lines, widths)[0], again(lines, widths)[0])
    half = Recognizer.from_pretrained(tmp_path / "half")
    for loaded in (again, half):
        for character, before in (("a", "c"), ("é", "bac "), ("b", "é")):
            expected = model.language_model.log_prob(character, before)
            assert loaded.language_model.log_prob(character, before) == expected


def test_one_batch_can_be_learnt():
    texts = ["total", "12.50", "tea"]
    model = tiny_recognizer(hidden_size=48).train()
    lines, widths = stack([model.preprocess(line_picture(text)) for text in texts])
    targets = [model.charset.encode(text) for text in texts]
    lengths, classes = torch.tensor([len(t) for t in targets]), torch.tensor([k for t in targets for k in t])
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(140):
        logits, steps = model(lines, widths)
        loss = F.ctc_loss(logits.log_softmax(-1).transpose(0, 1), classes, steps, lengths)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.5


def test_folded_case_sums_all_spellings():
    charset = Charset("aAbB1")
    log_probs = torch.randn(2, 3, len(charset)).log_softmax(-1)
    folded = fold_case(log_probs, charset)
    torch.testing.assert_close(folded.exp().sum(-1), torch.ones(2, 3))
    capital, small = charset.encode("A")[0], charset.encode("a")[0]
    torch.testing.assert_close(folded[..., capital].exp(), log_probs[..., [capital, small]].exp().sum(-1))
    assert (folded[..., small] < -1e3).all()
    digits = Charset("12")
    assert torch.equal(fold_case(log_probs[..., :3], digits), log_probs[..., :3])


@pytest.mark.parametrize("count", [1, 3, 11])
def test_the_engine_pads_batches_to_few_shapes_and_gives_the_same(tmp_path, count):
    model = tiny_recognizer()
    model.save_pretrained(tmp_path)
    export(Recognizer, tmp_path)
    graph = OnGraphs(tmp_path, read_config(tmp_path), "fp32")
    shapes, read = set(), graph.graphs["read"]
    graph.graphs["read"] = lambda *inputs: [shapes.add(inputs[0].shape), *read(*inputs)][1:]
    random = np.random.default_rng(0)
    for widest in (64, 92, 120):
        widths = np.array([widest, *random.integers(4, widest // 4, count - 1) * 4])
        lines = random.normal(size=(count, 1, 32, widest)).astype(np.float32)
        lines *= np.arange(widest) < widths[:, None, None, None]
        found, steps = graph.log_probs(lines, widths)
        with torch.inference_mode():
            logits, expected_steps = model(torch.from_numpy(lines), torch.from_numpy(widths))
        assert steps.tolist() == expected_steps.tolist()
        for row, wanted, length in zip(found, logits.log_softmax(-1).numpy(), steps, strict=True):
            np.testing.assert_allclose(row[:length], wanted[:length], atol=1e-3)
    assert len(shapes) == 2
