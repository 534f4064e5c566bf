import json

import numpy as np
import pytest
import torch

from common.encoder import Encoder
from common.engine import load_graphs
from common.errors import ModelError, UsageError
from common.export import export
from common.model_folder import read_config, read_weights
from common.pretrained import parameter_count
from ocr.finder import FinderConfig, LineFinder
from ocr.finder_data import TrainPages, collate, read_pages
from ocr.finder_system import finder_loss
from tests.ocr.conftest import tiny_finder, write_whole_pages


def pages(*shape, seed=0):
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.mark.parametrize("context", ["renet", "none"])
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_shapes_and_gradients(context, stride):
    model = tiny_finder(context, stride).train()
    values = model(pages(2, 64, 96))
    assert values.shape == (2, 2, 32, 48)
    values.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_the_decoder_is_small():
    model = LineFinder(Encoder(), FinderConfig())
    assert parameter_count(model.network) < 2_000_000
    assert 2 * parameter_count(model) < 6e6  # bytes in fp16


def test_saved_and_loaded_it_gives_the_same(tmp_path):
    model = tiny_finder()
    model.save_pretrained(tmp_path)
    loaded = LineFinder.from_pretrained(tmp_path)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(pages(1, 64, 64)), model(pages(1, 64, 64)))


@pytest.mark.parametrize("context", ["renet", "none"])
def test_its_graph_gives_what_torch_gives(tmp_path, context):
    model = tiny_finder(context)
    model.save_pretrained(tmp_path)
    export(LineFinder, tmp_path)
    config = read_config(tmp_path, "line-finding")
    graphs, _ = load_graphs(tmp_path, config, read_weights(tmp_path, config), ["find"], "fp32")
    seen = pages(1, 128, 224)
    (found,) = graphs["find"](seen.numpy())
    with torch.inference_mode():
        wanted = model(seen)
    np.testing.assert_allclose(found[:, 0], wanted[:, 0].sigmoid().numpy(), atol=1e-3)
    np.testing.assert_allclose(found[:, 1], wanted[:, 1].numpy(), atol=1e-2)


@pytest.mark.parametrize(
    ("name", "value"), [("width", 70_000), ("width", "wide"), ("context", "x"), ("stride", 5), ("more", 1)]
)
def test_a_strangers_config_is_refused(tmp_path, name, value):
    tiny_finder().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    config["architecture"]["network"][name] = value
    file.write_text(json.dumps(config))
    with pytest.raises(ModelError):
        LineFinder.from_pretrained(tmp_path)


def test_an_encoder_without_such_a_map_is_refused():
    with pytest.raises(UsageError, match="it cannot be cut at stride 12"):
        LineFinder(Encoder("test_efficientnet"), FinderConfig(stride=12))


def test_the_loss_is_small_where_maps_are_right_and_ignores_what_does_not_count():
    kernels = torch.zeros(1, 40, 40)
    kernels[0, 10:14, 5:30] = 1
    sizes, counted = 4.5 * kernels, torch.ones(1, 40, 40)
    counted[0, 30:] = 0
    right = torch.stack([20 * kernels - 10, sizes], dim=1)
    assert finder_loss(right, kernels, sizes, counted) < 0.05
    outside = right.clone()
    outside[0, 0, 30:] = 10
    assert finder_loss(outside, kernels, sizes, counted) < 0.05
    for channel, wrong in ((0, -right[:, 0]), (1, right[:, 1] + 1)):
        values = right.clone()
        values[:, channel] = wrong
        assert finder_loss(values, kernels, sizes, counted) > 0.4
    empty = torch.zeros(1, 40, 40)
    assert finder_loss(torch.stack([empty - 10, empty], dim=1), empty, empty, counted).isfinite()


def test_a_batch_can_be_learnt(tmp_path):
    labelled = read_pages(write_whole_pages(tmp_path / "pages"))
    seen = TrainPages(labelled, len(labelled), None, 0, 96)
    batch = collate([seen[i, i] for i in range(4)])
    model = tiny_finder().train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        loss = finder_loss(model(batch.pixels), batch.kernels, batch.sizes, batch.counted) / 4
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]
