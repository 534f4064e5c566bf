"""A frozen encoder run once over the files of a data set, kept memory-mapped on disk.

Notation: N images, L = H * W grid places, C channels.
"""

import hashlib
import json
import mmap
import os
import sys
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from tqdm import tqdm

from common.cli import print_note
from common.device import autocast, pick_device, pick_precision
from common.encoder import Encoder, EncoderFlags
from common.errors import ImageError
from common.files import cache_folder, locked, share, write_aside
from common.images import PIXELS, ImageBatch, Preprocess, read_batches
from common.schema import Range, checked

_INDEX, _FORMAT = "index.json", 2
_RELEASE_BYTES = 128 * 2**20  # bytes read before their pages are released to the system


class FeatureStore:
    """Rows of fp16 features (N, L, C) at the beginning of a file, mapped read-only; reading fills no memory.

    Safe to send to DataLoader workers. Pages that were read are released now and then: they stay in
    the system's cache, but do not count as this process's memory. No training removes the file of a store
    that another one has open.

    Args:
        file: at least N * L * C fp16 numbers.
        shape: (N, L, C).

    Raises:
        ValueError: the file is too short.
    """

    def __init__(self, file: Path, shape: tuple[int, int, int]) -> None:
        expected, size = 2 * int(np.prod(shape)), file.stat().st_size
        if size < expected:
            raise ValueError(f"{file}: {size} bytes, expected {expected} for {shape}; delete it")
        self.file, self.shape = file, shape
        self._bytes_read = 0
        self._open()

    def _open(self) -> None:
        self._opened = self.file.open("rb")
        share(self._opened)
        self._map = mmap.mmap(self._opened.fileno(), 0, access=mmap.ACCESS_READ)
        if hasattr(mmap, "MADV_RANDOM"):
            self._map.madvise(mmap.MADV_RANDOM)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, row: int) -> torch.Tensor:
        """Features of one image: fp16 (L, C)."""
        return torch.from_numpy(self._row(row).copy())

    def checksum(self, row: int) -> int:
        """The CRC-32 of a row."""
        return zlib.crc32(self._row(row).data)

    def _row(self, row: int) -> np.ndarray:
        places, channels = self.shape[1:]
        size = places * channels
        if self._bytes_read > _RELEASE_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._bytes_read = 0
        self._bytes_read += 2 * size
        return np.frombuffer(self._map, np.float16, size, row * size * 2).reshape(places, channels)

    def __getstate__(self) -> dict[str, Any]:
        return {"file": self.file, "shape": self.shape, "_bytes_read": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


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
Encode = Callable[[torch.Tensor], torch.Tensor]
"""Preprocessed images (N, 3, H, W) -> features (N, L, C), by the encoder."""


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
    encode: Encode | None = None,
) -> tuple[FeatureStore, dict[int, range], list[str]]:
    """Features of `paths` by a frozen encoder, from the cache in `folder` where it is still valid.

    Kept rows are used only if the encoder's fingerprint is the same, the file is unchanged (same size, mtime
    and ctime, or else the same SHA-256) and so are the row's bytes (CRC-32). Everything else is computed and
    written behind the rows that are there. The index makes them count and is replaced last, so that an
    interrupted run leaves the old cache intact. A file that cannot be read is remembered until it changes.
    One process at a time fills a folder, the others wait.

    Args:
        paths: the files.
        encoder: frozen.
        folder: of the cache.
        read: how files become images; by default each is one.
        variant: distinguishes readers that make different images of the same file.
        batch_size: images at a time, where the reader uses it.
        workers: threads that read.
        device: auto, cpu or cuda.
        encode: what is kept of the images; by default the encoder's `places`.

    Returns:
        the store; position in `paths` -> rows of the store; a message for each file that could not be read.
    """
    target_device = pick_device(device)
    precision = pick_precision("auto", target_device)
    key = hashlib.sha256(
        f"{encoder.fingerprint()} {precision} {variant} {PIXELS} {_FORMAT}".encode()
    ).hexdigest()
    folder = folder / key[:16]
    folder.mkdir(parents=True, exist_ok=True)
    names = [str(path.resolve()) for path in paths]
    with _alone(folder):
        index = _read_index(folder, key)
        _remove_unused(folder, index)
        known = {n: e for n in names if (e := index["images"].get(n)) and _unchanged(Path(n), e)}
        damaged = _damaged(folder, index, known)
        if damaged:
            print_note(
                f"{folder}: {len(damaged):,} of the cached features were damaged; they are computed again"
            )
        missing = {n: p for n, p in zip(names, paths, strict=True) if n not in known or n in damaged}
        if missing:
            index = _extend(
                index,
                missing,
                encoder,
                encode or encoder.places,
                folder,
                read,
                batch_size,
                workers,
                target_device,
                precision,
            )
        found = {i: index["images"][name] for i, name in enumerate(names)}
        errors = list(dict.fromkeys(entry["error"] for entry in found.values() if "error" in entry))
        rows = {i: range(e["row"], e["row"] + e["count"]) for i, e in found.items() if "error" not in e}
        if not rows:
            raise ImageError(f"none of the {len(paths)} files could be read; first: {errors[0]}")
        return FeatureStore(folder / index["file"], tuple(index["shape"])), rows, errors


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process fills the folder, and keep others from it."""
    with locked(folder) as free:
        if free:
            yield
            return
    print_note(f"{folder}: another training fills it; waiting")
    with locked(folder, wait=True):
        yield


def _remove_unused(folder: Path, index: dict[str, Any]) -> None:
    """Remove what kills and replaced files left in a folder, but for what another training reads."""
    size = 2 * int(np.prod(index["shape"]))
    for file in (*folder.glob("*.f16"), *folder.glob("*.tmp")):
        with suppress(OSError):
            if file.name != index["file"]:
                with locked(file) as free:
                    if free:
                        file.unlink()
            elif file.stat().st_size > size:
                os.truncate(file, size)


def _damaged(folder: Path, index: dict[str, Any], known: dict[str, dict[str, Any]]) -> set[str]:
    """Those of the known images whose rows are not as they were written."""
    if not index["file"]:
        return set()
    store = FeatureStore(folder / index["file"], tuple(index["shape"]))
    return {
        name
        for name, entry in known.items()
        if any(
            store.checksum(row) != crc for row, crc in enumerate(entry.get("crc32", ()), entry.get("row", 0))
        )
    }


def _extend(
    index: dict[str, Any],
    missing: dict[str, Path],
    encoder: Encoder,
    encode: Encode,
    folder: Path,
    read: ReadFiles,
    batch_size: int,
    workers: int,
    device: torch.device,
    precision: Any,
) -> dict[str, Any]:
    """Write the rows of `missing` (name in the index -> file) behind the others, then a new index.

    Where most rows belong to files that are gone or were changed, the others go to a new file first.
    """
    names = list(missing)
    images = {n: e for n, e in index["images"].items() if n not in missing and os.path.lexists(n)}
    used, (written, *row_shape) = index["file"], index["shape"]
    if used and 2 * sum(e.get("count", 0) for e in images.values()) < written:
        old = FeatureStore(folder / used, tuple(index["shape"]))
        used = ""
    file = folder / (used or f"features-{uuid.uuid4().hex[:12]}.f16")
    encoder = encoder.to(device).to(memory_format=torch.channels_last)
    was_training = encoder.training
    encoder.eval()
    try:
        with file.open("r+b" if used else "wb") as out:
            if used:
                out.seek(2 * int(np.prod(index["shape"])))
            elif written:
                written = 0
                for name, entry in images.items():
                    for row in range(entry.get("row", 0), entry.get("row", 0) + entry.get("count", 0)):
                        out.write(old[row].numpy().tobytes())
                    if "row" in entry:
                        images[name] = {**entry, "row": written}
                        written += entry["count"]
            progress = tqdm(total=len(missing), desc="encoding", unit="file", disable=not sys.stderr.isatty())
            for batch in read(list(missing.values()), encoder.preprocess, batch_size, workers):
                for i, error in batch.errors.items():
                    images[names[i]] = {"error": str(error), "stat": _stat(missing[names[i]])}
                progress.update(len(set(batch.indices)) + len(batch.errors))
                if not batch.indices:
                    continue
                with torch.inference_mode(), autocast(device, precision):
                    grid = encode(torch.as_tensor(batch.images).to(device))
                half = grid.to("cpu", torch.float16)
                if not torch.isfinite(half).all():
                    raise ValueError(f"encoder {encoder.name!r}: features exceed fp16; use another encoder")
                row_shape = list(half.shape[1:])
                for i, row in zip(batch.indices, half.contiguous().numpy(), strict=True):
                    name = names[i]
                    if name not in images:
                        stat, digest = _stat(missing[name]), _sha256(missing[name])
                        images[name] = {
                            "row": written,
                            "count": 0,
                            "stat": stat,
                            "sha256": digest,
                            "crc32": [],
                        }
                    images[name]["count"] += 1
                    images[name]["crc32"].append(zlib.crc32(row))
                    out.write(row)
                    written += 1
            progress.close()
            out.flush()
            os.fsync(out.fileno())
        if not written:
            file.unlink()
        new = {
            **index,
            "file": file.name if written else "",
            "shape": [written, *row_shape],
            "images": images,
        }
        with write_aside(folder / _INDEX) as aside:
            aside.write_text(json.dumps(new), encoding="utf-8")
    except BaseException:
        if not used:
            file.unlink(missing_ok=True)
        raise
    finally:
        encoder.train(was_training)
    return new


def _read_index(folder: Path, key: str) -> dict[str, Any]:
    """The cache's index; an empty one where there is none, or with a line where it is damaged."""
    empty = {"key": key, "file": "", "shape": [0, 0, 0], "images": {}}
    try:
        index: dict[str, Any] = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        shape, name = checked(tuple[int, int, int], index["shape"], "shape"), index["file"]
        whole = index["key"] == key and name == Path(name).name
        for entry in index["images"].values():
            if "error" not in entry:
                first, last = entry["row"], entry["row"] + len(entry["crc32"])
                whole = whole and 0 <= first < last == first + entry["count"] <= shape[0]
                _ = entry["stat"], entry["sha256"]
        if name:
            FeatureStore(folder / name, shape)
        if whole:
            return index
    except FileNotFoundError:
        if not (folder / _INDEX).exists():
            return empty
    except Exception:  # damage shows in many ways
        pass
    print_note(f"{folder}: the cache of features is damaged; they are computed again")
    return empty


def _unchanged(path: Path, entry: dict[str, Any]) -> bool:
    """Whether a file is the one that its entry in the index is about."""
    if _stat(path) == entry["stat"]:
        return True
    return "error" not in entry and path.is_file() and _sha256(path) == entry["sha256"]


def _stat(path: Path) -> list[int]:
    """Of a file that does not exist, nothing."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
