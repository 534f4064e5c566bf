"""A model on disk: where it lies, what its config says, and that its files are whole.

A model is a folder: `config.json` (architecture, preprocessing, vocabulary, metrics, data set, version),
`model.safetensors` and a card, `README.md`. The config holds the SHA-256 of the weights, so that a damaged or
exchanged file is noticed. Beside them lie the graphs of a model that was exported, see `common.engine`. A
stranger may have made the folder.
"""

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import ModelError, ModelNotFoundError
from common.schema import checked

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
CONSTANTS = "graphs.bin"
FORMAT = 1
MAX_BYTES = {CONFIG: 8 * 2**20, WEIGHTS: 2 * 2**30, CONSTANTS: 2**28, ".xml": 2**26}
"""By the name of a file, or how it ends."""
SCALE = ".int8_scale"
"""How the scales of a matrix of 8 bits are called, behind its name."""
_NUMPY: dict[str, Any] = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "I8": np.int8}
HUB = "hub:"
"""Stands before a name that is looked for on the hub alone."""


@dataclass(frozen=True)
class _Reference:
    """Where the weights of a frozen encoder are."""

    package: str
    fingerprint: str


def bundled_models(package_file: str, task: str = "") -> dict[str, Path]:
    """Name -> folder of the bundled models for a task, or for all, by the file of one of their modules."""
    found = sorted((Path(package_file).parent / "pretrained").glob(f"*/{CONFIG}"))
    tasks = [json.loads(path.read_text(encoding="utf-8"))["task"] for path in found]
    return {
        path.parent.name: path.parent for path, own in zip(found, tasks, strict=True) if own == (task or own)
    }


def find_folder(name: str | Path, bundled: Mapping[str, Path], **hub: Any) -> Path:
    """The folder of a bundled model, a model or run folder (its `best`), or of `hub:user/name`.

    The hub is asked only with `hub:` before the name, or where the name cannot be meant as a path: there is
    no folder `user` here, and it is not `runs`, where the models of one's own are.

    Raises:
        ModelNotFoundError: the name stands for nothing.
        ModelError: a file on the hub is larger than `MAX_BYTES`; nothing is fetched then.
    """
    name = str(name)
    folder = bundled.get(name, Path(name))
    if name.startswith(HUB) or not folder.exists():
        names = ", ".join(bundled) or "none"
        known = f"the models that come along ({names}), a model folder, a run folder"
        if not _is_on_hub(name):
            raise ModelNotFoundError(
                f"no model {name!r}: give one of {known}, or {HUB}user/name for one on the hub"
            )
        try:
            folder = _from_hub(name.removeprefix(HUB), **hub)
        except ModelError:
            raise
        except Exception as error:  # the hub client raises many kinds; every one means "not to be had"
            raise ModelNotFoundError(
                f"no model {name!r} here or on the hub ({type(error).__name__}): give one of {known}"
            ) from error
    for best in ("", "best", "best.old"):  # the last where a run was killed while it exchanged the two
        if (folder / best / CONFIG).exists():
            return folder / best
    return folder


def _from_hub(name: str, **hub: Any) -> Path:
    """The folder of `user/name` in the hub's cache, fetched where it is not there yet.

    Only files whose sizes the hub has told are fetched; where it cannot be asked, those of the cache serve.
    """
    from huggingface_hub import HfApi, snapshot_download  # late: few models come from there
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import filter_repo_objects

    patterns = [CONFIG, WEIGHTS, CARD, CONSTANTS, "*.xml"]
    options = {key: hub[key] for key in ("revision", "token") if key in hub}
    try:
        found = HfApi().model_info(name, files_metadata=True, **options)
    except HfHubHTTPError:  # the hub says no
        raise
    except Exception:  # no network, which each version of its client tells in another way
        hub |= {"local_files_only": True}
    else:
        hub |= {"revision": found.sha}  # the very files that are looked at here
        files = filter_repo_objects(
            found.siblings or (), allow_patterns=patterns, key=lambda file: file.rfilename
        )
        for file in files:
            size, most = file.size, _most_bytes(file.rfilename)
            if size is None or size > most:
                raise ModelError(f"{HUB}{name}: {file.rfilename} has {size} bytes, expected at most {most:,}")
    return Path(snapshot_download(name, allow_patterns=patterns, **hub))


def _most_bytes(name: str) -> int:
    return MAX_BYTES.get(name) or MAX_BYTES.get(Path(name).suffix, MAX_BYTES[CONFIG])


def find_file(folder: Path, name: str) -> Path:
    """The real path of a file of a model folder, which a stranger may have made.

    Raises:
        ModelError: it is missing, no file (but a FIFO or a device), a link out of the folder, or larger than
            `MAX_BYTES`.
    """
    file, root = (Path(os.path.realpath(path)) for path in (folder / name, folder))
    if root.parent.name == "snapshots":  # the hub's cache: its files are links to ../../blobs
        root = root.parents[1]
    if not os.path.lexists(folder / name):
        raise ModelError(f"{folder}: {name} is missing; copy the whole folder again")
    if not file.is_relative_to(root):
        raise ModelError(f"{folder / name}: a link out of the folder; put the file itself there")
    if not file.is_file():
        raise ModelError(f"{folder / name}: not a file; copy the whole folder again")
    size = file.stat().st_size
    most = _most_bytes(name)
    if size > most:
        raise ModelError(f"{folder / name}: {size:,} bytes, expected at most {most:,}")
    return file


def _is_on_hub(name: str) -> bool:
    """Whether the hub may be asked for a name: a typing error in a path never is."""
    user, _, model = name.removeprefix(HUB).partition("/")
    if not user or not model or "/" in model or user.startswith("."):
        return False
    return name.startswith(HUB) or (user != "runs" and not os.path.lexists(user))


def read_config(folder: Path, task: str | None = None) -> dict[str, Any]:
    """The checked config of a model folder, of a task or of any. Raises ModelError."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: not a folder; a model is a folder with {CONFIG} and {WEIGHTS}")
    if not os.path.lexists(folder / WEIGHTS):
        pickles = [p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl")]
        held = f"{pickles[0]} is a pickle and is refused; " if pickles else ""
        raise ModelError(f"{folder}: {WEIGHTS} is missing; {held}save the model with save_pretrained")
    try:
        config: dict[str, Any] = json.loads(find_file(folder, CONFIG).read_text(encoding="utf-8"))
        found = config["task"], config["format"]
        _ = config["architecture"], config["weights_sha256"]
        checked(dict, config["info"], "info")
        if config.get("encoder_weights") is not None:
            checked(_Reference, config["encoder_weights"], "encoder_weights")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{folder / CONFIG}: not the config of a visionrnn model ({error!r})") from None
    if task is not None and found[0] != task:
        raise ModelError(f"{folder}: a model for {found[0]}, not for {task}")
    if found[1] != FORMAT:
        raise ModelError(f"{folder}: format {found[1]}, this version reads {FORMAT}; upgrade visionrnn")
    return config


def read_weights(folder: Path, config: Mapping[str, Any]) -> bytes:
    """The content of the weights' file. Raises ModelError where it is altered or no safetensors."""
    data = find_file(folder, WEIGHTS).read_bytes()
    try:
        tensor_positions(data)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        # asked only now: the length of a header may have the same first bytes
        pickled = data[:2] in (b"PK", b"\x80\x02", b"\x80\x04")
        what = "a pickle, which is refused" if pickled else f"no safetensors file ({error})"
        raise ModelError(f"{folder / WEIGHTS}: {what}; save the model again with save_pretrained") from None
    if hashlib.sha256(data).hexdigest() != config["weights_sha256"]:
        raise ModelError(
            f"{folder / WEIGHTS}: altered or damaged, {CONFIG} has another SHA-256; copy it again"
        )
    return data


def stored_arrays(weights: bytes) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file of floats in float32, those of 8 bits times their scale."""
    found = {}
    for name, (kind, shape, start, size) in tensor_positions(weights).items():
        if kind in _NUMPY:
            values = np.frombuffer(weights, _NUMPY[kind], size // np.dtype(_NUMPY[kind]).itemsize, start)
            if kind == "BF16":  # the upper half of a float32
                values = (values.astype(np.uint32) << 16).view(np.float32)
            found[name] = values.astype(np.float32).reshape(shape)
    scales = {name: found.pop(name) for name in list(found) if name.endswith(SCALE)}
    return found | {n.removesuffix(SCALE): found[n.removesuffix(SCALE)] * s for n, s in scales.items()}


def tensor_positions(weights: bytes) -> dict[str, tuple[str, tuple[int, ...], int, int]]:
    """Of each tensor of a safetensors file: type, shape, first byte within the file, size in bytes."""
    (length,) = struct.unpack("<Q", weights[:8])
    header = json.loads(weights[8 : 8 + length])
    return {
        name: (
            entry["dtype"],
            tuple(entry["shape"]),
            8 + length + entry["data_offsets"][0],
            entry["data_offsets"][1] - entry["data_offsets"][0],
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }
