"""A frozen encoder run once over a data set, kept memory-mapped on disk.

Notation: N images, L = H * W grid places, C channels.
"""

import hashlib
import json
import mmap
import os
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from common.device import autocast, pick_device, pick_precision
from common.encoder import Encoder
from common.errors import ImageError
from common.images import read_batches

_RELEASE_BYTES = 128 * 2**20  # pages read before they are given back to the system


class FeatureStore:
    """Rows of fp16 features (N, L, C) in one file, mapped read-only; reading never fills the memory.

    Safe to send to DataLoader workers. The pages that were read are given back now and then: they stay in
    the system's cache, but do not count as this process's memory.

    Args:
        file: N * L * C fp16 numbers, nothing else.
        shape: (N, L, C).

    Raises:
        ValueError: the file's size and the shape differ.
    """

    def __init__(self, file: Path, shape: tuple[int, int, int]) -> None:
        expected = 2 * int(np.prod(shape))
        if file.stat().st_size != expected:
            raise ValueError(
                f"{file}: {file.stat().st_size} bytes, expected {expected} for {shape}; delete it"
            )
        self.file, self.shape = file, shape
        self._map: mmap.mmap | None = None
        self._read = 0

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, row: int) -> torch.Tensor:
        """Features of one image: fp16 (L, C)."""
        places, channels = self.shape[1:]
        size = places * channels
        if self._map is None:
            with self.file.open("rb") as opened:
                self._map = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
            if hasattr(mmap, "MADV_RANDOM"):
                self._map.madvise(mmap.MADV_RANDOM)
        features = np.frombuffer(self._map, np.float16, size, row * size * 2).reshape(places, channels).copy()
        self._read += 2 * size
        if self._read > _RELEASE_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read = 0
        return torch.from_numpy(features)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}


def cache_directory() -> Path:
    """Where caches go unless the user says otherwise: `$XDG_CACHE_HOME` or `~/.cache`, then `visionrnn`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "visionrnn"


def cached_features(
    paths: Sequence[Path],
    encoder: Encoder,
    directory: Path,
    *,
    batch_size: int = 64,
    workers: int = 2,
    device: str = "auto",
) -> tuple[FeatureStore, dict[int, int], list[str]]:
    """Features of `paths` by a frozen encoder, from the cache in `directory` as far as it is still true.

    A kept row is used only if the encoder's fingerprint is the same and the image file is unchanged: same
    size, mtime and ctime, or else the same SHA-256. Everything else is computed again; the new files are
    written aside and then renamed, so that an interrupted run leaves the old cache whole.

    Returns:
        the store; position in `paths` -> row of the store; a message for each picture that could not be read.
    """
    place = pick_device(device)
    precision = pick_precision("auto", place)
    key = hashlib.sha256(f"{encoder.fingerprint()} {precision} 1".encode()).hexdigest()
    directory = directory / key[:16]
    directory.mkdir(parents=True, exist_ok=True)
    index = _read_index(directory, key)
    kept: dict[str, dict[str, Any]] = {}
    for path in dict.fromkeys(paths):
        entry = index["images"].get(str(path.resolve()))
        if entry and path.is_file() and _unchanged(path, entry):
            kept[str(path.resolve())] = entry
    missing = [p for p in dict.fromkeys(paths) if str(p.resolve()) not in kept]
    if missing:
        index, errors = _extend(
            index, kept, missing, encoder, directory, batch_size, workers, place, precision
        )
    else:
        errors = []
    rows = {
        i: index["images"][name]["row"]
        for i, p in enumerate(paths)
        if (name := str(p.resolve())) in index["images"]
    }
    if not rows:
        raise ImageError(
            f"none of the {len(paths)} pictures could be read; first: {errors[0] if errors else ''}"
        )
    return FeatureStore(directory / index["file"], tuple(index["shape"])), rows, errors


def _extend(
    index: dict[str, Any],
    kept: dict[str, dict[str, Any]],
    missing: list[Path],
    encoder: Encoder,
    directory: Path,
    batch_size: int,
    workers: int,
    device: torch.device,
    precision: Any,
) -> tuple[dict[str, Any], list[str]]:
    """Write a new data file with the rows of `kept` and of `missing`, then point the index at it."""
    name = f"features-{uuid.uuid4().hex[:12]}.f16"
    temporary = directory / f"{name}.tmp"
    images: dict[str, dict[str, Any]] = {}
    errors: list[str] = []
    shape = index["shape"]
    encoder = encoder.to(device).to(memory_format=torch.channels_last)
    was_training = encoder.training
    encoder.eval()
    try:
        with temporary.open("wb") as out:
            if kept:
                old = FeatureStore(directory / index["file"], tuple(shape))
                for path, entry in kept.items():
                    out.write(old[entry["row"]].numpy().tobytes())
                    images[path] = {**entry, "row": len(images)}
            progress = tqdm(
                total=len(missing), desc="encoding", unit="image", disable=not sys.stderr.isatty()
            )
            for batch in read_batches(missing, encoder.preprocess, batch_size, workers):
                errors += [str(error) for error in batch.errors.values()]
                progress.update(len(batch.indices) + len(batch.errors))
                if not batch.indices:
                    continue
                with torch.inference_mode(), autocast(device, precision):
                    grid = (
                        encoder(batch.images.to(device)).flatten(2).transpose(1, 2)
                    )  # N, C, H, W -> N, L, C
                half = grid.to("cpu", torch.float16)
                if not torch.isfinite(half).all():
                    raise ValueError(f"encoder {encoder.name!r}: features exceed fp16; use another encoder")
                shape = [0, *half.shape[1:]]
                out.write(half.contiguous().numpy().tobytes())
                for i in batch.indices:
                    entry = {"row": len(images), "stat": _stat(missing[i]), "sha256": _sha256(missing[i])}
                    images[str(missing[i].resolve())] = entry
            progress.close()
            out.flush()
            os.fsync(out.fileno())
        new = {**index, "file": name, "shape": [len(images), *shape[1:]], "images": images}
        temporary.replace(directory / name)
        aside = directory / f"index-{uuid.uuid4().hex[:12]}.tmp"
        aside.write_text(json.dumps(new), encoding="utf-8")
        aside.replace(directory / "index.json")
    finally:
        temporary.unlink(missing_ok=True)
        encoder.train(was_training)
    if index["file"]:
        (directory / index["file"]).unlink(missing_ok=True)
    return new, errors


def _read_index(directory: Path, key: str) -> dict[str, Any]:
    """The cache's index, or an empty one where there is none that holds."""
    empty = {"key": key, "file": "", "shape": [0, 0, 0], "images": {}}
    try:
        index: dict[str, Any] = json.loads((directory / "index.json").read_text(encoding="utf-8"))
        if index["key"] == key:
            FeatureStore(directory / index["file"], tuple(index["shape"]))
            return index
    except (OSError, ValueError, KeyError):
        pass
    return empty


def _unchanged(path: Path, entry: dict[str, Any]) -> bool:
    return bool(_stat(path) == entry["stat"] or _sha256(path) == entry["sha256"])


def _stat(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
