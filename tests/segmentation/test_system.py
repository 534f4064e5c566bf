from types import SimpleNamespace

import pytest
import torch

from segmentation.data import SceneBatch
from segmentation.model import upsample
from segmentation.system import SegmentationSystem
from tests.segmentation.conftest import IGNORED, tiny_segmenter


@pytest.fixture
def system(monkeypatch):
    config = SimpleNamespace(learning_rate=0.1, weight_decay=0.25, epochs=2)
    system = SegmentationSystem(tiny_segmenter(), config, torch.tensor([1.0, 5.0, 0.5]), 0.5)
    monkeypatch.setattr(system, "log", lambda *_, **__: None)
    system.on_train_epoch_start()
    return system


def test_the_loss_weighs_classes_and_ignores_what_has_none(system):
    torch.manual_seed(0)
    images, labels = torch.randn(2, 3, 64, 80), torch.randint(0, 3, (2, 64, 80))
    labels[:, :20] = IGNORED
    loss = system.training_step(SceneBatch(images, labels, [0, 1]), 0).item()
    log_probs = upsample(system.model(images), 64, 80).log_softmax(1)
    total = weight = 0.0
    for number, of_class in enumerate((1.0, 5.0, 0.5)):
        total -= of_class * log_probs[:, number][labels == number].sum().item()
        weight += of_class * (labels == number).sum().item()
    assert loss == pytest.approx(total / weight, rel=1e-4)


def test_the_encoder_learns_more_slowly_and_norms_do_not_decay(system, monkeypatch):
    loaders = SimpleNamespace(train_dataloader=lambda: range(5))
    monkeypatch.setattr(type(system), "trainer", SimpleNamespace(datamodule=loaders))
    groups = system.configure_optimizers()["optimizer"].param_groups
    found = {id(p): (group["max_lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    for name, parameter in system.model.named_parameters():
        rate = 0.05 if name.startswith("encoder.") else 0.1
        decay = 0.25 if parameter.ndim > 1 else 0.0
        assert found[id(parameter)] == (pytest.approx(rate), decay), name


def test_what_is_scored_and_kept_has_the_mean_of_the_weights(system, monkeypatch):
    kept, bias = system.average.module, system.model.network.classify.bias
    with torch.no_grad():
        for value in (1.0, 3.0):
            bias.fill_(value)
            system.on_train_batch_end()
    expected = 1.0 + (3.0 - 1.0) * 9 / 11
    torch.testing.assert_close(kept.network.classify.bias, torch.full((3,), expected))
    assert not any(parameter.requires_grad for parameter in kept.parameters())
    with torch.no_grad():
        bias.copy_(torch.tensor([0.0, 0.0, 1e6]))  # the model itself would say nothing but class 2
        kept.network.classify.bias.copy_(torch.tensor([0.0, 1e6, 0.0]))
    system.eval().on_validation_epoch_start()
    system.validation_step(SceneBatch(torch.randn(1, 3, 64, 80), torch.ones(1, 64, 80).long(), [0]), 0)
    assert system._counts[1, 1] == 64 * 80
