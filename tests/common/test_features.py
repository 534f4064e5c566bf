import copy
import json
import os
import pickle
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
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
    return encoder(torch.from_numpy(encoder.preprocess(path)).unsqueeze(0)).flatten(2).transpose(1, 2)[0]


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
        FeatureStore(next(store.file.parent.iterdir()), (99, 99, 99))


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
            yield ImageBatch([i] * (i + 1), np.stack([pixels] * (i + 1)), {})

    flags = {"read": twice, "variant": "twice"}
    _, _, _ = cached_features(paths[:2], encoder, tmp_path / "cache", **flags)
    encoded.clear()
    store, rows, _ = cached_features(paths[:3], encoder, tmp_path / "cache", **flags)
    assert encoded == [1]  # position 0 of what was missing gives one
    assert rows == {0: range(0, 1), 1: range(1, 3), 2: range(3, 4)}
    torch.testing.assert_close(store[2].float(), expected(encoder, paths[1]), rtol=0.03, atol=0.03)
    cached_features(paths, encoder, tmp_path / "cache")
    assert encoded[-1] == 5  # another reader has a cache of its own


def data_files(folder):
    return sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in folder.rglob("*.f16"))


def index_of(folder):
    return next(folder.rglob("index.json"))


def test_what_another_training_reads_is_never_removed(encoder, paths, tmp_path):
    cache = tmp_path / "cache"
    first, _, _ = cached_features(paths[:2], encoder, cache)
    wanted = [expected(encoder, path) for path in paths]
    second, _, _ = cached_features(paths, encoder, cache)  # another training, with more images
    assert second.file == first.file
    for i, path in enumerate(paths[:4]):  # most rows become useless, so that the others go to a new file
        shape_picture("blue", "circle", seed=20 + i).save(path)
    third, rows, _ = cached_features(paths, encoder, cache)
    assert third.file != first.file
    assert first.file.exists()
    torch.testing.assert_close(first[1].float(), wanted[1], rtol=0.03, atol=0.03)
    torch.testing.assert_close(third[rows[4][0]].float(), wanted[4], rtol=0.03, atol=0.03)
    del first, second
    cached_features(paths, encoder, cache)
    assert [name for name, *_ in data_files(cache)] == [third.file.name]


def test_other_images_of_the_same_data_stay_cached(encoder, paths, tmp_path, encoded):
    cached_features(paths[:3], encoder, tmp_path / "cache")
    cached_features(paths[3:], encoder, tmp_path / "cache")
    encoded.clear()
    store, rows, _ = cached_features(paths, encoder, tmp_path / "cache")
    assert (encoded, len(store), len(rows)) == ([], 5, 5)
    torch.testing.assert_close(store[rows[4][0]].float(), expected(encoder, paths[4]), rtol=0.03, atol=0.03)


def test_leftovers_of_kills_are_removed(encoder, paths, tmp_path, encoded):
    store, _, _ = cached_features(paths[:3], encoder, tmp_path / "cache")
    folder = store.file.parent
    size = store.file.stat().st_size
    with store.file.open("ab") as file:
        file.write(b"half a row")  # a kill while rows were added
    for name in ("features-0123456789ab.f16", "features-0123456789ab.f16.tmp", "index.json.tmp"):
        (folder / name).write_bytes(b"x" * 1000)
    encoded.clear()
    again, _, _ = cached_features(paths[:3], encoder, tmp_path / "cache")
    assert encoded == []
    assert {file.name for file in folder.iterdir()} == {"index.json", store.file.name}
    assert store.file.stat().st_size == size
    assert torch.equal(again[2], store[2])


def test_a_kill_while_rows_are_added_leaves_the_others(encoder, paths, tmp_path, encoded):
    cached_features(paths[:3], encoder, tmp_path / "cache")
    child = os.fork()
    if not child:
        Encoder.forward = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        cached_features(paths, encoder, tmp_path / "cache")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    encoded.clear()
    store, rows, _ = cached_features(paths, encoder, tmp_path / "cache")
    assert sum(encoded) == 2
    torch.testing.assert_close(store[rows[4][0]].float(), expected(encoder, paths[4]), rtol=0.03, atol=0.03)


def test_unreadable_files_are_remembered_until_they_change(encoder, paths, tmp_path, monkeypatch, encoded):
    paths[1].write_bytes(paths[1].read_bytes()[:100])
    paths[2].unlink()
    _, _, errors = cached_features(paths, encoder, tmp_path / "cache")
    assert [str(path) in error for path, error in zip(paths[1:3], errors, strict=True)] == [True, True]
    before = data_files(tmp_path / "cache"), index_of(tmp_path / "cache").stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr("common.features._extend", lambda *_: pytest.fail("reads it again"))
        for _ in range(2):
            assert cached_features(paths, encoder, tmp_path / "cache")[2] == errors
    assert (data_files(tmp_path / "cache"), index_of(tmp_path / "cache").stat().st_mtime_ns) == before
    for path in paths[1:3]:
        shape_picture("green", "circle").save(path)
    encoded.clear()
    _, rows, errors = cached_features(paths, encoder, tmp_path / "cache")
    assert (sum(encoded), len(rows), errors) == (2, 5, [])


def test_flipped_bytes_are_noticed_and_their_rows_computed_again(encoder, paths, tmp_path, encoded, capsys):
    store, rows, _ = cached_features(paths, encoder, tmp_path / "cache")
    wanted = [store[i].clone() for i in range(5)]
    with store.file.open("r+b") as file:
        file.seek(store.file.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    encoded.clear()
    again, rows, _ = cached_features(paths, encoder, tmp_path / "cache")
    assert sum(encoded) == 1
    assert "1 of the cached features were damaged" in capsys.readouterr().err
    for i in range(5):
        torch.testing.assert_close(again[rows[i][0]], wanted[i])


@pytest.mark.parametrize(
    "damage",
    [
        lambda index: "[]",
        lambda index: "{",
        lambda index: "",
        lambda index: json.dumps({**index, "images": None}),
        lambda index: json.dumps({**index, "images": {"a": 1}}),
        lambda index: json.dumps({**index, "file": "../a.f16"}),
        lambda index: json.dumps({**index, "file": "gone.f16"}),
        lambda index: json.dumps({**index, "shape": [9, 9]}),
        lambda index: json.dumps({**index, "shape": ["5", 4, 16]}),
        lambda index: json.dumps({**index, "shape": [3, *index["shape"][1:]]}),
        lambda index: json.dumps(
            {**index, "images": {n: {**e, "row": e["row"] + 3} for n, e in index["images"].items()}}
        ),
        lambda index: json.dumps({**index, "images": {n: {"row": 0} for n in index["images"]}}),
    ],
)
def test_a_broken_index_is_rebuilt_with_a_line(encoder, paths, tmp_path, encoded, capsys, damage):
    cached_features(paths, encoder, tmp_path / "cache")
    index = index_of(tmp_path / "cache")
    index.write_text(damage(json.loads(index.read_text())))
    encoded.clear()
    store, rows, _ = cached_features(paths, encoder, tmp_path / "cache")
    assert sum(encoded) == 5
    assert "the cache of features is damaged" in capsys.readouterr().err
    torch.testing.assert_close(store[rows[3][0]].float(), expected(encoder, paths[3]), rtol=0.03, atol=0.03)
    encoded.clear()
    cached_features(paths, encoder, tmp_path / "cache")
    assert (encoded, len(data_files(tmp_path / "cache"))) == ([], 1)
    assert capsys.readouterr().err == ""


def test_trainings_that_start_together_encode_once(encoder, paths, tmp_path, encoded):
    cache = tmp_path / "cache"
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: cached_features(paths, copy.deepcopy(encoder), cache), range(3)))
    assert sum(encoded) == 5
    assert all(torch.equal(store[3], found[0][0][3]) for store, _, _ in found)
    assert len(list(cache.rglob("*.*"))) == 2


def test_one_file_under_two_names_has_its_rows_once(encoder, paths, tmp_path):
    (tmp_path / "link.bmp").symlink_to(paths[0])
    store, rows, _ = cached_features([*paths, tmp_path / "link.bmp"], encoder, tmp_path / "cache")
    assert (len(store), rows[0], rows[5]) == (5, range(1), range(1))
