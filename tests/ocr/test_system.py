import multiprocessing
from types import SimpleNamespace

import pytest
import torch
from torch import distributed

from common.distributed import synchronize_batch_norm
from ocr.data import collate
from ocr.system import OcrSystem
from tests.ocr.conftest import line_picture, tiny_recognizer


def step(texts):
    """One step on the lines of `texts` -> the loss and all gradients, None where nothing was trained on."""
    model = tiny_recognizer().train()
    if distributed.is_initialized():
        synchronize_batch_norm(model)
    system = OcrSystem(model, SimpleNamespace(), [])
    system.log = lambda *_, **__: None
    system.on_train_epoch_start()
    items = [(model.preprocess(line_picture(text)), text, False, i) for i, text in enumerate(texts)]
    loss = system.training_step(collate(model.charset, items), 0)
    if loss is None:
        return None, []
    loss.backward()
    return loss.item(), [parameter.grad for parameter in model.parameters()]


def _one_of_two(rank, file, texts, results):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{file}", rank=rank, world_size=2)
    loss, gradients = step(texts[rank])
    for gradient in gradients:
        distributed.all_reduce(gradient)
    results.put((loss, [(gradient / 2).numpy() for gradient in gradients]))
    distributed.destroy_process_group()


def test_a_single_process_leaves_out_a_step_without_lines():
    assert step([]) == (None, [])


@pytest.mark.slow
@pytest.mark.parametrize("shares", [(["tea", "12.50"], ["change"]), (["tea", "change"], []), ([], [])])
def test_a_process_without_lines_takes_part_in_the_step(tmp_path, shares):
    context = multiprocessing.get_context("forkserver")
    results = context.SimpleQueue()
    started = [
        context.Process(target=_one_of_two, args=(rank, tmp_path / "meet", shares, results))
        for rank in (0, 1)
    ]
    for process in started:
        process.start()
    found = [results.get() for _ in started]
    for process in started:
        process.join()
    loss = sum(loss for loss, _ in found) / 2
    if not any(shares):
        assert loss == 0
        return
    expected, gradients = step([text for share in shares for text in share])
    # BatchNorm sees the empty line, which stands for none, as one line more
    alike = {"rel": 1e-4} if all(shares) else {"rel": 0.2}
    assert loss == pytest.approx(expected, **alike)
    if all(shares):
        for gradient, own in zip(gradients, found[0][1], strict=True):
            torch.testing.assert_close(torch.from_numpy(own), gradient, atol=1e-3, rtol=1e-2)


def test_what_is_kept_has_the_mean_of_the_weights_and_of_what_batch_norm_has_seen():
    model = tiny_recognizer().train()
    system = OcrSystem(model, SimpleNamespace(), [])
    kept = system.average.module
    assert not any(parameter.requires_grad for parameter in kept.parameters())
    with torch.no_grad():
        for value in (1.0, 3.0):
            for tensor in (model.classify.bias, model.columns.backbone.bn1.running_mean):
                tensor.fill_(value)
            system.on_train_batch_end()
    for tensor in (kept.classify.bias, kept.columns.backbone.bn1.running_mean):
        assert 1 < tensor[0] < 3
    assert kept.charset.characters == model.charset.characters
