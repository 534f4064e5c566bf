import pytest
import torch

from common.errors import ModelError, UsageError
from common.export import export
from common.ngrams import CharacterNgrams
from speech.model import ModelStream, SpeechModel
from tests.speech.conftest import TEXTS, learn, tiny_speech

KINDS = [
    {},
    {"cell": "gru", "layers": 1},
    {"unidirectional": True, "look_ahead": 6},
    {"unidirectional": True, "look_ahead": 0, "cell": "rnn"},
    {"bands": 18},
]


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_gradients(kind):
    model = tiny_speech(**kind).train()
    logits, steps = model(torch.randn(2, 50, model.config.bands), torch.tensor([50, 33]))
    assert logits.shape == (2, 13, 6)
    assert steps.tolist() == [13, 9]
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind):
    model = tiny_speech(**kind)
    lengths = torch.tensor([90, 41, 1, 64])
    frames = 20 * torch.randn(4, 100, model.config.bands)  # of any value behind the clips
    with torch.inference_mode():
        together, steps = model(frames, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone, _ = model(frames[row : row + 1, :length])
            assert alone.shape[1] == steps[row]
            torch.testing.assert_close(together[row, : steps[row]], alone[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.get("unidirectional")])
@pytest.mark.parametrize("size", [1, 7, 30, 200])
@pytest.mark.parametrize("count", [1, 3, 133])
def test_a_stream_gives_what_the_whole_gives(kind, size, count):
    model = tiny_speech(**kind)
    frames = torch.randn(count, model.config.bands) * 3 - 6
    stream = model.stream()
    parts = [stream.push(frames[i : i + size]) for i in range(0, count, size)]
    found = torch.cat([*parts, stream.end()])
    with torch.inference_mode():
        whole, _ = model(frames[None])
    torch.testing.assert_close(found, whole[0], atol=1e-5, rtol=1e-4)


def test_a_bidirectional_model_has_no_stream():
    with pytest.raises(UsageError, match="--unidirectional"):
        ModelStream(tiny_speech())


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[2]])
def test_clips_can_be_learnt(kind, tmp_path):
    model = tiny_speech(**{**kind, "hidden_size": 48, "layers": 1})
    before = learn(model, tmp_path, 1)
    assert learn(model, tmp_path, 80) < 0.5 * before


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_it_says_the_same(tmp_path, kind):
    model = tiny_speech(**kind)
    model.language_model = CharacterNgrams.of(TEXTS, model.charset)
    frames = torch.randn(1, 44, model.config.bands)
    model.save_pretrained(tmp_path / "whole")
    with torch.inference_mode():
        before = model(frames)[0]
        after = SpeechModel.from_pretrained(tmp_path / "whole")
        assert torch.equal(before, after(frames)[0])
    assert after.architecture() == model.architecture()
    assert after.language_model.log_prob("a", "d") == model.language_model.log_prob("a", "d")
    model.save_half(tmp_path / "half")
    with torch.inference_mode():
        half = SpeechModel.from_pretrained(tmp_path / "half")(frames)[0]
    assert torch.allclose(before, half, atol=0.05)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_graphs_give_what_torch_gives(tmp_path, kind):
    tiny_speech(**kind).save_pretrained(tmp_path)
    export(SpeechModel, tmp_path)  # compares them
    assert (tmp_path / "read.xml").is_file()


def test_wrong_sizes_are_refused(tmp_path):
    tiny_speech().save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"bands": 20', '"bands": 24'))
    with pytest.raises(ModelError, match="do not belong together"):
        SpeechModel.from_pretrained(tmp_path)
