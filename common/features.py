"""A frozen encoder run once over the files of a data set, kept memory-mapped on disk.

Notation: N images, L = H * W grid places, C channels.
"""

import hashlib
import json
import mmap
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from tqdm import tqdm

from common.device import autocast, pick_device, pick_precision
from common.encoder import Encoder, EncoderFlags
from common.errors import ImageError
from common.images import PIXELS, ImageBatch, Preprocess, read_batches
from common.schema import Range

_RELEASE_BYTES = 128 * 2**20  # bytes read before their pages are released to the system


class FeatureStore:
    """Rows of fp16 features (N, L, C) in one file, mapped read-only; reading never fills the memory.

    Safe to send to DataLoader workers. Pages that were read are released now and then: they stay in
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
        self._bytes_read = 0

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
        self._bytes_read += 2 * size
        if self._bytes_read > _RELEASE_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._bytes_read = 0
        return torch.from_numpy(features)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}


def cache_folder() -> Path:
    """Where caches go unless the user says otherwise: `$XDG_CACHE_HOME` or `~/.cache`, then `visionrnn`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "visionrnn"


@dataclass(frozen=True, kw_only=True)
class FeatureFlags(EncoderFlags):
    """Flags of every training on the features of a frozen encoder."""

    image_size: Annotated[int, Range(0, 2048)] = 0
    """Side of the encoder's input in pixels; 0 is the backbone's own."""
    cache: Path | None = None
    """Folder for the encoder's features; by default under ~/.cache/visionrnn."""

    def frozen_encoder(self) -> Encoder:
        """The encoder with trained weights. Raises UsageError, EncoderWeightsError."""
        return Encoder.pretrained(self.encoder, self.image_size, self.encoder_weights).freeze()

    def features_folder(self, data: Path) -> Path:
        """Where the features of a data set are kept."""
        name = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:16]
        return self.cache or cache_folder() / "features" / name


ReadFiles = Callable[[Sequence[Path], Preprocess, int, int], Iterator[ImageBatch]]
"""As `common.images.read_batches`; a file that gives several images stands in `indices` once for each."""


def cached_features(
    paths: Sequence[Path],
    encoder: Encoder,
    folder: Path,
    *,
    read: ReadFiles = read_batches,
    variant: str = "",
    batch_size: int = 64,
    workers: int = 2,
    device: str = "auto",
) -> tuple[FeatureStore, dict[int, range], list[str]]:
    """Features of `paths` by a frozen encoder, from the cache in `folder` where it is still valid.

    Kept rows are used only if the encoder's fingerprint is the same and the file is unchanged: same
    size, mtime and ctime, or else the same SHA-256. Everything else is computed again; the new files are
    written aside and then renamed, so that an interrupted run leaves the old cache intact.

    Args:
        paths: the files.
        encoder: frozen.
        folder: of the cache.
        read: how files become images; by default each is one.
        variant: distinguishes readers that make different images of the same file.
        batch_size: images at a time, where the reader uses it.
        workers: threads that read.
        device: auto, cpu or cuda.

    Returns:
        the store; position in `paths` -> rows of the store; a message for each file that could not be read.
    """
    target_device = pick_device(device)
    precision = pick_precision("auto", target_device)
    key = hashlib.sha256(f"{encoder.fingerprint()} {precision} {variant} {PIXELS}".encode()).hexdigest()
    folder = folder / key[:16]
    folder.mkdir(parents=True, exist_ok=True)
    index = _read_index(folder, key)
    kept: dict[str, dict[str, Any]] = {}
    for path in dict.fromkeys(paths):
        entry = index["images"].get(str(path.resolve()))
        if entry and path.is_file() and _unchanged(path, entry):
            kept[str(path.resolve())] = entry
    missing = [p for p in dict.fromkeys(paths) if str(p.resolve()) not in kept]
    if missing:
        index, errors = _extend(
            index, kept, missing, encoder, folder, read, batch_size, workers, target_device, precision
        )
    else:
        errors = []
    entries = {i: index["images"].get(str(path.resolve())) for i, path in enumerate(paths)}
    rows = {i: range(e["row"], e["row"] + e["count"]) for i, e in entries.items() if e}
    if not rows:
        raise ImageError(
            f"none of the {len(paths)} files could be read; first: {errors[0] if errors else ''}"
        )
    return FeatureStore(folder / index["file"], tuple(index["shape"])), rows, errors


def _extend(
    index: dict[str, Any],
    kept: dict[str, dict[str, Any]],
    missing: list[Path],
    encoder: Encoder,
    folder: Path,
    read: ReadFiles,
    batch_size: int,
    workers: int,
    device: torch.device,
    precision: Any,
) -> tuple[dict[str, Any], list[str]]:
    """Write a new data file with the rows of `kept` and of `missing`, then point the index at it."""
    file = f"features-{uuid.uuid4().hex[:12]}.f16"
    temporary = folder / f"{file}.tmp"
    images: dict[str, dict[str, Any]] = {}
    errors: list[str] = []
    shape = index["shape"]
    written = 0
    encoder = encoder.to(device).to(memory_format=torch.channels_last)
    was_training = encoder.training
    encoder.eval()
    try:
        with temporary.open("wb") as out:
            if kept:
                old = FeatureStore(folder / index["file"], tuple(shape))
                for path, entry in kept.items():
                    for row in range(entry["row"], entry["row"] + entry["count"]):
                        out.write(old[row].numpy().tobytes())
                    images[path] = {**entry, "row": written}
                    written += entry["count"]
            progress = tqdm(total=len(missing), desc="encoding", unit="file", disable=not sys.stderr.isatty())
            for batch in read(missing, encoder.preprocess, batch_size, workers):
                errors += [str(error) for error in batch.errors.values()]
                progress.update(len(set(batch.indices)) + len(batch.errors))
                if not batch.indices:
                    continue
                with torch.inference_mode(), autocast(device, precision):
                    grid = encoder.places(batch.images.to(device))
                half = grid.to("cpu", torch.float16)
                if not torch.isfinite(half).all():
                    raise ValueError(f"encoder {encoder.name!r}: features exceed fp16; use another encoder")
                shape = [0, *half.shape[1:]]
                out.write(half.contiguous().numpy().tobytes())
                for i in batch.indices:
                    name = str(missing[i].resolve())
                    if name not in images:
                        stat, digest = _stat(missing[i]), _sha256(missing[i])
                        images[name] = {"row": written, "count": 0, "stat": stat, "sha256": digest}
                    images[name]["count"] += 1
                    written += 1
            progress.close()
            out.flush()
            os.fsync(out.fileno())
        new = {**index, "file": file, "shape": [written, *shape[1:]], "images": images}
        temporary.replace(folder / file)
        aside = folder / f"index-{uuid.uuid4().hex[:12]}.tmp"  # another run may write it at the same time
        aside.write_text(json.dumps(new), encoding="utf-8")
        aside.replace(folder / "index.json")
    finally:
        temporary.unlink(missing_ok=True)
        encoder.train(was_training)
    if index["file"]:
        (folder / index["file"]).unlink(missing_ok=True)
    return new, errors


def _read_index(folder: Path, key: str) -> dict[str, Any]:
    """The cache's index, or an empty one where there is no valid one."""
    empty = {"key": key, "file": "", "shape": [0, 0, 0], "images": {}}
    try:
        index: dict[str, Any] = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        if index["key"] == key:
            FeatureStore(folder / index["file"], tuple(index["shape"]))
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
