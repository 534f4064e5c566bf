import pytest
import torch

from common.device import autocast, pick_device, pick_precision
from common.errors import UsageError


def test_devices():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(UsageError, match="device 'gpu': expected auto, cpu, cuda"):
        pick_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="use --device cpu"):
            pick_device("cuda:1")


def test_precisions():
    cpu = torch.device("cpu")
    assert [pick_precision(name, cpu) for name in ("bf16", "fp32")] == ["bf16", "fp32"]
    assert pick_precision("auto", cpu) in ("bf16", "fp32")
    with pytest.raises(UsageError, match="precision 'fp16': expected auto, bf16 or fp32"):
        pick_precision("fp16", cpu)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_autocast_computes_at_the_precision(precision, dtype):
    weights = torch.ones(2, 2)
    with autocast(torch.device("cpu"), precision):
        assert (weights @ weights).dtype == dtype
