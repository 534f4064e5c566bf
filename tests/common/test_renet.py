import pytest
import torch
from torch import nn
from torch.nn import functional as F

from common.renet import ReNet

CELLS = {"gru": nn.GRUCell, "lstm": nn.LSTMCell, "rnn": nn.RNNCell}


def maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def line(kind, layer, inputs):
    """One direction along one line (T, I), a cell at a time -> (T, D)."""
    cell = CELLS[kind](layer.input_size, layer.hidden_size)
    cell.load_state_dict({name.removesuffix("_l0"): tensor for name, tensor in layer.state_dict().items()})
    state = torch.zeros(1, layer.hidden_size)
    state = (state, state) if kind == "lstm" else state
    outputs = []
    for step in inputs:
        state = cell(step[None], state)
        outputs.append((state[0] if kind == "lstm" else state)[0])
    return torch.stack(outputs)


def both_ways(kind, rnn, inputs):
    forward, backward = rnn.layers[0]
    read = [line(kind, forward, inputs), line(kind, backward, inputs.flip(0)).flip(0)]
    return torch.cat(read, dim=-1)


def written_out(layer, kind, image):
    """ReNet of one map (C, H, W) as the paper says it, line by line and cell by cell."""
    high, wide = layer.patch
    image = F.pad(image, (0, -image.shape[2] % wide, 0, -image.shape[1] % high))
    rows, columns = image.shape[1] // high, image.shape[2] // wide
    patch = torch.stack(
        [
            torch.stack(
                [
                    image[:, high * i : high * (i + 1), wide * j : wide * (j + 1)].flatten()
                    for j in range(columns)
                ]
            )
            for i in range(rows)
        ]
    )  # rows, columns, C * high * wide
    down = torch.stack([both_ways(kind, layer.vertical, patch[:, j]) for j in range(columns)], dim=1)
    across = down if layer.order == "sequence" else patch
    read = torch.stack([both_ways(kind, layer.horizontal, across[i]) for i in range(rows)])
    read = read if layer.order == "sequence" else torch.cat([down, read], dim=-1)
    return read.permute(2, 0, 1)


@pytest.mark.parametrize("cell", list(CELLS))
@pytest.mark.parametrize("order", ["sequence", "parallel"])
@pytest.mark.parametrize("patch", [(1, 1), (2, 2), (2, 3)])
def test_equals_the_loop_over_cells(cell, order, patch):
    torch.manual_seed(0)
    layer = ReNet(3, 4, cell=cell, order=order, patch=patch)
    images = maps(2, 3, 5, 7)
    found = layer(images)
    assert found.shape == (2, layer.out_channels, -(-5 // patch[0]), -(-7 // patch[1]))
    with torch.no_grad():
        expected = torch.stack([written_out(layer, cell, image) for image in images])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("order", ["sequence", "parallel"])
@pytest.mark.parametrize("patch", [(1, 1), (2, 3)])
@pytest.mark.parametrize("cell", list(CELLS))
def test_padding_changes_nothing(cell, order, patch):
    torch.manual_seed(0)
    layer = ReNet(3, 4, cell=cell, order=order, patch=patch)
    sizes = torch.tensor([[6, 9], [3, 9], [5, 2]])
    images = maps(3, 3, 6, 9)
    together = layer(images, sizes)
    for row, (height, width) in enumerate(sizes.tolist()):
        alone = layer(images[row : row + 1, :, :height, :width])
        h, w = alone.shape[2:]
        torch.testing.assert_close(together[row : row + 1, :, :h, :w], alone, atol=1e-5, rtol=1e-4)
        outside = together[row].clone()
        outside[:, :h, :w] = 0
        assert not outside.any()


def test_each_place_hears_of_every_other():
    layer = ReNet(2, 4)
    images = maps(1, 2, 5, 6).requires_grad_()
    layer(images)[0, :, 4, 0].sum().backward()
    assert (images.grad.abs().sum(dim=1) > 0).all()
    parallel = ReNet(2, 4, order="parallel")
    images.grad = None
    parallel(images)[0, :, 4, 0].sum().backward()
    heard = images.grad.abs().sum(dim=1)[0] > 0
    assert heard[4].all()
    assert heard[:, 0].all()
    assert not heard[:4, 1:].any()


def test_every_parameter_has_a_gradient():
    layer = ReNet(3, 4, patch=(2, 2))
    layer(maps(2, 3, 6, 6)).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_what_is_no_layer_is_refused():
    with pytest.raises(ValueError, match="order 'zigzag'"):
        ReNet(3, 4, order="zigzag")
    with pytest.raises(ValueError, match="patch"):
        ReNet(3, 4, patch=(0, 1))
    with pytest.raises(ValueError, match="cell 'qrnn'"):
        ReNet(3, 4, cell="qrnn")
