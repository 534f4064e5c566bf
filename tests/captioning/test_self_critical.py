from types import SimpleNamespace

import numpy as np
import pytest
import torch

from captioning.data import CaptionBatch, CaptionedImage
from captioning.metrics import CiderD
from captioning.self_critical import SelfCriticalSystem
from common.sampling import draw
from common.search import BANNED
from common.text import BOS, EOS, UNK, tokenize
from tests.conftest import shape_captions, tiny_model

IMAGES = [
    CaptionedImage(i, f"{i}.png", tuple(shape_captions(colour, shape)))
    for i, (colour, shape) in enumerate([("red", "circle"), ("blue", "square"), ("green", "circle")])
]


@pytest.fixture
def system(monkeypatch):
    def build(baseline, kind="updown", concepts=0):
        config = SimpleNamespace(learning_rate=1e-3, epochs=1)
        system = SelfCriticalSystem(
            IMAGES, baseline, 2, tiny_model(kind, concepts=concepts), config, IMAGES, 0.1
        )
        monkeypatch.setattr(system, "log", lambda *_, **__: None)
        system.on_train_epoch_start()
        return system

    return build


@pytest.mark.parametrize(
    ("baseline", "kind", "concepts"), [("mean", "updown", 0), ("greedy", "updown", 3), ("mean", "between", 3)]
)
def test_a_step_favours_the_better_caption(system, monkeypatch, baseline, kind, concepts):
    system = system(baseline, kind, concepts)
    words = system.vocabulary
    good = [[*words.encode(tokenize(image.captions[0])), EOS] for image in IMAGES]
    bad = [words.encode(["there", "there"])] * 3
    drawn = [ids for pair in zip(good, bad, strict=True) for ids in pair]
    middling = [[*words.encode(["a", "red"]), EOS]] * 3
    monkeypatch.setattr(system, "_draw", lambda state, memory, t: drawn if t else middling)
    features = torch.rand(3, 4, system.decoder.project.in_features)
    batch = CaptionBatch(features, torch.zeros(3, 1, 2, dtype=torch.long), [0, 1, 2], torch.zeros(3, 0))

    def log_probs(captions):
        tokens = torch.tensor([[[BOS, *ids]] for ids in captions])
        logits, _ = system.decoder(system.see(features), tokens[..., :-1])
        chosen = logits.log_softmax(-1).gather(-1, tokens[..., 1:, None])
        return chosen.sum().item()

    before = log_probs(good), log_probs(bad)
    optimizer = torch.optim.SGD(system.decoder.parameters(), 0.05)
    for _ in range(3):
        optimizer.zero_grad()
        system.training_step(batch, 0).backward()
        optimizer.step()
    after = log_probs(good), log_probs(bad)
    assert after[0] - after[1] > before[0] - before[1]
    assert after[0] > before[0]
    assert 0 < system.reward_seconds < system.step_seconds


def test_the_loss_leaves_a_caption_out_of_its_own_baseline(system, monkeypatch):
    system = system("mean")
    system.samples = 3
    words = system.vocabulary
    texts = ["a red circle", "there is a blue square on grey", "red red"] * 3
    drawn = [[*words.encode(text.split()), EOS] for text in texts]
    rewards = torch.tensor([[3.0, 1.0, 0.5], [0.0, 2.0, 1.0], [1.0, 1.0, 4.0]])
    monkeypatch.setattr(system, "_draw", lambda state, memory, t: drawn)
    monkeypatch.setattr(system, "_rewards", lambda ids, captions: rewards.flatten())
    features = torch.rand(3, 4, system.decoder.project.in_features)
    batch = CaptionBatch(features, torch.zeros(3, 1, 2, dtype=torch.long), [0, 1, 2], torch.zeros(3, 0))
    loss = system.training_step(batch, 0).item()
    system.decoder.eval()
    expected = 0.0
    for row, ids in enumerate(drawn):
        image, caption = divmod(row, 3)
        tokens = torch.tensor([[[BOS, *ids]]])
        seen = system.see(features[image : image + 1])
        logits, _ = system.decoder(seen, tokens[..., :-1])
        logits[..., list(BANNED)] = -torch.inf
        log_prob = logits.log_softmax(-1).gather(-1, tokens[..., 1:, None]).sum().item()
        others = [rewards[image, k].item() for k in range(3) if k != caption]
        expected -= (rewards[image, caption].item() - sum(others) / 2) * log_prob
    assert loss == pytest.approx(expected / sum(map(len, drawn)), rel=1e-4)


def test_what_is_trained_is_the_probability_of_what_was_drawn(system, monkeypatch):
    """Otherwise pushing drawn words down raises those that are never drawn, until nothing else is left."""
    system = system("mean", concepts=3)
    features = torch.rand(3, 4, system.decoder.project.in_features)
    batch = CaptionBatch(features, torch.zeros(3, 1, 2, dtype=torch.long), [0, 1, 2], torch.zeros(3, 0))
    with torch.no_grad():
        system.decoder.output_bias[UNK] += 3
    sampled = []

    def keep(*args, **options):
        sampled.extend(draw(*args, **options))
        return sampled

    monkeypatch.setattr("captioning.self_critical.draw", keep)
    monkeypatch.setattr(system, "_rewards", lambda ids, _: torch.tensor([1.0, 0.0]).repeat(len(ids) // 2))
    loss = system.training_step(batch, 0)
    sign = torch.tensor([1.0, -1.0] * 3)  # the better of two, and the other
    words = sum(len(h.tokens) + h.finished for h in sampled)
    log_probs = torch.tensor([h.log_prob for h in sampled])
    assert loss.item() == pytest.approx(-(sign * log_probs).sum().item() / words, rel=1e-3)
    loss.backward()
    assert not system.decoder.output_bias.grad[list(BANNED)].any()


def test_rewards_are_cider_d_of_the_image_meant(system):
    system = system("mean")
    ids = [[*system.vocabulary.encode(tokenize(IMAGES[i].captions[1])), EOS] for i in (2, 0)]
    references = [[[*tokenize(c), "<end>"] for c in image.captions] for image in IMAGES]
    own = [[*tokenize(IMAGES[i].captions[1]), "<end>"] for i in (0, 1, 2)]
    expected = CiderD(references).scores(own)
    np.testing.assert_allclose(system._rewards([2, 0], ids).numpy(), expected[[2, 0]], rtol=1e-5)
    cut = system._rewards([2], [ids[0][:-1]])
    assert cut < expected[2]


def test_all_that_a_step_needs_moves_with_the_system(system):
    system = system("mean", concepts=3).to("meta")
    assert system.see.__self__.classifier.weight.is_meta
    assert all(tensor.is_meta for tensor in system.decoder.state_dict().values())


def test_a_step_has_no_dropout_but_rnns_in_training_mode(system, monkeypatch):
    system = system("mean", "between", concepts=3)
    modes = {}

    def note(*_, **__):
        modes.update({type(module): module.training for module in system.decoder.modules()})
        raise StopIteration

    monkeypatch.setattr(system, "_draw", note)
    features = torch.rand(3, 4, system.decoder.project.in_features)
    with pytest.raises(StopIteration):
        system.training_step(
            CaptionBatch(features, torch.zeros(3, 1, 2, dtype=torch.long), [0, 1, 2], torch.zeros(3, 0)), 0
        )
    assert modes[torch.nn.LSTM]  # cuDNN goes backwards in no other
    assert not modes[torch.nn.Dropout]
