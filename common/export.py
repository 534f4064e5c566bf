"""A model's graphs, made from its torch modules and compared with them. See `common.engine`."""

import hashlib
import json
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import nn

from common.engine import GRAPH_FORMAT, load_graphs, padded
from common.errors import ModelError
from common.files import write_aside
from common.images import Preprocess
from common.model_folder import (
    CARD,
    CONFIG,
    CONSTANTS,
    SCALE,
    WEIGHTS,
    read_config,
    read_weights,
    tensor_positions,
)
from common.pretrained import PretrainedModel

TOLERANCE = 1e-3
"""How far an output of a graph may be from torch's in fp32, relative to the largest value."""
_SMALL = 64  # bytes below which a constant is not looked for among the weights
_ELEMENTS = {"F16": "f16", "F32": "f32", "BF16": "bf16", "I8": "i8"}


class Traced(NamedTuple):
    """What becomes one graph."""

    module: nn.Module
    """Tensors -> a tensor or a (nested) tuple of them. Sizes are read as `x.shape[0]`, never `len(x)`, which
    the trace would take for a constant."""
    inputs: Sequence[tuple[torch.Tensor, ...]]
    """Real inputs of three shapes: the first is traced, on all of them graph and torch are compared."""


class Looking(nn.Module):
    """images (N, H, W, 3) -> features.

    Args:
        model: has the weights.
        encode: its method, (N, 3, H, W) -> features.
    """

    def __init__(self, model: nn.Module, encode: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.model, self.encode = model, encode

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.encode(images.permute(0, 3, 1, 2))


class Stepping(nn.Module):
    """One step of a decoder: tokens (R,), memory, state -> what `look_and_step` gives, the state last.

    Args:
        decoder: has `look_and_step`.
        memory: the NamedTuple that it takes.
        state: one of its states, for the form.
    """

    def __init__(self, decoder: nn.Module, memory: Any, state: Any) -> None:
        super().__init__()
        self.decoder, self.memory, self.state = decoder, memory, state

    def forward(self, tokens: torch.Tensor, *fields: torch.Tensor) -> Any:
        """See the class."""
        count = len(self.memory._fields)
        state = rebuilt(self.state, iter(fields[count:]))
        step: Any = self.decoder
        return step.look_and_step(tokens, state, self.memory(*fields[:count]))


def export(kind: type[PretrainedModel], folder: Path, out: Path | None = None) -> None:
    """Write a model with its graphs, which its config then lists.

    Its weights stay as they are, but for an encoder that they only name: that is stored with them.

    Args:
        kind: the class of the model.
        folder: of the model.
        out: folder for the exported model; None is `folder` itself.

    Raises:
        ModelError: a graph cannot be made, or gives other values than torch; nothing is written then.
        OSError: `out` cannot be written.
    """
    if not kind.has_graphs:
        raise ModelError(f"{folder}: models for {kind.task} have no graphs yet; they run on torch")
    config = read_config(folder, kind.task)
    config.pop("graphs", None)
    weights = read_weights(folder, config)
    if config.get("encoder_weights") and (named := kind.from_pretrained(folder)).looks:
        weights = _with_encoder(weights, named)
        config |= {"weights_sha256": hashlib.sha256(weights).hexdigest()}
        del config["encoder_weights"]
    files = {WEIGHTS: weights, CARD: (folder / CARD).read_bytes() if (folder / CARD).exists() else b""}
    with tempfile.TemporaryDirectory() as name:
        staged = Path(name)
        _write(staged, {**files, CONFIG: _json(config)})
        model = kind.from_pretrained(staged)
        traced: dict[str, Traced] = model.graphs()
        stored = _Stored(weights)
        graphs = {f"{name}.xml": stored.graph(_convert(name, part)) for name, part in traced.items()}
        graphs[CONSTANTS] = bytes(stored.constants)
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in graphs.items()}
        config["graphs"] = {"format": GRAPH_FORMAT, "files": digests, **model.graph_facts()}
        _write(staged, graphs)
        loaded, _ = load_graphs(staged, config, weights, list(traced), "fp32")
    for name, part in traced.items():
        for inputs in part.inputs:
            _compare(name, loaded[name](*(each.numpy() for each in inputs)), part.module, inputs)
    out = folder if out is None else out
    out.mkdir(parents=True, exist_ok=True)
    _write(out, {**files, **graphs, CONFIG: _json(config)})  # the config last


def _json(config: dict[str, Any]) -> bytes:
    return json.dumps(config, indent=1, ensure_ascii=False).encode()


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        with write_aside(folder / name) as aside:
            aside.write_bytes(content)


def _with_encoder(weights: bytes, model: PretrainedModel) -> bytes:
    """The weights with those of the encoder; in fp16 where the others are, but for biases and the like."""
    tensors = load_safetensors(weights)
    half = any(tensor.dtype == torch.float16 for tensor in tensors.values())
    encoder: Any = model.encoder
    for name, tensor in encoder.state_dict().items():
        small = half and tensor.ndim > 1
        tensors[f"encoder.{name}"] = (tensor.half() if small else tensor).contiguous()
    return save_safetensors(tensors, metadata={"format": "pt"})


def tensors_of(found: Any) -> list[torch.Tensor]:
    """The tensors of a (nested) tuple, in order."""
    if isinstance(found, torch.Tensor):
        return [found]
    return [tensor for each in found for tensor in tensors_of(each)]


def rebuilt(like: Any, tensors: Iterator[torch.Tensor]) -> Any:
    """The (nested) tuple that `tensors_of` took apart, with other tensors."""
    if isinstance(like, torch.Tensor):
        return next(tensors)
    fields = [rebuilt(field, tensors) for field in like]
    return tuple(fields) if type(like) is tuple else type(like)(*fields)


def sample_images(preprocess: Preprocess, count: int) -> torch.Tensor:
    """`count` drawn images, discs of all colours on a gradient, preprocessed: (count, H, W, 3)."""
    random = np.random.default_rng(count)
    y, x = np.mgrid[0:240, 0:320]
    found = []
    for _ in range(count):
        pixels = np.stack([x * 0.7, y, (x + y) * 0.4], axis=-1)
        for _ in range(12):
            inside = np.hypot(y - random.uniform(0, 240), x - random.uniform(0, 320)) < random.uniform(10, 90)
            pixels[inside] = random.uniform(0, 255, 3)
        found.append(np.asarray(preprocess(Image.fromarray(pixels.astype(np.uint8)))))
    return torch.from_numpy(np.stack(found)).permute(0, 2, 3, 1).contiguous()


class _Flat(nn.Module):
    """A module whose outputs are one tuple of tensors."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(tensors_of(self.module(*inputs)))


def _convert(name: str, part: Traced) -> Any:
    """The graph of what is traced. Raises ModelError for what OpenVINO does not know."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter(
                "ignore"
            )  # the trace warns of every Python number; `_compare` finds the wrong ones
            traced = torch.jit.trace(_Flat(part.module), part.inputs[0], check_trace=False)
            frontend = FrontEndManager().load_by_framework("pytorch")
            decoder = TorchScriptPythonDecoder(traced)  # must outlive the call
            graph = frontend.convert(frontend.load(decoder))
            examples = zip(*part.inputs, strict=True)
            graph.reshape({port: _shape(each) for port, each in zip(graph.inputs, examples, strict=True)})
            return graph
    except Exception as error:
        raise ModelError(f"graph {name!r} cannot be made: {_last_line(error)}") from error


def _shape(inputs: Sequence[torch.Tensor]) -> Any:
    """The shape of an input; a size in which its examples differ may be any."""
    import openvino

    every = zip(*(each.shape for each in inputs), strict=True)
    return openvino.PartialShape([sizes[0] if len(set(sizes)) == 1 else -1 for sizes in every])


def _compare(name: str, found: list[np.ndarray], module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    with torch.inference_mode():
        expected = tensors_of(module(*inputs))
    for i, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        wanted = theirs.float().numpy()
        scale = max(float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0)), 1e-6)
        if ours.shape != wanted.shape or not np.allclose(ours, wanted, rtol=0, atol=TOLERANCE * scale):
            raise ModelError(
                f"graph {name!r} gives other values than torch (output {i}, inputs of shapes "
                f"{[tuple(x.shape) for x in inputs]}); it is not written, and the model runs on torch"
            )


class _Stored:
    """The bytes that graphs refer to: those of a safetensors file, and behind them constants.

    Args:
        weights: the content of the file.
    """

    def __init__(self, weights: bytes) -> None:
        self.start = len(padded(weights))
        self.constants = bytearray()
        self._placed: dict[bytes, int] = {}  # bytes of a constant -> their place
        self._tensors: dict[bytes, tuple[str, Any, Any]] = {}  # of a tensor in fp32 -> type, values, scale
        tensors = load_safetensors(weights)
        for name, (kind, _, start, size) in tensor_positions(weights).items():
            self._placed[_digest(weights[start : start + size])] = start
            scale = tensors.get(f"{name}{SCALE}")
            value = tensors[name].float() if scale is None else tensors[name].float() * scale
            if kind in _ELEMENTS and size >= _SMALL:
                raw = np.frombuffer(weights, np.uint8, size, start)
                key = _digest(value.contiguous().numpy().tobytes())
                self._tensors[key] = _ELEMENTS[kind], raw, None if scale is None else scale.numpy()

    def graph(self, model: Any) -> bytes:
        """The XML of a graph whose constants are taken from the file where it holds them."""
        for node in model.get_ops():
            if node.get_type_name() == "Constant" and node.get_element_type().get_type_name() == "f32":
                self._link(node)
        for i, port in enumerate(model.inputs):
            port.get_tensor().set_names({f"input{i}"})
        import openvino

        with tempfile.TemporaryDirectory() as name:
            xml, data = Path(name, "graph.xml"), Path(name, "graph.bin")
            openvino.serialize(model, str(xml), str(data))
            text, held = xml.read_text(encoding="utf-8"), data.read_bytes()

        def place(found: re.Match[str]) -> str:
            start, size = int(found[1]), int(found[2])
            return f'offset="{self._place(held[start : start + size])}" size="{size}"'

        # names, which nothing asks for, and white space are more than half of it; some count what came before
        text = re.sub(r' names="[^"]*"', "", re.sub(r">\s+<", "><", text))
        text = re.sub(r'<attribute name="fused_names"[^>]*/>', "", text).replace("<rt_info></rt_info>", "")
        text = re.sub(r'<net name="[^"]*"', '<net name="graph"', text, count=1)
        text = re.sub(r'(<layer id="(\d+)") name="[^"]*"', r'\1 name="\2"', text)
        return re.sub(r'offset="(\d+)" size="(\d+)"', place, text).encode()

    def _link(self, node: Any) -> None:
        """Replace a constant of fp32 by a stored tensor of the same values and what makes fp32 of it."""
        import openvino
        from openvino import opset13 as ops

        kind, raw, scale = self._tensors.get(_digest(node.data.tobytes()), (None, None, None))
        if kind is None or kind == "f32":
            return
        shape = list(node.shape)
        tensor = openvino.Tensor(getattr(openvino.Type, kind), openvino.Shape(shape))
        tensor.data.view(np.uint8).reshape(-1)[:] = raw
        value = ops.convert(ops.constant(tensor, shared_memory=False), "f32")
        if scale is not None:
            value = ops.multiply(value, ops.constant(scale.reshape(-1, *[1] * (len(shape) - 1))))
        for target in node.output(0).get_target_inputs():
            target.replace_source_output(value.output(0))

    def _place(self, data: bytes) -> int:
        key = _digest(data)
        if key not in self._placed:
            self.constants += bytes(-len(self.constants) % 64)
            self._placed[key] = self.start + len(self.constants)
            self.constants += data
        return self._placed[key]


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
