import pytest
import torch
from torch.nn import functional as F

from captioning.model import DECODERS, CaptionModel, DecoderConfig
from common.encoder import Encoder
from common.search import reorder
from common.text import BOS, PAD, Vocabulary
from tests.conftest import TINY_ENCODER, tiny_model

KINDS = pytest.mark.parametrize("kind", ["show_tell", "show_attend_tell", "att2in", "updown"])
CELLS = pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
PAIRS = pytest.mark.parametrize(
    ("kind", "cell"),
    [(k, c) for k in DECODERS for c in ("lstm", "gru", "rnn") if k != "att2in" or c == "lstm"],
)


def batch(model, images=3, captions=2, steps=5):
    generator = torch.Generator().manual_seed(1)
    features = torch.rand(images, 4, model.encoder.out_channels, generator=generator)
    tokens = torch.randint(4, len(model.vocabulary), (images, captions, steps), generator=generator)
    tokens[..., 0] = BOS
    return features, tokens


@PAIRS
def test_teacher_forcing_equals_the_loop_over_step(kind, cell):
    decoder = tiny_model(kind, cell).decoder
    features, tokens = batch(tiny_model(kind, cell))
    logits, weights = decoder(features, tokens)
    assert logits.shape == (3, 2, 5, decoder.output.out_features)
    assert weights.shape == (3, 2, 5, 0 if kind == "show_tell" else 4)
    memory = decoder.remember(features)
    state = decoder.init_state(memory)
    state = reorder(state, torch.tensor([0, 0, 1, 1, 2, 2]))
    for t in range(5):
        step_logits, state = decoder.step(tokens[..., t].flatten(), state, memory)
        torch.testing.assert_close(step_logits.view(3, 2, -1), logits[:, :, t])


@PAIRS
def test_every_parameter_gets_a_finite_gradient(kind, cell):
    model = tiny_model(kind, cell)
    features, tokens = batch(model)
    model.decoder(features, tokens)[0].logsumexp(-1).mean().backward()
    for name, parameter in model.decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@KINDS
def test_padding_and_neighbours_change_nothing(kind):
    model = tiny_model(kind)
    features, tokens = batch(model)
    together, _ = model.decoder(features, tokens)
    padded = torch.cat([tokens, torch.full((3, 2, 4), PAD)], dim=-1)
    torch.testing.assert_close(model.decoder(features, padded)[0][:, :, :5], together)
    for n in range(3):
        for k in range(2):
            alone, _ = model.decoder(features[n : n + 1], tokens[n : n + 1, k : k + 1])
            torch.testing.assert_close(alone[0, 0], together[n, k])


@PAIRS
def test_one_batch_can_be_learnt_by_heart(kind, cell):
    model = tiny_model(kind, cell)
    decoder = model.decoder.train()
    features, tokens = batch(model, captions=1)  # two captions of one picture could not both be certain
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.01)
    for _ in range(200):
        logits, _ = decoder(features, tokens[..., :-1])
        loss = F.cross_entropy(logits.flatten(0, 2), tokens[..., 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    assert (logits.argmax(-1) == tokens[..., 1:]).all()


def test_attention_weights_are_distributions_that_depend_on_the_picture():
    model = tiny_model()
    features, tokens = batch(model)
    _, weights = model.decoder(features, tokens)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 5))
    assert not torch.allclose(weights[0], weights[1])


@KINDS
def test_the_picture_matters(kind):
    model = tiny_model(kind)
    features, tokens = batch(model)
    assert not torch.allclose(model.decoder(features, tokens)[0], model.decoder(features * 2, tokens)[0])


def test_the_encoder_is_frozen_in_training():
    model = tiny_model().train()
    assert model.decoder.training
    assert not model.encoder.training
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad} == {"decoder"}


def test_an_unknown_decoder_is_refused():
    with pytest.raises(ValueError, match="expected one of show_attend_tell, show_tell"):
        CaptionModel(Encoder(TINY_ENCODER), DecoderConfig("show_and_tell"), Vocabulary(["a"]), 4)
