import pickle
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from common.encoder import WEIGHTS_PACKAGES, Encoder
from common.errors import EncoderWeightsError, UsageError
from tests.conftest import TINY_ENCODER


@pytest.mark.parametrize(
    ("name", "side"), [("tf_efficientnet_lite0", 96), (TINY_ENCODER, 64), ("resnet18", 64)]
)
def test_contract(name, side):
    encoder = Encoder(name, side).eval()
    assert (encoder.preprocess.height, encoder.preprocess.width) == (side, side)
    features = encoder(torch.zeros(2, 3, side, side))
    assert features.shape == (2, encoder.out_channels, side // encoder.stride, side // encoder.stride)


@pytest.mark.parametrize("name", [TINY_ENCODER, "test_convnext", "test_efficientnet"])
@pytest.mark.parametrize(("height", "width"), [(64, 96), (72, 72), (100, 63)])
def test_the_grid_is_that_of_the_features(name, height, width):
    encoder = Encoder(name)
    encoder.preprocess = replace(encoder.preprocess, height=height, width=width)
    before = {key: tensor.clone() for key, tensor in encoder.state_dict().items()}
    assert encoder.grid == encoder(torch.rand(2, 3, height, width)).shape[2:]
    encoder.load_state_dict(before)
    images = torch.rand(2, 3, height, width)
    assert encoder.training
    places = encoder.eval().places(images)
    rows, columns = encoder.grid
    assert places.shape == (2, rows * columns, encoder.out_channels)
    torch.testing.assert_close(places[:, columns], encoder(images)[:, :, 1, 0])


def test_asking_for_the_grid_trains_nothing():
    encoder = Encoder(TINY_ENCODER, 72).train()
    before = {key: tensor.clone() for key, tensor in encoder.state_dict().items()}
    assert encoder.grid == (3, 3)
    assert encoder.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in encoder.state_dict().items())


def test_freeze_survives_train():
    encoder = Encoder(TINY_ENCODER, 64).freeze()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    torch.nn.Sequential(encoder).train()
    assert not any(module.training for module in encoder.modules())
    assert not encoder(torch.randn(4, 3, 64, 64)).requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_an_unfrozen_encoder_trains():
    encoder = Encoder(TINY_ENCODER, 64).train()
    encoder(torch.randn(2, 3, 64, 64)).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18"])
def test_freezing_up_to_a_map_leaves_the_rest_trained(name):
    encoder = Encoder(name, 64).train()
    inner = []
    level = encoder.backbone.feature_info[1]["module"]  # at stride 4
    encoder.backbone.get_submodule(level).register_forward_hook(lambda *call: inner.append(call[2]))
    before = {n: tensor.clone() for n, tensor in encoder.freeze_up_to(4).train().state_dict().items()}
    encoder(torch.randn(2, 3, 64, 64)).mean().backward()
    assert not inner[0].requires_grad
    after = encoder.state_dict()
    changed = {n for n in after if "running_mean" in n and not torch.equal(after[n], before[n])}
    trained = {n for n, p in encoder.named_parameters() if p.grad is not None}
    assert changed
    assert trained
    assert {n for n, p in encoder.named_parameters() if p.requires_grad} == trained
    order = list(after)
    last = max(i for i, n in enumerate(order) if n.startswith(f"backbone.{level}."))
    assert min(map(order.index, changed | trained)) == last + 1
    encoder.freeze_up_to(2)
    with pytest.raises(UsageError, match="cannot be frozen up to 3"):
        encoder.freeze_up_to(3)


@pytest.mark.parametrize("name", WEIGHTS_PACKAGES)
def test_package_weights_land_in_their_places(name):
    encoder = Encoder.pretrained(name)
    assert encoder.weights_package == WEIGHTS_PACKAGES[name]
    tensors = encoder.backbone.state_dict()
    assert all((t >= 0).all() for n, t in tensors.items() if n.endswith("running_var"))
    # normalised by its own running statistics, a trained network keeps its activations within bounds
    encoder.freeze()
    side = encoder.preprocess.height
    smooth = torch.nn.functional.interpolate(torch.randn(2, 3, 7, 7), (side, side), mode="bicubic")
    features = encoder(smooth)
    assert 0.05 < features.mean() < 1.5


def test_weights_from_a_file_that_the_user_names(encoder_weights, tmp_path):
    encoder = Encoder.pretrained(TINY_ENCODER, weights=str(encoder_weights))
    saved = load_file(encoder_weights)
    assert all(torch.equal(tensor, saved[name]) for name, tensor in encoder.backbone.state_dict().items())
    assert encoder.weights_package is None
    torch.save({"state_dict": saved}, tmp_path / "a.pth")
    again = Encoder.pretrained(TINY_ENCODER, weights=str(tmp_path / "a.pth"))
    assert again.fingerprint() == encoder.fingerprint()


def test_weights_that_do_not_fit_are_refused(encoder_weights, tmp_path):
    tensors = load_file(encoder_weights)
    first = next(name for name, tensor in tensors.items() if tensor.ndim == 4)
    save_file({**tensors, first: torch.zeros(2, 2)}, tmp_path / "a.safetensors")
    with pytest.raises(EncoderWeightsError, match="does not fit"):
        Encoder.pretrained(TINY_ENCODER, weights=str(tmp_path / "a.safetensors"))
    with pytest.raises(EncoderWeightsError, match="no such"):
        Encoder.pretrained(TINY_ENCODER, weights=str(tmp_path / "gone.safetensors"))


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_pickle_with_code_is_never_run(tmp_path, capsys):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"a": Evil()}, protocol=2))
    with pytest.raises(EncoderWeightsError, match="safely"):
        Encoder.pretrained(TINY_ENCODER, weights=str(tmp_path / "evil.pth"))
    assert "code ran" not in capsys.readouterr().out


def test_without_weights_the_error_names_three_cures(monkeypatch):
    real = timm.create_model

    def offline(name, pretrained=False, **options):
        if pretrained:
            raise OSError("no network")
        return real(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(EncoderWeightsError) as error:
        Encoder.pretrained("resnet18")
    assert all(cure in str(error.value) for cure in ("--encoder-weights", "--encoder tf_", "network"))


def test_what_is_no_convolutional_backbone_is_refused():
    with pytest.raises(ValueError, match="not known to timm"):
        Encoder("tf_eficientnet_lite0")
    with pytest.raises(ValueError, match="CNN"):
        Encoder("test_vit", 160)(torch.zeros(1, 3, 160, 160))


def test_fingerprint_sees_weights_and_preprocessing():
    torch.manual_seed(0)
    encoder, other = Encoder(TINY_ENCODER, 64), Encoder(TINY_ENCODER, 96)
    first = encoder.fingerprint()
    assert first == encoder.fingerprint()
    other.load_state_dict(encoder.state_dict())
    assert other.fingerprint() != first
    with torch.no_grad():
        next(encoder.parameters()).view(-1)[0] += 1e-3
    assert encoder.fingerprint() != first
