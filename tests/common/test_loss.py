import pytest
import torch
from torch.nn import functional as F

from common.loss import output_loss


def problem(rows=7, words=11, copied=3, size=5):
    generator = torch.Generator().manual_seed(1)
    output, weight, bias, copies = (
        torch.randn(shape, generator=generator, dtype=torch.double).requires_grad_()
        for shape in ((rows, size), (words, size), (words,), (rows, copied))
    )
    targets = torch.randint(words, (rows,), generator=generator)
    places = torch.randint(words, (rows, copied), generator=generator)  # a word may stand there twice
    advantage = torch.randn(rows, generator=generator, dtype=torch.double)
    return (output, weight, bias, copies), targets, places, advantage


def reference(tensors, targets, places, smoothing, advantage):
    output, weight, bias, copied = tensors
    logits = F.linear(output, weight, bias).scatter_add(1, places, copied)
    each = F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
    return (each * (1.0 if advantage is None else advantage)).sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("copied", [0, 3])
@pytest.mark.parametrize("judged", [False, True])
@pytest.mark.parametrize("rows", [7, 513])  # 513: more than one piece
def test_equal_to_cross_entropy_of_the_logits(smoothing, copied, judged, rows):
    tensors, targets, places, advantage = problem(rows, copied=copied)
    tensors = [tensor.detach().float().requires_grad_() for tensor in tensors]
    advantage = advantage.float() if judged else None
    expected = reference(tensors, targets, places, smoothing, advantage)
    slopes = torch.autograd.grad(2 * expected, tensors)
    output, weight, bias, copies = tensors
    found = output_loss(
        output, weight, bias, targets, copied=copies, words=places, smoothing=smoothing, advantage=advantage
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    (2 * found).backward()
    for tensor, slope in zip(tensors, slopes, strict=True):
        torch.testing.assert_close(tensor.grad, slope, rtol=1e-3, atol=1e-4)


def test_no_word_to_predict_is_no_loss():
    (output, weight, bias, copies), _, places, _ = problem(0)
    tensors = [tensor.detach().float().requires_grad_() for tensor in (output, weight, bias, copies)]
    none = torch.zeros(0, dtype=torch.long)
    loss = output_loss(tensors[0], tensors[1], tensors[2], none, copied=tensors[3], words=places)
    loss.backward()
    assert loss.item() == 0
    assert not tensors[1].grad.any()


def test_under_autocast_it_computes_in_half_and_gives_gradients_in_full():
    tensors, targets, places, _ = problem(64)
    tensors = [tensor.detach().float().requires_grad_() for tensor in tensors]
    expected = reference(tensors, targets, places, 0.1, None)
    slopes = torch.autograd.grad(expected, tensors)
    with torch.autocast("cpu", torch.bfloat16):
        output, weight, bias, copies = tensors
        loss = output_loss(output, weight, bias, targets, copied=copies, words=places, smoothing=0.1)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected.detach(), rtol=0.02, atol=0.1)
    loss.backward()
    for tensor, slope in zip(tensors, slopes, strict=True):
        assert tensor.grad.dtype == torch.float32
        torch.testing.assert_close(tensor.grad, slope, rtol=0.1, atol=0.15)
