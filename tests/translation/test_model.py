import pytest
import torch
from torch.nn import functional as F

from common.errors import ModelError, UsageError
from tests.translation.conftest import learn, sentence_pairs, tiny_translator
from translation.data import PairDataset, collate
from translation.model import StoredSubwords, TranslationModel

KINDS = [
    {"attention": attention, "input_feeding": feeding, "cell": cell, "bidirectional": both}
    for attention, feeding, cell, both in (
        ("dot", False, "lstm", True), ("dot", True, "lstm", True), ("additive", False, "gru", True),
        ("additive", True, "rnn", False), ("none", False, "lstm", False), ("none", True, "gru", True),
        ("dot", False, "rnn", True), ("none", False, "rnn", True),
    )
]  # fmt: skip


def batch_of(model, count=5):
    dataset = PairDataset(sentence_pairs(count), model.source, model.target)
    return collate([dataset[i] for i in range(count)])


@pytest.mark.parametrize("kind", KINDS)
def test_forward_equals_the_loop_over_step(kind):
    model = tiny_translator(**kind)
    batch = batch_of(model)
    network = model.network
    with torch.inference_mode():
        logits = model(batch.source, batch.target)
        memory = network.remember(batch.source)
        state = network.init_state(memory)
        for t in range(batch.target.shape[1]):
            step, state = network.step(batch.target[:, t], state, memory)
            assert torch.allclose(step, logits[:, t], atol=1e-5)
    assert logits.shape == (*batch.target.shape, len(model.target))


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_has_a_finite_gradient(kind):
    model = tiny_translator(**kind).train()
    batch = batch_of(model)
    loss, tokens = model.network.loss(batch.source, batch.target, 0.1)
    (loss / tokens).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind):
    model = tiny_translator(**kind)
    batch = batch_of(model)
    with torch.inference_mode():
        wider = F.pad(batch.source, (0, 7))
        together, weights = model.network(wider, batch.target)
        for row in range(len(batch.source)):
            source = batch.source[row][batch.source[row] != 0][None]
            target = batch.target[row][batch.target[row] != 0][None]
            alone = model(source, target)
            assert torch.allclose(together[row, : target.shape[1]], alone[0], atol=1e-5)
    if kind["attention"] == "none":
        assert weights.shape[2] == 0
    else:
        assert torch.allclose(weights.sum(dim=2), torch.ones(weights.shape[:2]), atol=1e-5)
        assert (weights[(wider == 0)[:, None].expand_as(weights)] == 0).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_the_cross_entropy(smoothing):
    model = tiny_translator()
    batch = batch_of(model)
    loss, tokens = model.network.loss(batch.source, batch.target, smoothing)
    logits, targets = model(batch.source, batch.target[:, :-1]).flatten(0, 1), batch.target[:, 1:].flatten()
    wanted = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing, ignore_index=0)
    assert tokens == (targets != 0).sum()
    assert torch.allclose(loss, wanted, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS[:5])
def test_a_batch_can_be_learnt(kind):
    model = tiny_translator(**kind)
    before = learn(model, sentence_pairs(4), 1)
    assert learn(model, sentence_pairs(4), 80, 0.005) < 0.3 * before


@pytest.mark.parametrize("half", [False, True])
def test_saved_and_loaded_it_says_the_same(tmp_path, half):
    model = tiny_translator(hidden_size=160 if half else 64)
    batch = batch_of(model)
    with torch.inference_mode():
        before = model(batch.source, batch.target)
    if half:
        model.save_half(tmp_path, int8=True)
    else:
        model.save_pretrained(tmp_path)
    loaded = TranslationModel.from_pretrained(tmp_path)
    with torch.inference_mode():
        after = loaded(batch.source, batch.target)
    assert torch.allclose(before, after, atol=0.05) if half else torch.equal(before, after)
    assert loaded.architecture() == model.architecture()
    assert loaded.source.encode("A red dog.") == model.source.encode("A red dog.")
    assert loaded.target.decode(loaded.target.encode("ein grüner Kater")) == "ein grüner Kater"


def test_damaged_subwords_are_an_error(tmp_path):
    model = tiny_translator()
    model.source.data[::3] = 255
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="subwords"):
        TranslationModel.from_pretrained(tmp_path)


def test_subwords_spell_any_text_of_their_characters():
    subwords = StoredSubwords.build(["a red dog", "cafe\u0301"], 40)
    assert subwords.decode(subwords.encode("  red\tcafé dog ")) == "red café dog"
    assert 3 in subwords.encode("犬")
    assert subwords.encode("") == []


def test_too_few_subwords_are_refused():
    with pytest.raises(UsageError, match="--subwords 8: "):
        StoredSubwords.build(["a red dog sees green trees"], 8)


def test_more_subwords_than_there_are_is_no_error():
    assert 4 < len(StoredSubwords.build(["a red dog"], 4000)) < 100
