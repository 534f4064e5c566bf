import json

import numpy as np
import pytest
import torch

from common.errors import ModelError
from common.export import export
from common.recurrent import drop_weights
from language.model import LanguageModel, VariationalDropout
from language.neurons import activations
from language.writer import Writer
from tests.conftest import by_threads
from tests.language.conftest import small_text, tiny_language_model

CELLS = ("lstm", "gru", "rnn")


def codes(model, rows=2, steps=9):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(2, len(model.alphabet), (rows, steps), generator=generator)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tied", [False, True])
def test_shape_and_gradient(cell, tied):
    model = tiny_language_model(cell=cell, tied=tied).train()
    logits, state = model(codes(model))
    assert logits.shape == (2, 9, len(model.alphabet))
    assert [part.hidden.shape for part in state] == [(2, 12), (2, 6 if tied else 12)]
    logits.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("cell", CELLS)
def test_the_state_is_carried_and_one_equals_many(cell):
    model = tiny_language_model(cell=cell)
    given = codes(model)
    whole, last = model(given)
    first, state = model(given[:, :4])
    second, after = model(given[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    for one, other in zip(last, after, strict=True):
        torch.testing.assert_close(one.hidden, other.hidden)
    torch.testing.assert_close(model(given[:1])[0], whole[:1])


def test_what_comes_later_changes_nothing():
    model = tiny_language_model()
    given = codes(model)
    other = given.clone()
    other[:, 5:] = 2
    assert torch.equal(model(given)[0][:, :5], model(other)[0][:, :5])


@pytest.mark.parametrize("cell", CELLS)
def test_weight_dropout_is_of_training_alone_and_the_same_at_all_steps(cell):
    model = tiny_language_model(cell=cell, input_dropout=0.0, dropout=0.0, weight_dropout=0.5)
    given = codes(model, rows=1)
    assert torch.equal(model(given)[0], model(given)[0])
    model.train()
    torch.manual_seed(0)
    one = model(given)[0]
    assert not torch.allclose(one, model(given)[0])
    torch.manual_seed(0)
    layers = model.layers
    for layer in layers:  # the same, by hand
        with torch.no_grad():
            weight = layer.layer.weight_hh_l0
            weight.copy_(drop_weights(weight, 0.5))
    torch.testing.assert_close(model.eval()(given)[0], one)


def test_variational_dropout_has_one_mask_for_all_steps():
    values = VariationalDropout(0.5).train()(torch.ones(3, 7, 40))
    assert set(values.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(values, values[:, :1].expand_as(values))
    assert not torch.equal(values[0], values[1])
    assert torch.equal(VariationalDropout(0.5).eval()(values), values)


@pytest.mark.parametrize("unit", ["characters", "words"])
@pytest.mark.parametrize("tied", [False, True])
def test_save_and_load_give_equal_output(tmp_path, unit, tied):
    model = tiny_language_model(unit=unit, tied=tied)
    model.save_pretrained(tmp_path)
    again = LanguageModel.from_pretrained(tmp_path)
    assert again.alphabet.units == model.alphabet.units
    assert torch.equal(again(codes(model))[0], model(codes(model))[0])


def test_one_batch_can_be_learnt():
    model = tiny_language_model(hidden_size=32, input_dropout=0.0, dropout=0.0, weight_dropout=0.0).train()
    given = codes(model, rows=2, steps=12)
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    for _ in range(150):
        loss = torch.nn.functional.cross_entropy(
            model(given[:, :-1])[0].flatten(0, 1), given[:, 1:].flatten()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_numpy_steps_equal_the_network():
    for cell in CELLS:
        for tied in (False, True):
            model = tiny_language_model(cell=cell, tied=tied, layers=3)
            given = codes(model)
            expected = model(given)[0].detach().numpy()
            steps = Writer(model, "cpu", "fp32").network.steps
            many = [[part.numpy() for part in layer] for layer in model.start(2)]
            one = [[part[0].numpy() for part in layer] for layer in model.start(1)]
            for t in range(given.shape[1]):
                np.testing.assert_allclose(steps(given[:, t].numpy(), many), expected[:, t], atol=1e-5)
                np.testing.assert_allclose(steps(int(given[0, t]), one), expected[0, t], atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_steps_with_weights_of_8_bits_are_near(cell):
    model = tiny_language_model(cell=cell, hidden_size=64, embedding_size=32)
    given = codes(model, rows=1, steps=30)
    expected = model(given)[0][0].log_softmax(dim=-1)
    steps, state = (
        Writer(model, "cpu", "bf16").network.steps,
        [[p[0].numpy() for p in s] for s in model.start(1)],
    )
    differences = []
    for t, code in enumerate(given[0].tolist()):
        found = torch.from_numpy(steps(code, state)).log_softmax(dim=-1)
        differences.append(float((expected[t] - found).abs().max()))
    assert 0 < max(differences) < 0.05
    many = [[p.numpy() for p in s] for s in model.start(3)]
    assert steps(given[0, :3].numpy(), many).shape == (3, len(model.alphabet))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": ["a", "bc"]}, "not one character"),
        ({"units": ["a", "a"]}, "twice"),
        ({"units": []}, "at least 1"),
        ({"sizes": {"cell": "lsmt"}}, "expected one of lstm, gru, rnn"),
        ({"sizes": {"layers": 1000}}, "must be at most 16"),
        ({"units": None}, "expected a list"),
    ],
)
def test_a_strangers_config_is_refused(tmp_path, change, message):
    model = tiny_language_model()
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["architecture"] |= change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        LanguageModel.from_pretrained(tmp_path)


def test_threads_that_share_a_writer_write_what_one_writes():
    writer = Writer(tiny_language_model(), "cpu", "fp32")
    alone, together = by_threads(lambda seed: writer.write("The king", 40, seed=seed), range(8))
    assert alone == together


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tied", [False, True])
def test_on_the_engine_it_reads_and_writes_as_on_torch(tmp_path, monkeypatch, cell, tied):
    monkeypatch.setattr("common.pretrained._LARGE", 64)
    tiny_language_model(cell=cell, tied=tied, layers=3).save_half(tmp_path, int8=True)
    export(LanguageModel, tmp_path)
    graph, on_torch = (Writer.from_pretrained(tmp_path, "cpu", "fp32", engine=e) for e in ("graph", "torch"))
    assert graph.write("The king", 60, seed=1) == on_torch.write("The king", 60, seed=1)
    codes = graph.model.alphabet.encode(small_text(20))
    nats = [np.concatenate(list(writer.nats_each(codes))) for writer in (graph, on_torch)]
    np.testing.assert_allclose(*nats, atol=1e-3)
    found, expected = (activations(writer, small_text(20)) for writer in (graph, on_torch))
    assert np.abs(found.astype(int) - expected).max() <= 1
