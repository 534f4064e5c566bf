"""Finding lines: a CNN over the page, RNNs that sweep its map, a map of kernels and one of sizes.

As in PSENet (Wang et al. 2019) and DB (Liao et al. 2020), what is predicted of a line is its inner part, its
kernel, so that neighbours are apart. How much larger the line is than its kernel is predicted, too, as the
size of its letters (`ocr.line_maps`).

Notation: N pages, H x W pixels, C channels, h x w = H / 2 x W / 2 places.
"""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import torch
from torch.nn import functional as F

from common.encoder import Encoder
from common.images import Preprocess
from common.pretrained import PretrainedModel
from common.pyramid import FINEST, PyramidConfig, PyramidNetwork
from common.schema import Range, checked
from ocr.line_maps import STRIDE

_PLACES = FINEST // STRIDE  # of the maps for one of the pyramid, each way
_USUAL = 4.0  # log2 of the pixels of usual text


@dataclass(frozen=True)
class FinderConfig(PyramidConfig):
    """Sizes of a finder of lines."""

    stride: int = 16
    """Where the encoder is cut: 8, 16 or 32."""
    width: Annotated[int, Range(4, 65_536, multiple=4)] = 96
    """Channels of the decoder."""
    dropout: Annotated[float, Range(0, 1)] = 0.0
    """On the map that kernels and sizes are predicted from."""


@dataclass(frozen=True)
class _Architecture:
    encoder: str
    preprocess: Preprocess
    network: FinderConfig


class LineFinder(PretrainedModel):
    """An encoder cut at a stride and a network over its maps.

    Args:
        encoder: its layers after the cut are removed.
        config: sizes of the network.

    Raises:
        UsageError: the encoder has no maps at these strides.
    """

    task = "line-finding"
    pipeline_tag = "object-detection"
    has_graphs = True

    def __init__(self, encoder: Encoder, config: FinderConfig) -> None:
        super().__init__()
        self.encoder: Encoder = encoder
        self.config = config
        channels, strides = encoder.cut(FINEST, config.stride)
        self.network = PyramidNetwork(config, channels, strides, 2 * _PLACES**2)
        self.to(memory_format=torch.channels_last)

    def architecture(self) -> dict[str, Any]:
        """Sizes and preprocessing."""
        return {
            "encoder": self.encoder.name,
            "preprocess": self.encoder.preprocess.to_dict(),
            "network": asdict(self.config),
        }

    @classmethod
    def from_architecture(cls, values: dict[str, Any]) -> "LineFinder":
        """Build with random weights."""
        built: _Architecture = checked(_Architecture, values, "architecture")
        return cls(Encoder(built.encoder).with_preprocess(built.preprocess), built.network)

    def forward(self, pages: torch.Tensor) -> torch.Tensor:
        """Grey pages, uint8 (N, H, W), sides multiples of 32 -> (N, 2, h, w): logits of kernels, sizes.

        A size is log2 of the pixels of a line's shorter side; it means something in kernels alone.
        """
        maps = self.encoder.maps(self._normalized(pages))
        values = F.pixel_shuffle(self.network(maps), _PLACES)  # N, 2 * 4, H/4, W/4 -> N, 2, H/2, W/2
        return values + values.new_tensor([0.0, _USUAL])[:, None, None]

    def _normalized(self, pages: torch.Tensor) -> torch.Tensor:
        """uint8 (N, H, W) -> (N, 3, H, W), each channel the same page."""
        weight = next(self.network.parameters())
        mean, std = (
            torch.tensor(values, dtype=weight.dtype, device=weight.device)[:, None, None]
            for values in (self.encoder.preprocess.mean, self.encoder.preprocess.std)
        )
        pixels = pages[:, None].to(weight.dtype) / 255
        return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)

    def graphs(self) -> dict[str, Any]:
        """See `PretrainedModel.graphs`."""
        from ocr.export import finder_graphs

        return finder_graphs(self)
