import os
import pickle

import pytest
import torch

from common.encoder import Encoder
from common.errors import ImageError
from common.features import FeatureStore, cached_features
from common.images import ImageBatch
from tests.conftest import TINY_ENCODER, shape_picture


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder(TINY_ENCODER, 64).freeze()


@pytest.fixture
def paths(tmp_path):
    files = [tmp_path / f"{i}.bmp" for i in range(5)]
    for i, file in enumerate(files):
        shape_picture("red", "square", seed=i).save(file)
    return files


@pytest.fixture
def encoded(monkeypatch):
    """Counts the pictures that go through the encoder."""
    counts = []
    real = Encoder.forward

    def forward(self, images):
        counts.append(len(images))
        return real(self, images)

    monkeypatch.setattr(Encoder, "forward", forward)
    return counts


def expected(encoder, path):
    return encoder(encoder.preprocess(path).unsqueeze(0)).flatten(2).transpose(1, 2)[0]


def test_features_are_the_encoders_in_fp16_and_computed_once(encoder, paths, tmp_path, encoded):
    store, rows, errors = cached_features(paths, encoder, tmp_path / "cache", batch_size=2)
    assert (sum(encoded), len(store), rows, errors) == (5, 5, {i: range(i, i + 1) for i in range(5)}, [])
    assert store[3].dtype == torch.float16
    torch.testing.assert_close(store[3].float(), expected(encoder, paths[3]), rtol=0.03, atol=0.03)
    encoded.clear()
    again, _, _ = cached_features(paths, encoder, tmp_path / "cache")
    assert encoded == []
    assert torch.equal(again[3], store[3])


def test_a_changed_image_is_noticed_even_with_its_old_size_and_time(encoder, paths, tmp_path, encoded):
    store, _, _ = cached_features(paths, encoder, tmp_path / "cache")
    before = store[1], store[2]
    status = paths[2].stat()
    shape_picture("blue", "circle", seed=9).save(paths[2])
    assert paths[2].stat().st_size == status.st_size
    os.utime(paths[2], ns=(status.st_atime_ns, status.st_mtime_ns))
    encoded.clear()
    again, rows, _ = cached_features(paths, encoder, tmp_path / "cache")
    assert encoded == [1]
    assert torch.equal(again[rows[1][0]], before[0])
    assert not torch.equal(again[rows[2][0]], before[1])
    assert len(list((tmp_path / "cache").rglob("*.f16"))) == 1  # the old file is gone


def test_a_touched_but_equal_image_is_not_encoded_again(encoder, paths, tmp_path, encoded):
    cached_features(paths, encoder, tmp_path / "cache")
    encoded.clear()
    os.utime(paths[0])
    cached_features(paths, encoder, tmp_path / "cache")
    assert encoded == []


def test_another_encoder_never_sees_the_old_features(encoder, paths, tmp_path, encoded):
    cached_features(paths, encoder, tmp_path / "cache")
    with torch.no_grad():
        next(encoder.parameters()).mul_(1.01)
    encoded.clear()
    store, _, _ = cached_features(paths, encoder, tmp_path / "cache")
    assert sum(encoded) == 5
    torch.testing.assert_close(store[0].float(), expected(encoder, paths[0]), rtol=0.03, atol=0.03)


def test_added_images_extend_the_cache_and_bad_ones_are_named(encoder, paths, tmp_path, encoded):
    cached_features(paths[:3], encoder, tmp_path / "cache")
    encoded.clear()
    paths[4].write_bytes(b"")
    store, rows, errors = cached_features(paths, encoder, tmp_path / "cache")
    assert (encoded, len(store), sorted(rows)) == ([1], 4, [0, 1, 2, 3])
    assert "4.bmp" in errors[0]


def test_an_interrupted_build_leaves_the_old_cache_whole(encoder, paths, tmp_path, monkeypatch, encoded):
    cached_features(paths[:3], encoder, tmp_path / "cache")
    calls = iter([None])

    def stopped(self, images):
        next(calls, None)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "forward", stopped)
        with pytest.raises(KeyboardInterrupt):
            cached_features(paths, encoder, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.tmp"))
    encoded.clear()
    cached_features(paths[:3], encoder, tmp_path / "cache")
    assert encoded == []


def test_a_cut_data_file_is_not_used(encoder, paths, tmp_path, encoded):
    store, _, _ = cached_features(paths, encoder, tmp_path / "cache")
    with store.file.open("r+b") as file:
        file.truncate(100)
    encoded.clear()
    cached_features(paths, encoder, tmp_path / "cache")
    assert sum(encoded) == 5
    with pytest.raises(ValueError, match="bytes, expected"):
        FeatureStore(next(store.file.parent.iterdir()), (9, 9, 9))


def test_the_store_travels_to_workers(encoder, paths, tmp_path):
    store, _, _ = cached_features(paths, encoder, tmp_path / "cache")
    first = store[0]
    assert torch.equal(pickle.loads(pickle.dumps(store))[0], first)


def test_nothing_readable_is_an_error(encoder, tmp_path):
    with pytest.raises(ImageError, match="none of the 1 files"):
        cached_features([tmp_path / "gone.png"], encoder, tmp_path / "cache")


def test_a_file_may_give_several_pictures(encoder, paths, tmp_path, encoded):
    def twice(files, preprocess, batch_size, workers):
        for i, file in enumerate(files):
            pixels = preprocess(file)
            yield ImageBatch([i] * (i + 1), torch.stack([pixels] * (i + 1)), {})

    flags = {"read": twice, "variant": "twice"}
    _, _, _ = cached_features(paths[:2], encoder, tmp_path / "cache", **flags)
    encoded.clear()
    store, rows, _ = cached_features(paths[:3], encoder, tmp_path / "cache", **flags)
    assert encoded == [1]  # position 0 of what was missing gives one
    assert rows == {0: range(0, 1), 1: range(1, 3), 2: range(3, 4)}
    torch.testing.assert_close(store[2].float(), expected(encoder, paths[1]), rtol=0.03, atol=0.03)
    cached_features(paths, encoder, tmp_path / "cache")
    assert encoded[-1] == 5  # another reader has a cache of its own
