import pytest
import torch
from torch import nn

from common.attention import AdditiveAttention, DotAttention
from common.recurrent import CellState, Layer, RecurrentCell, RecurrentEncoder, drop_weights


def zero_state(cell: RecurrentCell, rows: int) -> CellState:
    return CellState(torch.zeros(rows, cell.hidden_size), torch.zeros(rows, cell.memory_size))


@pytest.mark.parametrize(("kind", "reference"), [("lstm", "LSTM"), ("gru", "GRU"), ("rnn", "RNN")])
def test_a_cell_unrolled_equals_torchs_layer(kind, reference):
    torch.manual_seed(0)
    cell = RecurrentCell(kind, 5, 8)
    layer = getattr(torch.nn, reference)(5, 8, batch_first=True)
    layer.load_state_dict({f"{name}_l0": tensor for name, tensor in cell.cell.state_dict().items()})
    inputs = torch.randn(3, 6, 5)
    state, outputs = zero_state(cell, 3), []
    for t in range(6):
        state = cell(inputs[:, t], state)
        outputs.append(state.hidden)
    torch.testing.assert_close(torch.stack(outputs, 1), layer(inputs)[0])
    assert state.memory.shape == (3, 8 if kind == "lstm" else 0)


def test_an_unknown_cell_is_refused():
    with pytest.raises(ValueError, match="expected one of lstm, gru, rnn"):
        RecurrentCell("lsmt", 5, 8)


def test_attention_is_equation_4_to_6():
    torch.manual_seed(0)
    attention = AdditiveAttention(6, 5, 4)
    grid, query = torch.randn(2, 9, 6), torch.randn(2 * 3, 5)
    context, weights = attention(query, grid, attention.keys(grid))
    assert (context.shape, weights.shape) == ((6, 6), (6, 9))
    for row in range(6):
        places = grid[row // 3]
        inner = torch.tanh(attention.key(places) + attention.query(query[row]))
        expected = (inner @ attention.score.weight[0]).softmax(0)
        torch.testing.assert_close(weights[row], expected)
        torch.testing.assert_close(context[row], expected @ places)


def test_dot_attention_is_a_product():
    torch.manual_seed(0)
    attention = DotAttention(6, 5, 4)
    grid, query = torch.randn(2, 9, 6), torch.randn(2 * 3, 5)
    context, weights = attention(query, grid, attention.keys(grid))
    assert (context.shape, weights.shape) == ((6, 6), (6, 9))
    for row in range(6):
        places = grid[row // 3]
        expected = (attention.key(places) @ attention.query(query[row]) / 2).softmax(0)  # sqrt(A)
        torch.testing.assert_close(weights[row], expected)
        torch.testing.assert_close(context[row], expected @ places)


@pytest.mark.parametrize("kind", [AdditiveAttention, DotAttention])
def test_an_untrained_attention_looks_at_more_than_one_place(kind):
    """A softmax that takes one place alone has no gradient to learn another by."""
    torch.manual_seed(0)
    attention = kind(512, 512, 256)
    grid, query = torch.randn(16, 20, 512), torch.randn(16, 512)
    weights = attention(query, grid, attention.keys(grid))[1]
    assert weights.max(dim=1).values.mean() < 0.25


@pytest.mark.parametrize("kind", [AdditiveAttention, DotAttention])
def test_attention_in_half_precision_gives_whole_weights(kind):
    torch.manual_seed(0)
    attention = kind(6, 5, 4).bfloat16()
    grid, query = torch.randn(2, 9, 6).bfloat16(), torch.randn(6, 5).bfloat16()
    context, weights = attention(query, grid, attention.keys(grid))
    assert (context.dtype, weights.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(weights.sum(1), torch.ones(6))


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_a_layer_equals_its_cell_step_by_step(kind):
    torch.manual_seed(0)
    layer, cell = Layer(kind, 5, 8), RecurrentCell(kind, 5, 8)
    if kind == "lstm":
        assert torch.equal(layer.layer.bias_ih_l0[8:16], cell.cell.bias_ih[8:16])  # both forget little
    names = {name: f"{name}_l0" for name in cell.cell.state_dict()}
    cell.cell.load_state_dict({name: layer.layer.state_dict()[other] for name, other in names.items()})
    inputs = torch.randn(3, 6, 5)
    start = CellState(torch.randn(3, 8), torch.randn(3, layer.memory_size))
    outputs, last = layer(inputs, start)
    assert layer.memory_size == cell.memory_size
    state = start
    for t in range(6):
        state = cell(inputs[:, t], state)
        torch.testing.assert_close(outputs[:, t], state.hidden)
    for one, other in zip(last, state, strict=True):
        torch.testing.assert_close(one, other)
    first, middle = layer(inputs[:, :2], start)  # a state that was kept goes on
    torch.testing.assert_close(layer(inputs[:, 2:], middle)[0], outputs[:, 2:])
    torch.testing.assert_close(first, outputs[:, :2])


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_a_layer_starts_from_pieces_of_a_larger_tensor(kind):
    layer = Layer(kind, 5, 8)
    start = CellState(*torch.randn(3, 8 + layer.memory_size).split([8, layer.memory_size], dim=1))
    given = []  # cuDNN, which is not here, takes no others
    layer.layer.register_forward_pre_hook(
        lambda _, inputs: given.extend(torch.utils._pytree.tree_leaves(inputs))
    )
    layer(torch.randn(3, 6, 5), start)
    assert len(given) == 2 + (kind == "lstm")
    assert all(tensor.is_contiguous() for tensor in given)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.9, 0.999])
def test_dropped_weights_are_zero_and_the_others_scaled(share):
    torch.manual_seed(0)
    weights = torch.ones(101, 333, requires_grad=True)
    found = drop_weights(weights, share)
    kept = found > 0
    assert float(kept.float().mean()) == pytest.approx(1 - min(share, 255 / 256), abs=0.01)
    assert found[kept].unique().numel() == 1
    assert found.mean().item() == pytest.approx(1, abs=0.1)
    found.sum().backward()
    assert torch.equal(weights.grad, found.detach())
    assert not torch.equal(found, drop_weights(weights, share)) or share == 0


def test_a_layer_of_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="expected one of lstm, gru, rnn"):
        Layer("lsmt", 5, 8)


def test_state_is_a_tuple_of_rows():
    cell = RecurrentCell("gru", 3, 4)
    state = cell(torch.zeros(2, 3), zero_state(cell, 2))
    assert isinstance(state, CellState)
    assert all(len(field) == 2 for field in state)


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, True)])
def test_what_stands_behind_the_length_changes_nothing(kind, layers, bidirectional):
    torch.manual_seed(0)
    encoder = RecurrentEncoder(kind, 5, 8, layers=layers, bidirectional=bidirectional)
    inputs, lengths = torch.randn(3, 7, 5), torch.tensor([4, 7, 1])
    outputs, last = encoder(inputs, lengths)
    assert (outputs.shape, last.shape) == ((3, 7, encoder.output_size), (3, encoder.output_size))
    assert torch.equal(encoder.last(inputs, lengths), last)
    for row, length in enumerate(lengths.tolist()):
        alone, alone_last = encoder(inputs[row : row + 1, :length])
        torch.testing.assert_close(outputs[row, :length], alone[0])
        torch.testing.assert_close(last[row], alone_last[0])
        assert not outputs[row, length:].any()
    with pytest.raises(ValueError, match="expected one of lstm, gru, rnn"):
        RecurrentEncoder("lsmt", 5, 8)


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_sequences_equal_torch_with_packing(kind):
    torch.manual_seed(0)
    encoder = RecurrentEncoder(kind, 5, 8, layers=2, bidirectional=True)
    torch.manual_seed(0)
    reference = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[kind](
        5, 8, num_layers=2, batch_first=True, bidirectional=True
    )
    inputs, lengths = torch.randn(3, 7, 5), torch.tensor([4, 7, 1])
    packed = nn.utils.rnn.pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    packed_outputs, state = reference(packed)
    expected, _ = nn.utils.rnn.pad_packed_sequence(packed_outputs, batch_first=True)
    hidden = state[0] if kind == "lstm" else state
    outputs, last = encoder(inputs, lengths)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(last, torch.cat([hidden[-2], hidden[-1]], dim=-1))


@pytest.mark.parametrize("kind", [AdditiveAttention, DotAttention])
def test_padding_gets_no_attention(kind):
    torch.manual_seed(0)
    attention = kind(6, 5, 4)
    grid, query, real = torch.randn(2, 7, 6), torch.randn(6, 5), torch.ones(2, 7, dtype=torch.bool)
    real[1, 3:] = False
    context, weights = attention(query, grid, attention.keys(grid), real)
    short = grid[1:, :3]
    alone = attention(query[3:], short, attention.keys(short))
    assert (weights[3:, 3:] == 0).all()
    assert torch.allclose(weights[3:, :3], alone[1], atol=1e-6)
    assert torch.allclose(context[3:], alone[0], atol=1e-6)
    assert torch.allclose(context[:3], attention(query[:3], grid[:1], attention.keys(grid[:1]))[0], atol=1e-6)
