import math
from itertools import product

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from captioning.captioner import sources
from captioning.concepts import Seen
from captioning.model import DECODERS, AttendingDecoder, CaptionModel, DecoderConfig
from captioning.on_torch import OnTorch
from common.encoder import Encoder
from common.search import BANNED, reorder
from common.text import BOS, EOS, PAD, UNK, Vocabulary
from tests.conftest import CONCEPTS, TINY_ENCODER, tiny_model

KINDS = pytest.mark.parametrize(
    ("kind", "concepts", "score"),
    [
        (kind, concepts, score)
        for kind, concepts, score in product(DECODERS, (0, 3), ("additive", "dot"))
        if score == "additive" or issubclass(DECODERS[kind], AttendingDecoder)
    ],
)
CELLS = pytest.mark.parametrize(
    ("kind", "cell"),
    [(k, c) for k in DECODERS for c in ("lstm", "gru", "rnn") if k != "att2in" or c == "lstm"],
)
CONCEPT_COUNTS = pytest.mark.parametrize("concepts", [0, 3])


def batch(model, images=3, captions=2, steps=5):
    """What is seen of random grids, with `CONCEPTS` in them, and random tokens."""
    generator = torch.Generator().manual_seed(1)
    grid = torch.rand(images, 4, model.encoder.out_channels, generator=generator)
    tokens = torch.randint(4, len(model.vocabulary), (images, captions, steps), generator=generator)
    tokens[..., 0] = BOS
    return with_concepts(model, grid), tokens


def with_concepts(model, grid):
    words = torch.tensor(model.vocabulary.encode(CONCEPTS[: model.config.concepts]), dtype=torch.long)
    scores = torch.tensor([0.8, 0.5, 0.1])[: model.config.concepts]
    return Seen(grid, words.expand(len(grid), -1), scores.expand(len(grid), -1))


def rows(seen, chosen):
    return Seen(*(field[chosen] for field in seen))


@CELLS
@CONCEPT_COUNTS
def test_teacher_forcing_equals_the_loop_over_step(kind, cell, concepts):
    model = tiny_model(kind, cell, concepts=concepts)
    seen, tokens = batch(model)
    check_teacher_forcing(model.decoder, seen, tokens)


@KINDS
def test_teacher_forcing_equals_the_loop_for_every_score(kind, concepts, score):
    model = tiny_model(kind, concepts=concepts, score=score)
    check_teacher_forcing(model.decoder, *batch(model))


def check_teacher_forcing(decoder, seen, tokens):
    logits, weights = decoder(seen, tokens)
    places = 4 + decoder.concepts if isinstance(decoder, AttendingDecoder) else 0
    assert logits.shape == (3, 2, 5, len(decoder.embedding.weight))
    assert weights.shape == (3, 2, 5, places)
    memory = decoder.remember(seen)
    state = decoder.init_state(memory)
    state = reorder(state, torch.tensor([0, 0, 1, 1, 2, 2]))
    for t in range(5):
        step_logits, state = decoder.step(tokens[..., t].flatten(), state, memory)
        torch.testing.assert_close(step_logits.view(3, 2, -1), logits[:, :, t])


@CELLS
@CONCEPT_COUNTS
def test_every_parameter_gets_a_finite_gradient(kind, cell, concepts):
    model = tiny_model(kind, cell, concepts=concepts, score="dot" if cell == "gru" else "additive")
    seen, tokens = batch(model)
    decoder = model.decoder
    memory = decoder.remember(seen)
    output, _ = decoder.unroll(memory, tokens[..., :-1])
    decoder.loss(output.flatten(1, 2), memory, tokens[..., 1:].flatten(1)).backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@KINDS
def test_the_loss_is_cross_entropy_of_the_logits(kind, concepts, score):
    model = tiny_model(kind, concepts=concepts, score=score)
    decoder = model.decoder
    seen, tokens = batch(model)
    tokens[0, 1, 3:] = PAD
    advantage = torch.tensor([[1.0, -0.5], [0.2, 0.0], [3.0, 1.0]])
    memory = decoder.remember(seen)
    output, _ = decoder.unroll(memory, tokens[..., :-1])
    targets = tokens[..., 1:]
    each = advantage[..., None].expand_as(targets).flatten(1)
    logits, _ = decoder(seen, tokens[..., :-1])
    logits, chosen = logits.flatten(0, 2), targets.flatten()
    found = decoder.loss(output.flatten(1, 2), memory, targets.flatten(1), 0.1)
    smoothed = F.cross_entropy(logits, chosen, ignore_index=PAD, reduction="sum", label_smoothing=0.1)
    torch.testing.assert_close(found, smoothed)
    found = decoder.loss(output.flatten(1, 2), memory, targets.flatten(1), advantage=each)
    logits[:, list(BANNED)] = -1e4  # what was drawn is judged by the probabilities of drawing
    loss = F.cross_entropy(logits, chosen, ignore_index=PAD, reduction="none")
    torch.testing.assert_close(found, (loss * each.flatten())[chosen != PAD].sum())


@KINDS
def test_padding_and_neighbours_change_nothing(kind, concepts, score):
    model = tiny_model(kind, concepts=concepts, score=score)
    seen, tokens = batch(model)
    together, _ = model.decoder(seen, tokens)
    padded = torch.cat([tokens, torch.full((3, 2, 4), PAD)], dim=-1)
    torch.testing.assert_close(model.decoder(seen, padded)[0][:, :, :5], together)
    for n in range(3):
        for k in range(2):
            alone, _ = model.decoder(rows(seen, [n]), tokens[n : n + 1, k : k + 1])
            torch.testing.assert_close(alone[0, 0], together[n, k])


@pytest.mark.parametrize(
    ("kind", "cell", "concepts", "score"),
    [(k, "lstm", 3, "dot") for k in DECODERS]
    + [(k, c, 0, "additive") for k in DECODERS for c in ("gru", "rnn") if k != "att2in"],
)
def test_one_batch_can_be_learnt_by_heart(kind, cell, concepts, score):
    model = tiny_model(kind, cell, concepts=concepts, score=score)
    decoder = model.decoder.train()
    seen, tokens = batch(model, captions=1)  # two captions of one picture could not both be certain
    learn(decoder, seen, tokens)
    logits, _ = decoder(seen, tokens[..., :-1])
    assert F.cross_entropy(logits.flatten(0, 2), tokens[..., 1:].flatten()) < 0.1
    assert (logits.argmax(-1) == tokens[..., 1:]).all()


def learn(decoder, seen, tokens, steps=150):
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.01)
    for _ in range(steps):
        memory = decoder.remember(seen)
        output, _ = decoder.unroll(memory, tokens[..., :-1])
        loss = decoder.loss(output.flatten(1, 2), memory, tokens[..., 1:].flatten(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@KINDS
def test_sampled_words_take_the_place_of_tokens(kind, concepts, score):
    model = tiny_model(kind, concepts=concepts, score=score)
    seen, tokens = batch(model)
    torch.manual_seed(0)
    forced, sampled = model.decoder(seen, tokens)[0], model.decoder(seen, tokens, sampled=1.0)[0]
    torch.testing.assert_close(sampled[:, :, 0], forced[:, :, 0])  # the begin is always read
    assert not torch.allclose(sampled, forced)


@pytest.mark.parametrize("kind", [k for k in DECODERS if k != "show_tell"])
@pytest.mark.parametrize("score", ["additive", "dot"])
@CONCEPT_COUNTS
def test_attention_weights_are_distributions_that_depend_on_the_picture(kind, score, concepts):
    model = tiny_model(kind, concepts=concepts, score=score)
    seen, tokens = batch(model)
    _, weights = model.decoder(seen, tokens)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 5))
    assert not torch.allclose(weights[0], weights[1])


@KINDS
def test_the_picture_matters(kind, concepts, score):
    model = tiny_model(kind, concepts=concepts, score=score)
    seen, tokens = batch(model)
    logits = model.decoder(seen, tokens)[0]
    assert not torch.allclose(logits, model.decoder(seen._replace(grid=2 * seen.grid), tokens)[0])
    if concepts:
        assert not torch.allclose(logits, model.decoder(seen._replace(scores=seen.scores / 2), tokens)[0])
        other = seen._replace(words=seen.words.flip(1))
        assert not torch.allclose(logits, model.decoder(other, tokens)[0])


@pytest.mark.parametrize("kind", DECODERS)
def test_a_copied_concept_raises_its_own_word_and_its_plural_alone(kind):
    model = tiny_model(kind, concepts=3)
    decoder = model.decoder
    memory = decoder.remember(batch(model)[0])
    output = torch.randn(3, 2, 16)
    copies = torch.zeros_like(memory.copies)
    copies[:, 1] = output[:, 0]  # the first row says the second concept, "cat"
    copies[:, 3] = output[:, 0]  # and the plural of the first, "dogs"
    logits = decoder.logits(output, memory._replace(copies=copies)).view(3, 2, -1)
    plain = decoder.logits(output, memory._replace(copies=torch.zeros_like(copies))).view(3, 2, -1)
    cat, dogs = model.vocabulary.encode(["cat", "dogs"])
    gained = (logits - plain)[:, 0]
    expected = (output[:, 0] ** 2).sum(-1)
    torch.testing.assert_close(gained[:, cat], expected)
    torch.testing.assert_close(gained[:, dogs], expected)
    others = [i for i in range(len(model.vocabulary)) if i not in (cat, dogs)]
    assert not gained[:, others].any()


@pytest.mark.parametrize("kind", DECODERS)
def test_without_a_concept_nothing_is_copied(kind):
    """Slots of a picture where nothing is recognised are `PAD`; they raise no word."""
    model = tiny_model(kind, concepts=3)
    seen, tokens = batch(model)
    nothing = seen._replace(words=torch.full_like(seen.words, PAD), scores=torch.zeros_like(seen.scores))
    memory = model.decoder.remember(nothing)
    output, _ = model.decoder.unroll(memory, tokens)
    logits = model.decoder.logits(output.flatten(1, 2), memory)
    plain = F.linear(output, model.decoder.embedding.weight, model.decoder.output_bias).flatten(0, 2)
    torch.testing.assert_close(logits[:, 1:], plain[:, 1:])


@pytest.mark.parametrize(
    ("kind", "score", "concepts"),
    [("between", "dot", 3), ("between", "additive", 0), ("show_attend_tell", "additive", 3),
     ("att2in", "dot", 3), ("updown", "dot", 0)],
)  # fmt: skip
def test_sources_point_at_the_place_that_explains_the_word(kind, score, concepts):
    """One place of each grid carries a direction that stands for a word; the others are noise."""
    model = tiny_model(kind, concepts=concepts, score=score)
    decoder = model.decoder.train()
    names = model.vocabulary.encode(["red", "green", "blue", "yellow"])
    generator = torch.Generator().manual_seed(1)
    grid = 0.05 * torch.rand(16, 4, model.encoder.out_channels, generator=generator)
    places, said = torch.arange(16) // 4, torch.arange(16) % 4
    for n in range(16):
        grid[n, places[n], said[n]] += 3.0
    seen = with_concepts(model, grid)
    tokens = torch.tensor([[[BOS, names[i], EOS]] for i in said.tolist()])
    learn(decoder, seen, tokens)
    decoder.eval()
    memory = decoder.remember(seen)
    member = OnTorch(model, torch.device("cpu"), "fp32")
    right = 0
    for n in range(16):
        one = type(memory)(*(field[n : n + 1] for field in memory))
        state = decoder.init_state(one)
        found = sources(member, one, state, [names[said[n]], EOS])
        assert found.shape == (2, 4 + concepts)
        np.testing.assert_allclose(found.sum(-1), np.ones(2), rtol=1e-5)
        grid = sources(member, one, state, [names[said[n]], EOS], among=4)
        np.testing.assert_allclose(grid, found[:, :4] / found[:, :4].sum(-1, keepdims=True), rtol=1e-4)
        right += int(found[0].argmax() == places[n])
    assert right >= 12  # chance is 4
    assert sources(member, one, state, []).shape == (0, 4 + concepts)
    assert sources(member, one, state, [], among=4).shape == (0, 4)


@CONCEPT_COUNTS
def test_with_vocabulary_keeps_what_is_known(concepts):
    model = tiny_model("between", concepts=concepts)
    model.info = {"data": "shapes"}
    with torch.no_grad():
        model.decoder.output_bias.copy_(torch.linspace(-2, 2, len(model.vocabulary)))
    new = Vocabulary(["wug", *reversed(model.vocabulary.to_list()), "horse"])
    grown = model.with_vocabulary(new)
    old, kept = model.vocabulary.words, new.encode(model.vocabulary.words[4:])
    kept = [0, 1, 2, 3, *kept]
    assert UNK not in kept[4:]
    assert torch.equal(grown.decoder.embedding.weight[kept], model.decoder.embedding.weight)
    assert torch.equal(grown.decoder.output_bias[kept], model.decoder.output_bias)
    added = new.encode(["wug", "horse"])
    assert (grown.decoder.output_bias[added] == -2).all()
    assert not torch.equal(*grown.decoder.embedding.weight[added])
    assert (grown.info, grown.training) == (model.info, model.training)
    # what was said of a picture before is said of it still
    images = torch.rand(2, 3, 64, 64)
    tokens = torch.randint(4, len(old), (2, 1, 5))
    before, _ = model.decoder(model.encode(images), tokens)
    after, _ = grown.decoder(grown.encode(images), torch.tensor(kept)[tokens])
    if not concepts:  # with them, the classifier may now find a horse in place of another word
        torch.testing.assert_close(after[..., kept], before)
        return
    seen = model.encode(images)
    same = seen._replace(words=torch.tensor(kept)[seen.words])
    after, _ = grown.decoder(same, torch.tensor(kept)[tokens])
    torch.testing.assert_close(after[..., kept], before)
    assert (grown.classifier.words == new.index("horse")).any()
    assert torch.equal(grown.classifier.weight, model.classifier.weight)


def test_with_vocabulary_keeps_the_tags_that_it_knows():
    config = DecoderConfig("between", "lstm", 32, 16, 24, 8, concepts=3, tags=3)
    words = Vocabulary(["run", "dog", "jump"])
    model = CaptionModel(Encoder(TINY_ENCODER, 64).freeze(), config, words, 8).eval()
    model.classifier.tags.copy_(torch.tensor(words.encode(["jump", "run", "dog"])))
    model.classifier.tag_bias.copy_(torch.tensor([2.0, 1.0, 0.0]))
    new = Vocabulary(["wug", "dog", "jump"])
    grown = model.with_vocabulary(new)
    assert grown.classifier.tags.tolist() == [new.index("jump"), PAD, new.index("dog")]
    (seen,) = grown.encode(torch.rand(1, 3, 64, 64)).words.tolist()
    assert new.decode(seen) == ["jump", "dog"]
    assert seen[2] == PAD


def test_with_vocabulary_may_know_nothing_of_the_old_words():
    model = tiny_model("between", concepts=3)
    other = model.with_vocabulary(Vocabulary(["un", "chat"]))
    assert torch.equal(other.decoder.embedding.weight[:4], model.decoder.embedding.weight[:4])
    seen = other.encode(torch.rand(2, 3, 64, 64))
    assert not seen.words.any()
    logits, _ = other.decoder(seen, torch.tensor([[[BOS, 4, 5]]] * 2))
    assert logits.shape == (2, 1, 3, 6)
    assert logits.isfinite().all()


@CONCEPT_COUNTS
def test_a_model_comes_back_from_its_folder(tmp_path, concepts):
    model = tiny_model("between", concepts=concepts, score="dot")
    model.save_pretrained(tmp_path)
    again = CaptionModel.from_pretrained(tmp_path)
    images, tokens = torch.rand(2, 3, 64, 64), torch.full((2, 1, 3), 5)
    seen, same = model.encode(images), again.encode(images)
    assert all(torch.equal(a, b) for a, b in zip(seen, same, strict=True))
    assert seen.words.shape == (2, concepts)
    torch.testing.assert_close(model.decoder(seen, tokens)[0], again.decoder(same, tokens)[0])


def test_the_encoder_is_frozen_in_training():
    model = tiny_model(concepts=3).train()
    assert model.decoder.training
    assert not model.encoder.training
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad} == {"decoder"}


def test_an_unknown_decoder_is_refused():
    with pytest.raises(ValueError, match="expected one of show_attend_tell, show_tell"):
        CaptionModel(Encoder(TINY_ENCODER), DecoderConfig("show_and_tell"), Vocabulary(["a"]), 4)


@pytest.mark.parametrize(
    ("kind", "cell"),
    [(k, c) for k in DECODERS for c in ("lstm", "gru") if k != "att2in" or c == "lstm"],
)
def test_an_untrained_decoder_prefers_no_word(kind, cell):
    """Its output layer shares the embedding's weights: the word before must not come back for that alone."""
    torch.manual_seed(0)
    sizes = DecoderConfig(kind, cell, 64, 256, 64, 32, 0.0, concepts=0)
    decoder = DECODERS[kind](sizes, 8, 200).eval()
    none = torch.zeros(3, 0)
    seen = Seen(torch.rand(3, 4, 8), none.long(), none)
    tokens = torch.randint(4, 200, (3, 2, 6))
    loss = F.cross_entropy(decoder(seen, tokens)[0].flatten(0, 2), tokens.roll(1, -1).flatten())
    assert abs(loss.item() - math.log(200)) < 1
