"""The ReNet layer: RNNs that sweep a feature map along its columns and rows (Visin et al. 2015).

Notation: N maps, C channels, H x W places, D hidden size of each direction.
"""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from common.recurrent import CellKind, RecurrentEncoder

Order = Literal["sequence", "parallel"]
SPAN = 64
"""Steps that the longest memories hold at the start."""


class ReNet(nn.Module):
    """Two bidirectional sweeps over a feature map, after which each place depends on every other.

    In `sequence` a vertical sweep reads the columns (Visin et al. 2015, eqs. 1 and 2) and a horizontal sweep
    reads the rows of what it wrote. In `parallel` both read the input and their outputs are concatenated;
    a place then depends on its own row and column only.

    All lines of all maps go through one RNN call a sweep. LSTMs and GRUs start with memories of up to `SPAN`
    steps (chrono initialisation, Tallec & Ollivier 2018, section 2.3); with the usual start a cue is
    forgotten after a few steps, so that distant cues are hard to learn.

    Args:
        channels: C of the input.
        hidden_size: D.
        cell: `gru`, `lstm` or `rnn`.
        order: `sequence` or `parallel`.
        patch: height and width of the patches that one RNN step reads; they do not overlap. A map is padded
            with zeros on the right and at the bottom until they fit.

    Attributes:
        out_channels: 2 D in sequence, 4 D in parallel.

    Raises:
        ValueError: an unknown cell or order, or an empty patch.
    """

    def __init__(
        self,
        channels: int,
        hidden_size: int,
        *,
        cell: CellKind = "gru",
        order: Order = "sequence",
        patch: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__()
        if order not in ("sequence", "parallel"):
            raise ValueError(f"order {order!r}: expected sequence or parallel")
        if min(patch) < 1:
            raise ValueError(f"patch {patch}: expected a height and width of at least 1")
        self.order, self.patch = order, patch
        size = channels * patch[0] * patch[1]
        self.vertical = RecurrentEncoder(cell, size, hidden_size, bidirectional=True)
        input_size = self.vertical.output_size if order == "sequence" else size
        self.horizontal = RecurrentEncoder(cell, input_size, hidden_size, bidirectional=True)
        for sweep in (self.vertical, self.horizontal):
            _start_with_memory(sweep, cell, hidden_size)
        self.out_channels = (2 if order == "sequence" else 4) * hidden_size

    def forward(self, maps: torch.Tensor, sizes: torch.Tensor | None = None) -> torch.Tensor:
        """maps (N, C, H, W) -> (N, out_channels, H / patch, W / patch), rounded up.

        Args:
            maps: feature maps.
            sizes: (N, 2) true height and width of each map where some are padded; what lies outside
                of them changes nothing and comes out as 0. None: all are H x W.
        """
        high, wide = self.patch
        if self.patch != (1, 1):
            maps = _keep_inside(maps, sizes) if sizes is not None else maps
            maps = F.pad(maps, (0, -maps.shape[3] % wide, 0, -maps.shape[2] % high))
            maps = _patches(maps, high, wide)
            sizes = None if sizes is None else -(-sizes // sizes.new_tensor(self.patch))
        places = maps.permute(0, 2, 3, 1)  # N, C, H, W -> N, H, W, C
        heights, widths = (None, None) if sizes is None else (sizes[:, 0], sizes[:, 1])
        down = _sweep(self.vertical, places.transpose(1, 2), heights).transpose(1, 2)  # N, H, W, 2D
        if self.order == "sequence":
            swept = _sweep(self.horizontal, down, widths)
        else:
            swept = torch.cat([down, _sweep(self.horizontal, places, widths)], dim=-1)
        swept = swept.permute(0, 3, 1, 2)  # N, H, W, 2D -> N, 2D, H, W
        return swept if sizes is None else _keep_inside(swept, sizes)


def _start_with_memory(rnn: RecurrentEncoder, cell: CellKind, size: int) -> None:
    """Biases of the gates that keep the state: log of uniform draws from 1 to SPAN - 1 (eq. 16)."""
    if cell == "rnn":
        return
    gate = slice(size, 2 * size)  # torch's order: input, forget, ... of an LSTM; reset, update, ... of a GRU
    with torch.no_grad():
        for name, bias in rnn.named_parameters():
            if "bias_hh" in name:
                kept = torch.empty(size).uniform_(1, SPAN - 1).log()
                bias[gate] = kept
                if cell == "lstm":
                    bias[:size] = -kept
            elif "bias_ih" in name:
                bias[: 2 * size] = 0


def _sweep(rnn: RecurrentEncoder, lines: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """lines (N, A, B, C), read along B; lengths (N,) or None -> (N, A, B, 2D)."""
    maps, across = lines.shape[:2]
    if lengths is not None:
        lengths = lengths.repeat_interleave(across)
    outputs, _ = rnn(lines.flatten(0, 1), lengths)  # N, A, B, C -> N*A, B, C
    return outputs.unflatten(0, (maps, across))


def _patches(maps: torch.Tensor, high: int, wide: int) -> torch.Tensor:
    """maps (N, C, H, W) -> (N, C * high * wide, H / high, W / wide)."""
    cut = maps.unflatten(3, (-1, wide)).unflatten(2, (-1, high))  # N, C, H/h, h, W/w, w
    return cut.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


def _keep_inside(maps: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """maps (N, C, H, W), sizes (N, 2) -> the maps with 0 outside of their sizes."""
    sizes = sizes.to(maps.device)
    rows = torch.arange(maps.shape[2], device=maps.device) < sizes[:, :1]  # N, H
    columns = torch.arange(maps.shape[3], device=maps.device) < sizes[:, 1:]  # N, W
    return maps * (rows[:, None, :, None] & columns[:, None, None, :])
