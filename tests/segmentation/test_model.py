import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from common.encoder import Encoder
from common.errors import UsageError
from segmentation import Segmenter
from segmentation.config import SegmenterConfig
from segmentation.model import SegmentationModel, upsample
from segmentation.segmenter import classes_at
from tests.conftest import by_threads, on_both_engines
from tests.segmentation.conftest import CLASSES, tiny_segmenter

CONTEXTS = ["renet", "none", "conv", "attention"]


def images(rows=2, height=64, width=80):
    return torch.randn(rows, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_shapes_and_gradients(context, stride):
    model = tiny_segmenter(context, stride).train()
    logits = model(images(height=60, width=84))
    assert logits.shape == (2, len(CLASSES), 15, 21)
    assert upsample(logits, 60, 84).shape == (2, len(CLASSES), 60, 84)
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_context_layers_are_equally_large():
    count = {context: sum(p.numel() for p in tiny_segmenter(context, 8).parameters()) for context in CONTEXTS}
    added = {context: count[context] - count["none"] for context in CONTEXTS}
    assert added["none"] == 0
    assert added["conv"] == pytest.approx(added["renet"], rel=0.1)
    assert added["attention"] == pytest.approx(added["renet"], rel=0.15)


@pytest.mark.parametrize("context", CONTEXTS)
def test_one_equals_many(context):
    model = tiny_segmenter(context)
    with torch.inference_mode():
        together = model(images(3))
        for row, image in enumerate(images(3)):
            torch.testing.assert_close(model(image[None])[0], together[row], atol=1e-5, rtol=1e-4)


def test_a_cut_encoder_loses_its_layers():
    whole = sum(p.numel() for p in tiny_segmenter("none", 32).encoder.parameters())
    cut = sum(p.numel() for p in tiny_segmenter("none", 8).encoder.parameters())
    assert cut < 0.6 * whole


def test_an_encoder_without_such_a_map_is_refused():
    with pytest.raises(UsageError, match="it cannot be cut at stride 12"):
        SegmentationModel(Encoder("test_efficientnet"), SegmenterConfig(stride=12), CLASSES, 255)


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_batch_can_be_learnt(context):
    model = tiny_segmenter(context).train()
    pixels, labels = images(), torch.zeros(2, 64, 80, dtype=torch.long)
    labels[0, :32], labels[1, :, 40:] = 1, 2
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(40):
        loss = F.cross_entropy(upsample(model(pixels), 64, 80), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.25


def test_save_and_load_also_in_half(tmp_path):
    model = tiny_segmenter()
    model.save_pretrained(tmp_path / "whole")
    model.save_half(tmp_path / "half")
    pixels = images()
    with torch.inference_mode():
        whole = SegmentationModel.from_pretrained(tmp_path / "whole")
        half = SegmentationModel.from_pretrained(tmp_path / "half")
        torch.testing.assert_close(half(pixels), whole(pixels), atol=0.02, rtol=0.02)
    assert (whole.classes, whole.ignore_label) == (list(CLASSES), 9)
    assert list(Segmenter(half, precision="fp32").segment_each([])) == []


class DepthwiseInputs(TorchFunctionMode):
    """Types of what torch's depthwise convolutions get in the end."""

    def __init__(self):
        super().__init__()
        self.types = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.conv2d and args[1].shape[1] == 1 < args[0].shape[1]:
            self.types.append(args[0].dtype)
        return function(*args, **(kwargs or {}))


def test_depthwise_convolutions_train_in_fp32_under_autocast():
    encoder = Encoder("test_efficientnet", 64).train()
    with torch.autocast("cpu", torch.bfloat16):
        with DepthwiseInputs() as trained:
            features = encoder(images(2, 64, 64))
        features.float().mean().backward()
        assert torch.is_autocast_enabled("cpu")
        with DepthwiseInputs() as used, torch.inference_mode():
            encoder(images(2, 64, 64))
    assert features.dtype == torch.bfloat16
    assert set(trained.types) == {torch.float32}
    assert set(used.types) == {torch.bfloat16}
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_classes_of_large_images_are_found_in_strips(monkeypatch):
    logits = torch.randn(5, 9, 7)
    for size in ((40, 33), (8, 5), (9, 7), (1, 1), (300, 2)):
        monkeypatch.undo()
        whole = classes_at(logits.numpy(), *size)
        expected = upsample(logits[None], *size).argmax(dim=1)[0].numpy()
        assert (whole == expected).mean() > 0.99  # equal but for rounding
        monkeypatch.setattr("segmentation.segmenter._VALUES", size[1] * 3)
        assert (classes_at(logits.numpy(), *size) == whole).mean() > 0.99
        assert classes_at(logits.numpy(), *size).shape == whole.shape


def test_threads_that_share_a_segmenter_see_what_one_sees():
    segmenter = Segmenter(tiny_segmenter(), "cpu", "fp32")
    random = np.random.default_rng(0)
    scenes = [
        Image.fromarray(random.integers(0, 255, (height, width, 3), np.uint8))
        for height, width in ((60, 80), (80, 60), (50, 50))
    ]
    alone, together = by_threads(segmenter.segment, scenes, 6)
    assert all(
        (found.labels == expected.labels).mean() > 0.999
        for expected, found in zip(alone, together, strict=True)
    )


def test_views_of_an_image_decide_together():
    torch.manual_seed(0)
    segmenter, images = Segmenter(tiny_segmenter(), "cpu", "fp32"), torch.randn(1, 3, 64, 80)
    with torch.no_grad():  # each class somewhere
        segmenter.model.network.classify.bias -= segmenter.model(images).mean(dim=(0, 2, 3))
    pixels = images.numpy()
    alone = segmenter.predict(pixels, 64, 80)
    assert (segmenter.predict(pixels, 64, 80, scales=(1.0, 1.0)) == alone).mean() > 0.99
    both = segmenter.predict(pixels, 64, 80, mirrored=True)
    turned = segmenter.predict(images.flip(3).numpy(), 64, 80, mirrored=True)[..., ::-1]
    assert (turned == both).mean() > 0.99 > (alone == both).mean()
    several = segmenter.predict(pixels, 50, 70, scales=(0.75, 1.25))
    assert several.shape == (1, 50, 70)
    assert several.dtype == np.uint8
    probabilities = [
        upsample(segmenter.model(F.interpolate(images, size, mode="bilinear", antialias=True)), 50, 70)
        for size in ((48, 60), (80, 100))
    ]
    expected = sum(logits.softmax(dim=1) for logits in probabilities).argmax(dim=1)
    assert (several == expected.numpy()).mean() > 0.99


@pytest.mark.parametrize("context", CONTEXTS)
def test_pixels_by_the_engine_are_those_of_torch_at_any_size(tmp_path, context):
    engine, on_torch = on_both_engines(Segmenter, tiny_segmenter(context), tmp_path)
    random = np.random.default_rng(0)
    for width, height in ((80, 64), (1, 1), (300, 40), (33, 57), (7, 200)):
        scene = Image.fromarray(random.integers(0, 255, (height, width, 3), np.uint8))
        found, expected = (segmenter.segment(scene) for segmenter in (engine, on_torch))
        assert found.labels.shape == (height, width)
        assert (found.labels == expected.labels).mean() > 0.998
        assert found.classes == expected.classes
