import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from captioning import Captioner
from common.drawing import draw_attention
from common.errors import ImageError, UsageError
from common.text import Vocabulary
from tests.conftest import shape_picture, tiny_model


@pytest.fixture(scope="module", params=[("show_attend_tell", 0, "additive"), ("between", 3, "dot")])
def folder(request, tmp_path_factory):
    """An untrained model on disk, without concepts and with them."""
    kind, concepts, score = request.param
    folder = tmp_path_factory.mktemp(kind)
    tiny_model(kind, concepts=concepts, score=score).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def captioner(folder):
    return Captioner.from_pretrained(folder, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def pictures():
    return [
        shape_picture(c, s, seed=i) for i, (c, s) in enumerate([("red", "circle"), ("blue", "square")] * 4)
    ]


def test_captions_come_in_order_and_equal_those_of_single_pictures(captioner, pictures):
    together = captioner.caption(pictures, beam_size=3, batch_size=3)
    alone = [captioner.caption([picture], beam_size=3)[0] for picture in pictures]
    assert [c.text for c in together] == [c.text for c in alone]
    assert [c.log_prob for c in together] == pytest.approx([c.log_prob for c in alone], abs=1e-4)
    assert all(str(c) == c.text and c.log_prob < 0 for c in together)


def test_n_best_are_different_and_ranked(captioner, pictures):
    (caption,) = captioner.caption(pictures[:1], beam_size=4, n_best=4)
    ranked = [caption, *caption.alternatives]
    assert len({c.text for c in ranked}) == 4
    assert caption.text == captioner.caption(pictures[:1], beam_size=4)[0].text
    assert not any(c.alternatives for c in caption.alternatives)


def test_the_log_probability_is_that_of_teacher_forcing(captioner, pictures):
    caption = captioner.caption(pictures[:1], beam_size=2)[0]
    model = captioner.model
    ids = model.vocabulary.encode(caption.tokens)
    with torch.inference_mode():
        seen = model.encode(torch.from_numpy(model.encoder.preprocess(pictures[0])).unsqueeze(0))
        logits = model.decoder(seen, torch.tensor([[[1, *ids]]]))[0][0, 0]
        logits[:, [0, 1, 3]] = -math.inf
    targets = torch.tensor([*ids, 2])[: len(logits)]
    steps = len(ids) + (len(ids) < model.max_length + 1)
    total = logits.log_softmax(-1).gather(1, targets.unsqueeze(1))[:steps].sum().item()
    assert caption.log_prob == pytest.approx(total, abs=1e-3)


def test_bf16_says_nearly_the_same(folder, pictures):
    half = Captioner.from_pretrained(folder, device="cpu", precision="bf16").caption(pictures)
    full = Captioner.from_pretrained(folder, device="cpu", precision="fp32").caption(pictures)
    assert [c.log_prob for c in half] == pytest.approx([c.log_prob for c in full], abs=0.3)


def test_a_bad_picture_raises_or_stands_in_its_place(captioner, pictures, tmp_path):
    with pytest.raises(ImageError, match=r"gone\.jpg"):
        captioner.caption([pictures[0], tmp_path / "gone.jpg"])
    found = list(captioner.caption_each([tmp_path / "gone.jpg", pictures[0]]))
    assert isinstance(found[0], ImageError)
    assert found[1].text == captioner.caption(pictures[:1])[0].text


def test_a_single_path_is_pointed_out(captioner):
    with pytest.raises(TypeError, match="takes a list"):
        captioner.caption("photo.jpg")


def test_samples_repeat_with_their_seed(captioner, pictures):
    draws = [[c.text for c in captioner.sample(pictures[0], 5, seed=seed)] for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert len({c.text for c in captioner.sample(pictures[0], 3, temperature=0)}) == 1


def test_attention_is_a_map_a_word_and_is_drawn(captioner, pictures, tmp_path):
    caption = captioner.caption(pictures[:1])[0]
    maps = captioner.attention(pictures[0], caption)
    assert maps.shape == (len(caption.tokens), 2, 2)
    np.testing.assert_allclose(maps.sum((1, 2)), np.ones(len(maps)), rtol=1e-5)
    other = replace(caption, tokens=("a", "wug", "that", "is", "red"))  # not its own, with an unknown word
    np.testing.assert_allclose(captioner.attention(pictures[0], other).sum((1, 2)), np.ones(5), rtol=1e-5)
    draw_attention(pictures[0], caption.text, caption.tokens, maps, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as drawn:
        assert drawn.width > 500
        assert len(set(drawn.convert("L").tobytes())) > 50


@pytest.mark.parametrize(("encoder", "side"), [("test_resnet", 3), ("test_convnext", 2)])
def test_attention_of_a_size_that_is_no_multiple_of_the_stride(encoder, side, pictures):
    model = tiny_model(encoder=encoder, size=72)
    captioner = Captioner(model, device="cpu", precision="fp32")
    caption = captioner.caption(pictures[:1])[0]
    maps = captioner.attention(pictures[0], caption)
    assert maps.shape == (len(caption.tokens), side, side)
    np.testing.assert_allclose(maps.sum((1, 2)), np.ones(len(maps)), rtol=1e-5)
    empty = replace(caption, text="", tokens=())
    assert captioner.attention(pictures[0], empty).shape == (0, side, side)


def test_a_decoder_without_attention_says_so(pictures):
    captioner = Captioner(tiny_model("show_tell"), device="cpu")
    with pytest.raises(ValueError, match="use show_attend_tell"):
        captioner.attention(pictures[0], captioner.caption(pictures[:1])[0])


def test_preprocessing_of_path_and_picture_is_bit_equal(captioner, tmp_path):
    shape_picture("red", "circle").save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as opened:
        from_picture = captioner.model.encoder.preprocess(opened)
    assert np.array_equal(from_picture, captioner.model.encoder.preprocess(tmp_path / "a.png"))


def test_an_ensemble_averages_probabilities(pictures):
    first, second = tiny_model("updown", concepts=3), tiny_model("between", concepts=2, score="dot")
    with torch.no_grad():
        for parameter in second.decoder.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    alone = Captioner(first, "cpu", "fp32").caption(pictures[:2])
    twice = Captioner([first, first], "cpu", "fp32").caption(pictures[:2])
    assert [c.text for c in alone] == [c.text for c in twice]
    assert [c.log_prob for c in alone] == pytest.approx([c.log_prob for c in twice], abs=1e-4)
    both = Captioner([first, second], "cpu", "fp32")
    features = both.ensemble.look(np.stack([first.encoder.preprocess(p) for p in pictures[:2]]))
    tokens, each = np.array([1, 1]), []
    memory, state = both.ensemble.remember(features)
    mean, _ = both.ensemble.step(tokens, state, memory)
    with torch.inference_mode():
        for model, one in zip((first, second), features, strict=True):
            own = model.decoder.remember(model.see(one))
            logits, _ = model.decoder.step(torch.from_numpy(tokens), model.decoder.init_state(own), own)
            each.append(logits.softmax(-1))
    torch.testing.assert_close(torch.from_numpy(mean).exp(), torch.stack(each).mean(0))
    caption = both.caption(pictures[:1])[0]
    assert both.attention(pictures[0], caption).shape[0] == len(caption.tokens)
    assert len(both.sample(pictures[0], 3)) == 3


def test_models_that_do_not_go_together_are_refused():
    other = tiny_model()
    other.vocabulary = Vocabulary(["a", "b"])
    with pytest.raises(UsageError, match="the same words"):
        Captioner([tiny_model(), other])
    wide = tiny_model()
    wide.encoder.preprocess = replace(wide.encoder.preprocess, width=96)
    with pytest.raises(UsageError, match="of the same size"):
        Captioner([tiny_model(), wide])
    with pytest.raises(UsageError, match="no model given"):
        Captioner([])


def test_a_word_that_was_copied_has_a_map_of_the_grid_too(pictures):
    """The concept explains it far better than any place: the places share what is left."""
    model = tiny_model("between", concepts=3, score="dot")
    with torch.no_grad():
        model.decoder.copy.weight.mul_(1000)
        model.decoder.deep_output.weight.mul_(100)
    captioner = Captioner(model, "cpu", "fp32")
    caption = replace(captioner.caption(pictures[:1])[0], tokens=("dog", "cat", "elephant", "dogs"))
    np.testing.assert_allclose(captioner.attention(pictures[0], caption).sum((1, 2)), np.ones(4), rtol=1e-5)
