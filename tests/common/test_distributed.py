import copy
import multiprocessing

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import distributed, nn

from common.distributed import EpochSampler, gather, global_max, global_sum, synchronize_batch_norm
from common.training import TrainingSystem
from tests.conftest import trainer_at


def shares(size, world, monkeypatch, **options):
    """The indices of each process."""
    found = []
    for rank in range(world):
        monkeypatch.setattr("common.distributed.rank_and_world", lambda r=rank: (r, world))
        sampler = EpochSampler(size, 3, trainer=None, **options)
        found.append(list(sampler))
        assert len(sampler) == len(found[-1])
    return found


def test_each_epoch_has_an_order_of_its_own_that_repeats():
    orders = [list(EpochSampler(50, 3, shuffle=True, trainer=trainer_at(epoch))) for epoch in (0, 1, 2, 1)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert orders[1] == orders[3]
    assert list(EpochSampler(50, 4, shuffle=True, trainer=trainer_at(1))) != orders[1]


@pytest.mark.parametrize("size", [16, 17, 18, 23])
@pytest.mark.parametrize("world", [2, 4])
def test_the_steps_of_all_processes_are_those_of_one(size, world, monkeypatch):
    one = shares(size, 1, monkeypatch, shuffle=True, batch_size=8)[0]
    several = shares(size, world, monkeypatch, shuffle=True, batch_size=8)
    steps = [one[i : i + 8] for i in range(0, size, 8)]
    share = 8 // world
    for i, step in enumerate(steps):
        held = [index for part in several for index in part[i * share : (i + 1) * share]]
        assert all(len(part[i * share : (i + 1) * share]) for part in several)
        assert set(held) == set(step)
        assert len(held) == max(len(step), world)
    assert all(len(part) <= share * len(steps) for part in several)


def test_a_last_step_that_is_not_full_can_be_left_out(monkeypatch):
    for world in (1, 2):
        parts = shares(23, world, monkeypatch, shuffle=True, batch_size=8, drop_last=True)
        assert [len(part) for part in parts] == [16 // world] * world


def test_in_order_each_index_stands_once(monkeypatch):
    for world in (1, 2, 3):
        parts = shares(7, world, monkeypatch, shuffle=False, batch_size=6)
        assert sorted(index for part in parts for index in part) == list(range(7))
        assert all(part == sorted(part) for part in parts)


def test_a_loss_is_counted_on_its_own_device(monkeypatch):
    summed = []
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", lambda value, *_: summed.append(value.device.type))
    system = TrainingSystem()
    monkeypatch.setattr(system, "log", lambda *_, **__: None)
    system.on_train_epoch_start()
    for count in (3, 3.5, torch.tensor(3)):
        system.mean_over_batch(torch.zeros((), device="meta"), count)
    system.on_train_epoch_end()
    assert summed == ["meta"] * 4  # NCCL refuses a tensor of the CPU


def normalizers():
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3), BatchNormAct2d(8), nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4, affine=False)
    )
    return layers, 5 * torch.rand(6, 3, 8, 8) + 1


def _one_of_two(rank, file, results):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{file}", rank=rank, world_size=2)
    layers, images = normalizers()
    synchronize_batch_norm(layers)
    outputs = layers(images[4 * rank : 4 * rank + 4])  # four and two of six
    outputs.pow(3).sum().backward()
    gradients = []
    for parameter in layers.parameters():
        distributed.all_reduce(parameter.grad)
        gradients.append(parameter.grad.numpy())
    sums = [global_sum(torch.tensor(rank + 1)).item(), global_max(torch.tensor(rank)).item()]
    buffers = [buffer.numpy() for buffer in layers.buffers()]
    layers.eval()
    with torch.no_grad():
        results.put((rank, outputs.detach().numpy(), gradients, buffers, sums, gather([rank, "a"]),
                     layers(images).numpy()))  # fmt: skip
    distributed.destroy_process_group()


@pytest.mark.slow
def test_batch_norm_sees_the_batch_of_all_processes(tmp_path):
    alone, images = normalizers()
    fresh = copy.deepcopy(alone)
    expected = alone(images)
    expected.pow(3).sum().backward()
    context = multiprocessing.get_context("forkserver")
    results = context.SimpleQueue()
    processes = [
        context.Process(target=_one_of_two, args=(rank, tmp_path / "meet", results)) for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    found = sorted((results.get() for _ in processes), key=lambda result: result[0])
    for process in processes:
        process.join()
    seen = torch.cat([torch.from_numpy(result[1]) for result in found])
    torch.testing.assert_close(seen, expected.detach(), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(fresh(images[:4]), expected[:4], atol=1e-3)
    for _, _, gradients, buffers, sums, gathered, evaluated in found:
        for parameter, gradient in zip(alone.parameters(), gradients, strict=True):
            torch.testing.assert_close(torch.from_numpy(gradient), parameter.grad, atol=1e-3, rtol=1e-4)
        for buffer, theirs in zip(alone.buffers(), buffers, strict=True):
            torch.testing.assert_close(torch.from_numpy(theirs), buffer, atol=1e-5, rtol=1e-5)
        assert sums == [3, 1]
        assert gathered == [0, "a", 1, "a"]
        torch.testing.assert_close(torch.from_numpy(evaluated), alone.eval()(images), atol=1e-5, rtol=1e-4)
