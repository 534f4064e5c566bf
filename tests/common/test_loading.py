from types import SimpleNamespace

import pytest
import torch

from common.errors import UsageError
from common.loading import PartsData
from common.training import TrainConfig


def data(tmp_path, opened, **flags):
    config = TrainConfig(tmp_path, workers=0, **flags)

    def open_parts():
        opened.append(1)
        return {"train": list(range(20)), "val": list(range(100, 107))}

    return PartsData(open_parts, torch.tensor, config)


def test_parts_are_opened_once_a_process(tmp_path):
    opened = []
    first = data(tmp_path, opened, batch_size=4)
    first.prepare_data()
    first.setup("fit")
    assert len(opened) == 1
    other = data(tmp_path, opened, batch_size=4)  # another process, which prepares nothing
    other.setup("fit")
    assert len(opened) == 2
    assert other.datasets == first.datasets


def test_train_is_shuffled_and_val_is_not(tmp_path):
    parts = data(tmp_path, [], batch_size=4, seed=3)
    parts.setup("fit")
    train = [batch.tolist() for batch in parts.train_dataloader()]
    drawn = [sample for batch in train for sample in batch]
    assert ([len(batch) for batch in train], sorted(drawn)) == ([4] * 5, list(range(20)))
    assert drawn != sorted(drawn)
    assert [b.tolist() for b in parts.val_dataloader()] == [[100, 101, 102, 103], [104, 105, 106]]


def test_a_batch_is_shared_evenly_or_refused(tmp_path):
    parts = data(tmp_path, [], batch_size=6)
    parts.trainer = SimpleNamespace(world_size=3)
    assert parts.share == 2
    parts.trainer = SimpleNamespace(world_size=4)
    with pytest.raises(UsageError, match="--batch-size 6: must be a multiple of the 4 processes"):
        _ = parts.share
