"""save_pretrained, from_pretrained, and the bundled models.

See `common.model_folder`. A frozen encoder whose weights come from an installed package is not stored again:
the config names the package and the encoder's fingerprint, which is checked on loading. Only a model that is
exported (`common.export`) holds it too, since it runs where no package of torch is.

A stranger may have made the folder. Before anything is allocated, the config's values are compared with their
types and ranges, and the names, shapes and types of the tensors with those of the network that it describes.
"""

import hashlib
import json
import sys
from abc import abstractmethod
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from huggingface_hub import EvalResult, ModelCardData, PyTorchModelHubMixin
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import nn

from common.encoder import WEIGHTS_PACKAGES, Encoder
from common.errors import EncoderWeightsError, ModelError
from common.model_folder import (
    CARD,
    CONFIG,
    FORMAT,
    SCALE,
    WEIGHTS,
    bundled_models,
    find_file,
    find_folder,
    read_config,
)

_FLOATS = {"F32", "F16", "BF16"}
_STORED = {torch.int64: {"I64"}, torch.int32: {"I32"}, torch.uint8: {"U8"}, torch.bool: {"BOOL"}}
_LARGE = 2**16  # weights from which on a matrix may be stored in 8 bits
M = TypeVar("M", bound="PretrainedModel")


class PretrainedModel(nn.Module, PyTorchModelHubMixin, library_name="visionrnn"):
    """A module that goes to disk and to the Hugging Face hub and comes back.

    Subclasses set `task`, give `architecture()` and `from_architecture()`, and may own an `encoder`. Those
    that run on the engine too set `has_graphs` and give `graphs()`.

    Attributes:
        info: what the config says beside the architecture: data set, terms, command, seed, metrics.
    """

    task: ClassVar[str]
    pipeline_tag: ClassVar[str | None] = None
    """What the hub calls such a task, where it has a name for it."""
    has_graphs: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.encoder: Encoder | None = None
        self.info: dict[str, Any] = {}
        self._int8 = False

    @abstractmethod
    def architecture(self) -> dict[str, Any]:
        """Everything but tensors that is needed to build the model again, as JSON values."""

    @classmethod
    @abstractmethod
    def from_architecture(cls: type[M], values: dict[str, Any]) -> M:
        """Build the model, with random weights, from what `architecture` gave.

        A stranger may have written the values: `common.schema.checked` first.
        """

    @classmethod
    def bundled(cls) -> dict[str, Path]:
        """Name -> folder of the bundled models of this task."""
        return bundled_models(str(sys.modules[cls.__module__].__file__), cls.task)

    @classmethod
    def from_pretrained(cls: type[M], pretrained_model_name_or_path: str | Path, **hub: Any) -> M:
        """Load a model: a bundled name, a model folder, a run folder (its `best`), or `hub:user/name`.

        The hub is asked only with `hub:` before the name, or where the name cannot be meant as a path: there
        is no folder `user` here, and it is not `runs`, where the models of one's own are.

        Raises:
            ModelNotFoundError: the name stands for nothing.
            ModelError: the folder is incomplete, altered, of another task or version, or holds a pickle.
        """
        folder = find_folder(pretrained_model_name_or_path, cls.bundled(), **hub)
        return cls._from_pretrained(model_id=str(folder))

    @classmethod
    def _from_pretrained(cls: type[M], *, model_id: str, **_: Any) -> M:
        folder = Path(model_id)
        config = read_config(folder, cls.task)
        reference = config.get("encoder_weights")
        cls._check_tensors(folder, config["architecture"], reference)
        data = find_file(folder, WEIGHTS).read_bytes()
        tensors = load_safetensors(data)
        _check_numbers(folder, tensors)
        if hashlib.sha256(data).hexdigest() != config["weights_sha256"]:
            raise ModelError(
                f"{folder / WEIGHTS}: altered or damaged, {CONFIG} has another SHA-256; copy it again"
            )
        try:
            model = cls.from_architecture(config["architecture"])
            if reference and model.encoder is not None:
                model.encoder.load_package_weights()
                if model.encoder.freeze().fingerprint() != reference["fingerprint"]:
                    raise ModelError(
                        f"{folder}: {reference['package']} has other weights than the model was trained on"
                    )
                tensors |= {f"encoder.{n}": t for n, t in model.encoder.state_dict().items()}
            model.load_state_dict(_from_int8(tensors))
        except (EncoderWeightsError, ValueError) as error:
            raise ModelError(f"{folder}: {error}") from None
        model.info = config["info"]
        return model.eval()

    @classmethod
    def _check_tensors(cls, folder: Path, architecture: Any, reference: dict[str, Any] | None) -> None:
        """Compare the weights' names, shapes and types with the network that the config describes.

        Nothing of its size is allocated. Raises ModelError.
        """
        file = find_file(folder, WEIGHTS)
        try:
            with safe_open(file, framework="pt") as weights:
                slices = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118
                found = {name: (s.get_dtype(), tuple(s.get_shape())) for name, s in slices.items()}
        except SafetensorError as error:
            with file.open("rb") as opened:
                pickled = opened.read(2) in (b"PK", b"\x80\x02", b"\x80\x04")
            raise ModelError(
                f"{file}: {'a pickle, which is refused' if pickled else 'no safetensors file'} "
                f"({error}); save the model again with save_pretrained"
            ) from None
        try:
            with torch.device("meta"):
                model = cls.from_architecture(architecture)
        except Exception as error:  # a backbone may refuse sizes in any way
            raise ModelError(f"{folder / CONFIG}: not the config of this model ({error})") from None
        expected = model.state_dict()
        if reference is not None and model.encoder is not None:
            if model.encoder.name not in WEIGHTS_PACKAGES:
                raise ModelError(
                    f"{folder / CONFIG}: no package has weights of encoder {model.encoder.name!r}; "
                    "save the model again"
                )
            expected = {name: t for name, t in expected.items() if not name.startswith("encoder.")}
        for name, tensor in expected.items():
            dtype, shape = found.pop(name, ("nothing", ()))
            allowed, wanted = _STORED.get(tensor.dtype, _FLOATS), tuple(tensor.shape)
            if dtype == "I8" and allowed is _FLOATS:
                scale = found.pop(name + SCALE, ("nothing", ()))
                wrong = scale[0] not in _FLOATS or scale[1] != (*wanted[:1], 1)
            else:
                wrong = dtype not in allowed
            if wrong or shape != wanted:
                raise ModelError(
                    f"{folder}: {CONFIG} and {WEIGHTS} do not belong together ({name} is {dtype} {shape}, "
                    f"expected {'/'.join(sorted(allowed))} {wanted})"
                )
        if found:
            raise ModelError(
                f"{folder}: {CONFIG} and {WEIGHTS} do not belong together "
                f"({next(iter(found))!r} is not of the network)"
            )

    def _save_pretrained(self, save_directory: Path) -> None:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        if self._int8:
            tensors = _to_int8(tensors)
        config: dict[str, Any] = {
            "format": FORMAT,
            "version": metadata.version("visionrnn"),
            "task": self.task,
            "architecture": self.architecture(),
            "info": self.info,
        }
        encoder = self.encoder
        if encoder is not None and encoder.frozen and encoder.weights_package:
            tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("encoder.")}
            config["encoder_weights"] = {
                "package": encoder.weights_package,
                "fingerprint": encoder.fingerprint(),
            }
        data = save_safetensors(tensors, metadata={"format": "pt"})
        config["weights_sha256"] = hashlib.sha256(data).hexdigest()
        (save_directory / WEIGHTS).write_bytes(data)
        if not (save_directory / CARD).exists():
            (save_directory / CARD).write_text(self.card(), encoding="utf-8")
        (save_directory / CONFIG).write_text(
            json.dumps(config, indent=1, ensure_ascii=False), encoding="utf-8"
        )

    @property
    def looks(self) -> bool:
        """Whether it makes use of its encoder."""
        return self.encoder is not None

    def graphs(self) -> dict[str, Any]:
        """What becomes the graphs of `common.export`, by name. Only where `has_graphs` is set."""
        raise NotImplementedError

    def graph_facts(self) -> dict[str, Any]:
        """What users of the graphs must know besides the architecture, as JSON values."""
        return {"parameters": parameter_count(self)}

    def card(self) -> str:
        """A model card from `info`, below the header that the hub reads.

        The user completes data terms and limits before publishing.
        """
        results = [
            EvalResult(self.pipeline_tag or self.task, str(self.info.get("data", "own")), "val", key, value)
            for key, value in self.info.get("metrics", {}).items()
            if isinstance(value, int | float)
        ]
        header = ModelCardData(
            library_name="visionrnn",
            pipeline_tag=self.pipeline_tag,
            tags=[self.task, "rnn"],
            model_name=self.task if results else None,
            eval_results=results or None,
        )
        rows = [f"| {key} | {value} |" for key, value in self.info.items() if not isinstance(value, dict)]
        scores = [f"| {key} | {value} |" for key, value in self.info.get("metrics", {}).items()]
        lines = [
            "---",
            header.to_yaml(),
            "---",
            "",
            f"# A visionrnn model for {self.task}",
            "",
            "| | |",
            "|---|---|",
            f"| parameters | {parameter_count(self):,} |",
        ]
        return "\n".join([*lines, *rows, "", "| metric on val | |", "|---|---|", *scores, ""])

    def save_half(self, folder: Path, *, int8: bool = False) -> None:
        """Save with every tensor in fp16, half as large; the encoder of a package is not stored at all.

        With `int8` large matrices (not convolutions) are stored as integers of 8 bits with a scale a row.
        """
        self._int8 = int8
        if self.encoder is not None and not (self.encoder.frozen and self.encoder.weights_package):
            self.encoder.half()
        for child in self.children():
            if child is not self.encoder:
                child.half()
        self.save_pretrained(folder)
        self._int8 = False
        self.float()


def _to_int8(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Large matrices as integers, each row with a scale of its own: w = scale * integer."""
    packed: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim == 2 and tensor.is_floating_point() and tensor.numel() >= _LARGE:
            scale = tensor.float().abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
            packed[name] = (tensor.float() / scale).round().to(torch.int8)
            packed[name + SCALE] = scale
        else:
            packed[name] = tensor
    return packed


def _from_int8(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    scales = {name.removesuffix(SCALE): t for name, t in tensors.items() if name.endswith(SCALE)}
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith(SCALE)}
    return kept | {name: kept[name].float() * scale for name, scale in scales.items()}


def _check_numbers(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Raises ModelError where a tensor holds NaN or infinity."""
    floats = {name: t for name, t in tensors.items() if t.is_floating_point() and t.numel()}
    wrong = [name for name, t in floats.items() if not torch.stack(t.aminmax()).isfinite().all()]
    if wrong:
        raise ModelError(
            f"{folder / WEIGHTS}: {len(wrong)} tensors hold NaN or infinity, first {wrong[0]!r}; "
            "the training diverged: train with a lower --learning-rate"
        )


def parameter_count(model: nn.Module) -> int:
    """Number of weights, frozen ones included."""
    return sum(parameter.numel() for parameter in model.parameters())
