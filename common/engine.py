"""The engine that runs a model without torch: OpenVINO, over graphs that lie beside the weights.

A graph is a file of OpenVINO's IR, `NAME.xml`. Its weights are those of `model.safetensors`, by their place
in that file; what else it needs, shapes and indices, is in `graphs.bin`, which all graphs of a model share. A
graph names no file, so that it cannot reach for anything outside of its folder. `common.export` writes them.
"""

import hashlib
import json
import os
import platform
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from common.errors import ModelError, UsageError
from common.files import cache_folder, write_aside
from common.images import Preprocess
from common.memory import release_freed_memory
from common.model_folder import CONSTANTS, bundled_models, find_file, read_weights

if TYPE_CHECKING:
    import openvino

Engine = Literal["auto", "graph", "torch"]
Precision = Literal["auto", "bf16", "fp32"]
GRAPH_FORMAT = 1
_threads = 0  # 0 leaves it to `threads`
_EXPORT = "visionrnn export MODEL --out DIR makes them anew"

_DIGEST = 32  # bytes of a SHA-256
_MOST_KEPT = 512 * 2**20  # bytes of compiled graphs; those of all bundled models take 207 MB
_FAR_BELOW, _PATIENCE = 4, 16  # how many times smaller inputs must be, and for how many calls


class Graph:
    """One graph, ready to run; threads may share it.

    OpenVINO keeps the memory that the largest input took. It is given back after some inputs that are much
    smaller, so that one huge image does not stay with a service for good.

    Args:
        compiled: by OpenVINO.
    """

    def __init__(self, compiled: "openvino.CompiledModel") -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._largest = self._smaller = 0  # bytes of the inputs that memory is kept for, calls far below
        self._free = threading.Lock()  # a request belongs to one thread at a time
        self._outputs = len(compiled.outputs)

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Arrays, C-contiguous or copied -> the outputs, each an array of its own."""
        with self._free:
            self._request.infer(inputs, share_inputs=True)
            outputs = [self._request.get_output_tensor(i).data.copy() for i in range(self._outputs)]
            size = sum(array.nbytes for array in inputs)
            self._largest = max(self._largest, size)
            self._smaller = self._smaller + 1 if _FAR_BELOW * size < self._largest else 0
            if self._smaller >= _PATIENCE:
                self._compiled.release_memory()
                release_freed_memory()
                self._largest, self._smaller = size, 0
            return outputs

    def give_back(self) -> None:
        """Give back the memory of its layers, which the next call takes anew."""
        with self._free:
            self._compiled.release_memory()


class GraphEncoder(NamedTuple):
    """What users of a model must know of its encoder."""

    preprocess: Preprocess
    grid: tuple[int, int]
    """H and W of its feature map."""


class GraphModel:
    """A model that runs on the engine; a subclass sets `task` and `names` and adds what its users call.

    Args:
        folder: of a model that was exported.
        config: its checked config.
        precision: auto is bf16 where the CPU computes in it, but fp32 for a task whose answers would suffer.

    Attributes:
        architecture: as the config has it.
        info: likewise.
        graphs: by name.
        parameters: number of weights.

    Raises:
        ModelError: its files are damaged, or cannot run here.
    """

    task: ClassVar[str]
    names: ClassVar[tuple[str, ...]]
    precise: ClassVar[bool] = False
    """Whether `auto` is fp32 everywhere, as the task's answers would suffer from bf16."""

    def __init__(self, folder: Path, config: Mapping[str, Any], precision: Precision = "auto") -> None:
        weights = read_weights(folder, config)
        if self.precise and precision == "auto":
            precision = "fp32"
        self.graphs, self.precision = load_graphs(folder, config, weights, self.names, precision)
        try:
            self.architecture, self.info = config["architecture"], config["info"]
            self.parameters = int(config["graphs"]["parameters"])
            self.describe(config["graphs"], weights)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ModelError(f"{folder}: not the config of this model ({error!r})") from None

    def describe(self, facts: Mapping[str, Any], weights: bytes) -> None:
        """Set what users read of the model, from its architecture and from what the export noted."""

    @classmethod
    def bundled(cls) -> dict[str, Path]:
        """Name -> folder of the bundled models of this task."""
        return bundled_models(str(sys.modules[cls.__module__].__file__), cls.task)


class DecoderGraphs(GraphModel):
    """A decoder that says words one after the other: the graphs `remember` and `step`.

    A subclass sets `fields`, how many arrays its memory has.
    """

    fields: ClassVar[int]

    def remember(self, seen: np.ndarray) -> tuple[Any, Any]:
        """What the encoder gives of N inputs -> memory and first state."""
        found = self.graphs["remember"](seen)
        return tuple(found[: self.fields]), tuple(found[self.fields :])

    def step(self, tokens: np.ndarray, state: Any, memory: Any) -> tuple[np.ndarray, np.ndarray, Any]:
        """tokens (R,) -> logits (R, V), attention (R, places), state."""
        logits, attention, *after = self.graphs["step"](tokens, *memory, *state)
        return logits, attention, tuple(after)


def load_graphs(
    folder: Path,
    config: Mapping[str, Any],
    weights: bytes,
    names: Sequence[str],
    precision: Precision = "auto",
) -> tuple[dict[str, Graph], Literal["bf16", "fp32"]]:
    """The graphs of a model folder, and the precision they compute in.

    Args:
        folder: of the model.
        config: its config, checked.
        weights: the content of its `model.safetensors`, checked.
        names: of the graphs that are wanted.
        precision: auto is bf16 where the CPU computes in it.

    Raises:
        ModelError: a graph is missing, altered, of another version, or cannot run here.
    """
    listed = config.get("graphs")
    if not isinstance(listed, Mapping) or not isinstance(listed.get("files"), Mapping):
        raise ModelError(f"{folder}: its config lists no graphs; {_EXPORT}")
    if listed.get("format") != GRAPH_FORMAT:
        raise ModelError(
            f"{folder}: graphs of format {listed.get('format')}, this version reads {GRAPH_FORMAT}; {_EXPORT}"
        )
    missing = [name for name in names if f"{name}.xml" not in listed["files"]]
    if missing:
        raise ModelError(f"{folder}: has no graph {missing[0]!r}; {_EXPORT}")
    constants = _checked(folder, CONSTANTS, listed["files"])
    core = _openvino().Core()
    chosen = pick_precision(precision)
    settings = _settings(chosen)
    # weights and constants are one buffer to a graph
    buffer = cache(lambda: _openvino().Tensor(np.frombuffer(padded(weights) + constants, np.uint8)))
    graphs = {}
    for name in names:
        file = f"{name}.xml"
        content = _checked(folder, file, listed["files"])
        digests = (config["weights_sha256"], listed["files"][CONSTANTS], listed["files"][file])
        key = _key(core, *digests, chosen)
        compiled = _read_kept(core, key, settings)
        if compiled is None:
            try:
                compiled = core.compile_model(core.read_model(content, buffer()), "CPU", settings)
            except Exception as error:  # every kind of damage, or an operator that this OpenVINO lacks
                raise ModelError(
                    f"{folder / file}: OpenVINO {_version()} cannot run it ({_first_line(error)}); "
                    f"pip install --upgrade openvino, or {_EXPORT}"
                ) from None
            _keep(key, compiled)
        graphs[name] = Graph(compiled)
    return graphs, chosen


def _key(core: "openvino.Core", *parts: str) -> str:
    """Names a graph that was compiled of these parts, by this OpenVINO, for this CPU."""
    cpu = [core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    made_of = [*parts, _openvino().get_version(), platform.machine(), *map(str, cpu)]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:32]


def _read_kept(core: "openvino.Core", key: str, settings: dict[str, Any]) -> "openvino.CompiledModel | None":
    """A graph that was compiled before, which takes a third of the time of compiling it; None without one."""
    try:
        file = cache_folder() / "graphs" / key
        with file.open("rb") as kept:
            digest, content = kept.read(_DIGEST), kept.read()
        if hashlib.sha256(content).digest() != digest:
            return None
        with suppress(OSError):  # may be read, but not written
            os.utime(file)
        return core.import_model(content, "CPU", settings)
    except (OSError, RuntimeError):  # not there; OpenVINO does not read it; a user without a home
        return None


def _keep(key: str, compiled: "openvino.CompiledModel") -> None:
    """Keep a compiled graph for the next process; of all that are kept, those used last stay.

    Where that cannot be done, on a full disk or without a home, the next process compiles it again.
    """
    with suppress(OSError, RuntimeError):
        folder = cache_folder() / "graphs"
        folder.mkdir(parents=True, exist_ok=True)
        content = compiled.export_model().getvalue()
        with write_aside(folder / key) as aside:
            aside.write_bytes(hashlib.sha256(content).digest() + content)
        room = _MOST_KEPT
        for file in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True):
            room -= file.stat().st_size
            if room < 0:
                file.unlink(missing_ok=True)


def has_graphs(config: Mapping[str, Any]) -> bool:
    """Whether a model was exported."""
    return bool(config.get("graphs"))


def pick_precision(precision: Precision) -> Literal["bf16", "fp32"]:
    """`auto` gives bf16 on a CPU that computes in it. Raises UsageError for another name."""
    if precision not in ("auto", "bf16", "fp32"):
        raise UsageError(f"precision {precision!r}: expected auto, bf16 or fp32")
    if precision != "auto":
        return precision
    capabilities = _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in capabilities else "fp32"


def padded(data: bytes) -> bytes:
    """`data` up to the next multiple of 64 bytes, where constants start."""
    return data + bytes(-len(data) % 64)


def _settings(precision: Literal["bf16", "fp32"]) -> dict[str, Any]:
    """As many threads as torch would take: OMP_NUM_THREADS, else one a core that this process may use."""
    return {
        "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp32": "f32"}[precision],
        "INFERENCE_NUM_THREADS": threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,  # else what meets weights of 8 bits is rounded to 8 bits too
        "ENABLE_CPU_PINNING": False,  # several processes would share one core
        # compiled operators that are kept for shapes seen before; by default 5,000, which are gigabytes
        "CPU_RUNTIME_CACHE_CAPACITY": "200",
    }


def limit_threads(count: int) -> None:
    """Threads of the graphs that are loaded from now on."""
    global _threads
    _threads = count


def threads() -> int:
    """Threads of a graph: OMP_NUM_THREADS where it is set, else the cores that this process may use."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if _threads or (given.isdigit() and int(given) > 0):
        return _threads or int(given)
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        return os.cpu_count() or 1


def _checked(folder: Path, name: str, digests: Mapping[str, Any]) -> bytes:
    """The content of a file of the folder, if its SHA-256 is that of the config."""
    try:
        content = find_file(folder, name).read_bytes()
    except OSError as error:
        raise ModelError(f"{folder / name}: cannot be read ({error.strerror})") from None
    if hashlib.sha256(content).hexdigest() != digests.get(name):
        raise ModelError(
            f"{folder / name}: altered or damaged, the config has another SHA-256; "
            f"copy it again, or {_EXPORT}"
        )
    return content


def _openvino() -> Any:
    """The engine. Raises ModelError on a machine that cannot run it."""
    if platform.machine().lower() in ("x86_64", "amd64") and not _has_avx():
        raise ModelError("this CPU has no AVX2, which OpenVINO needs; pip install '.[train]' and use torch")
    try:
        import openvino

        return openvino
    except ImportError as error:
        raise ModelError(
            f"OpenVINO does not run here ({error}); pip install '.[train]' and use torch"
        ) from None


def _has_avx() -> bool:
    """False only where Linux says so: other systems do not tell, and such CPUs are a dozen years old."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return True
    return flags is None or "avx2" in flags[1].split()


def _version() -> str:
    return str(_openvino().get_version()).split("-")[0]


def _first_line(error: Exception) -> str:
    """What OpenVINO says, without where in its source it says so."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("Exception from")]
    return (told or lines or [type(error).__name__])[0][:200]
