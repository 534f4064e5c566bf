from types import SimpleNamespace

import pytest
import torch

from segmentation.data import SceneBatch
from segmentation.model import upsample
from segmentation.system import SegmentationSystem, lovasz_softmax
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


def test_lovasz_is_what_mean_iou_loses_where_all_is_certain():
    torch.manual_seed(0)
    labels, said = torch.randint(0, 4, (2, 2, 30, 40))
    labels[:, :5] = IGNORED
    labels[labels == 3] = 1  # a class that nothing has but that is said
    lost = []
    for number in range(3):
        meant, named = labels == number, (said == number) & (labels != IGNORED)
        lost.append(1 - (meant & named).sum().item() / (meant | named).sum().item())
    certain = 100.0 * torch.nn.functional.one_hot(said, 4).permute(0, 3, 1, 2)
    assert lovasz_softmax(certain, labels, IGNORED).item() == pytest.approx(sum(lost) / 3, abs=1e-5)
    right = 100.0 * torch.nn.functional.one_hot(labels.clamp(max=3), 4).permute(0, 3, 1, 2)
    assert lovasz_softmax(right, labels, IGNORED).item() == pytest.approx(0, abs=1e-5)


def test_lovasz_teaches_and_nothing_to_learn_costs_nothing():
    labels = torch.randint(0, 3, (1, 8, 8), generator=torch.Generator().manual_seed(0))
    logits = torch.zeros(1, 3, 8, 8, requires_grad=True)
    for _ in range(60):
        loss = lovasz_softmax(logits, labels, IGNORED)
        (step,) = torch.autograd.grad(loss, logits)
        logits = (logits - 50 * step).detach().requires_grad_()
    assert torch.equal(logits.argmax(1), labels)
    nothing = lovasz_softmax(logits, torch.full_like(labels, IGNORED), IGNORED)
    nothing.backward()
    assert (nothing.item(), logits.grad.abs().max().item()) == (0, 0)


def test_lovasz_is_added_to_the_cross_entropy_with_its_weight(system):
    torch.manual_seed(0)
    batch = SceneBatch(torch.randn(2, 3, 64, 80), torch.randint(0, 3, (2, 64, 80)), [0, 1])
    alone = system.training_step(batch, 0).item()
    system.lovasz = 0.5
    logits = upsample(system.model(batch.images), 64, 80)
    added = 0.5 * lovasz_softmax(logits, batch.labels, IGNORED).item()
    assert system.training_step(batch, 0).item() == pytest.approx(alone + added, rel=1e-4)
    assert added > 0.05


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
