"""Device and precision: CUDA where it is available, bf16 where the hardware has it."""

from typing import Literal

import torch

from common.engine import Precision
from common.errors import UsageError


def pick_device(name: str = "auto") -> torch.device:
    """`auto` gives CUDA where it is available, else the CPU. Raises UsageError for a missing device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"device {name!r}: expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device {name!r}: this machine has no usable CUDA device; use --device cpu")
    return device


def pick_precision(precision: Precision, device: torch.device) -> Literal["bf16", "fp32"]:
    """`auto` gives bf16 on a CUDA device or CPU that computes in it natively, else fp32."""
    if precision not in ("auto", "bf16", "fp32"):
        raise UsageError(f"precision {precision!r}: expected auto, bf16 or fp32")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "fp32"


def autocast(device: torch.device, precision: Literal["bf16", "fp32"]) -> torch.autocast:
    """The context in which a model runs at `precision` on `device`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
