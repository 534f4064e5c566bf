"""CRNN: a CNN gives columns of features, an RNN runs over them, CTC gives the text (Shi, Bai & Yao 2015).

Notation: N lines, H x W pixels, C channels, T = W / stride steps, D hidden size, K classes.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import timm
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from common.charset import Charset
from common.cli import sizes_of
from common.ctc_model import CtcModel
from common.encoder import check_name
from common.errors import UsageError
from common.recurrent import RecurrentEncoder
from common.schema import checked
from ocr.config import COMPACT, Architecture, RecognizerConfig
from ocr.images import WIDTH_MULTIPLE, LinePreprocess

STRIDE = WIDTH_MULTIPLE
_COMPACT: tuple[str, dict[str, Any]] = (
    "resnet10t",
    {"stem_width": 16, "channels": (32, 96, 192, 256), "layers": [1, 1, 2, 1]},
)
_PROBE = 64  # pixels, both ways, of the image that finds the strides


class _Cleared(TorchFunctionMode):
    """Within it, columns beyond each line's width become 0 before every convolution and pooling.

    Only in this thread, so that several threads may share one model.

    Args:
        widths: (N,) in pixels.
        total: pixels of the batch.
    """

    def __init__(self, widths: torch.Tensor, total: int) -> None:
        super().__init__()
        self.widths, self.total = widths, total
        self.masks: dict[int, torch.Tensor] = {}

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Called in place of every function of torch."""
        if function in (torch.conv2d, F.max_pool2d, F.avg_pool2d):
            maps, *rest = args
            columns = maps.shape[-1]
            if columns not in self.masks:
                ends = self.widths * columns // self.total
                inside = torch.arange(columns, device=ends.device) < ends[:, None]  # N, columns
                self.masks[columns] = inside[:, None, None].to(maps.dtype)
            args = (maps * self.masks[columns].to(maps.dtype), *rest)
        return function(*args, **(kwargs or {}))


class LineEncoder(nn.Module):
    """Lines -> columns: a CNN that halves the width twice and the height any number of times.

    Columns beyond a line's width are cleared before every convolution, as if the image ended there:
    padding never changes the features of a line.

    Args:
        name: `compact`, `vgg`, or a backbone of timm. A timm backbone keeps its strides until width and
            height are a quarter; from there on it strides only over the height, and it is cut where the
            height is a sixteenth.

    Attributes:
        out_channels: C of the columns.
        stride: pixels of width for one column.

    Raises:
        UsageError: timm does not know the name, it has no such grid, or a layer depends on the whole width
            (squeeze-and-excitation, attention), so that padding would change its features.
    """

    def __init__(self, name: str = COMPACT) -> None:
        super().__init__()
        self.stride = STRIDE
        if name == "vgg":
            self.backbone: nn.Module = shi_vgg()
            self.out_channels = 512
        else:
            self.backbone = _timm_backbone(name)
            self.out_channels = int(self.backbone.feature_info.channels()[-1])  # type: ignore[operator, union-attr]
        self.to(memory_format=torch.channels_last)
        self._check_padding(name)

    def forward(self, lines: torch.Tensor, widths: torch.Tensor | None = None) -> torch.Tensor:
        """lines (N, 1, H, W), widths (N,) in pixels or None for all W -> columns (N, T, C).

        W and the widths are multiples of 4. A column is the mean over the height.
        """
        same = widths is None or bool((widths == lines.shape[-1]).all())
        colour = lines.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        with nullcontext() if same or widths is None else _Cleared(widths, lines.shape[-1]):
            features = self.backbone(colour)
        if isinstance(features, list):
            features = features[-1]
        return features.mean(dim=2).transpose(1, 2)  # N, C, H', T -> N, T, C

    @torch.no_grad()
    def _check_padding(self, name: str) -> None:
        if next(self.parameters()).is_meta:  # of a model that is built for its shapes alone
            return
        was_training = self.training
        self.eval()
        generator = torch.Generator().manual_seed(0)
        lines = torch.rand(1, 1, 32, 2 * _PROBE, generator=generator)
        narrow = lines[..., :_PROBE]
        alone = self(narrow)
        padded = self(lines, torch.tensor([_PROBE]))[:, : alone.shape[1]]
        self.train(was_training)
        if alone.shape[1] != _PROBE // STRIDE:
            raise UsageError(
                f"encoder {name!r}: its width shrinks to {alone.shape[1]} of {_PROBE}, not a quarter"
            )
        if not torch.allclose(alone, padded, atol=1e-4):
            raise UsageError(
                f"encoder {name!r} looks at the whole width at once, so that padding would change what it "
                f"reads; use {COMPACT}, vgg or a backbone without squeeze-and-excitation, e.g. resnet18"
            )


def shi_vgg() -> nn.Sequential:
    """The CNN of Shi et al. 2015, table 1, for 3 input channels.

    One column is added on the right of the last convolution, so that T is W / 4 and not W / 4 - 1.
    """

    def block(inputs: int, outputs: int, *, norm: bool = False) -> list[nn.Module]:
        layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=not norm)]
        return [*layers, *([nn.BatchNorm2d(outputs)] if norm else []), nn.ReLU()]

    return nn.Sequential(
        *block(3, 64), nn.MaxPool2d(2),
        *block(64, 128), nn.MaxPool2d(2),
        *block(128, 256), *block(256, 256), nn.MaxPool2d((2, 1)),
        *block(256, 512, norm=True), *block(512, 512, norm=True), nn.MaxPool2d((2, 1)),
        nn.ZeroPad2d((0, 1, 0, 0)), nn.Conv2d(512, 512, 2), nn.ReLU(),
    )  # fmt: skip


def _timm_backbone(name: str) -> nn.Module:
    """A timm backbone, cut where its height is a sixteenth, with the width at a quarter."""
    timm_name, options = _COMPACT if name == COMPACT else (name, {})
    try:
        check_name(timm_name)
        full: Any = timm.create_model(timm_name, features_only=True, **options)
        reductions = full.feature_info.reduction()
        cut = max(i for i, reduction in enumerate(reductions) if reduction == 16)
        backbone: nn.Module = timm.create_model(timm_name, features_only=True, out_indices=(cut,), **options)
        _keep_width(backbone)
    except (RuntimeError, AssertionError, AttributeError, ValueError, TypeError) as error:
        raise UsageError(
            f"encoder {name!r}: expected {COMPACT}, vgg or a convolutional backbone of timm ({error})"
        ) from None
    return backbone.train()


def _keep_width(backbone: nn.Module) -> None:
    """Stride only over the height from where the width is a quarter."""
    wide: list[Any] = []

    def note(module: Any, inputs: tuple[torch.Tensor, ...], _: torch.Tensor) -> None:
        if max(_pair(module.stride)) > 1 and _PROBE // inputs[0].shape[-2] >= STRIDE:
            wide.append(module)

    strided = [m for m in backbone.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)]
    hooks = [module.register_forward_hook(note) for module in strided]
    with torch.no_grad():
        backbone.eval()(torch.zeros(1, 3, _PROBE, _PROBE))
    for hook in hooks:
        hook.remove()
    for module in wide:
        if not isinstance(module, nn.Conv2d) and _pair(module.kernel_size)[1] == _pair(module.stride)[1]:
            module.kernel_size = (_pair(module.kernel_size)[0], 1)
        module.stride = (_pair(module.stride)[0], 1)


def _pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


class Recognizer(CtcModel):
    """CRNN: columns of a line, an RNN in both directions, CTC's classes.

    Args:
        config: sizes.
        charset: characters that it can read.
        ngrams: as of `CtcModel`.
    """

    task = "ocr"
    has_graphs = True
    pipeline_tag = "image-to-text"

    def __init__(self, config: RecognizerConfig, charset: Charset, ngrams: int = 0) -> None:
        super().__init__(charset, ngrams)
        self.config = config
        self.preprocess = LinePreprocess(config.height)
        self.columns = LineEncoder(config.encoder)
        self.rnn = RecurrentEncoder(
            config.cell,
            self.columns.out_channels,
            config.hidden_size,
            layers=config.layers,
            bidirectional=True,
            dropout=config.dropout,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.classify = nn.Linear(self.rnn.output_size, len(charset))

    def architecture(self) -> dict[str, Any]:
        """Sizes and charset."""
        return {**asdict(self.config), **self.text_architecture()}

    @classmethod
    def from_architecture(cls, values: dict[str, Any]) -> "Recognizer":
        """Build with random weights."""
        built: Architecture = checked(Architecture, values, "architecture")
        return cls(sizes_of(RecognizerConfig, built), Charset(built.charset), built.ngrams)

    def forward(
        self, lines: torch.Tensor, widths: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """lines (N, 1, H, W), widths (N,) in pixels or None for all W -> logits (N, T, K), steps (N,).

        Pixels beyond a line's width change nothing. Arrays are taken as tensors on the CPU.
        """
        lines = torch.as_tensor(lines)
        if widths is None:
            widths = torch.full((len(lines),), lines.shape[-1], device=lines.device)
        widths = torch.as_tensor(widths)
        columns = self.columns(lines, widths)
        steps = widths // STRIDE
        outputs, _ = self.rnn(self.dropout(columns), steps)
        return self.classify(self.dropout(outputs)), steps

    def graphs(self) -> dict[str, Any]:
        """See `PretrainedModel.graphs`."""
        from ocr.export import graphs

        return graphs(self)
