"""Millions of files on Ray Data: a list in shards, actors that hold the model, a Parquet file a shard.

The table OUT is a folder. A shard is a fixed number of files in the order of the list; its results are
`part-00000.parquet` and so on, written under another name and renamed. A run that was killed does the shards
that have no such file. Names that begin with `_`, which readers of Parquet skip, are the run's own:

- `_run.json`: what the run is, so that no other goes on with it;
- `_paths-N.arrow`: the list, a record batch for each shard, which actors read one by one;
- `_tries/N.json`: what an actor is at within a shard, and how often that ended its process;
- `_aside/`: files that are being written.
"""

import hashlib
import importlib
import json
import os
import re
import tempfile
import uuid
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np

from common.cli import needs_extra, print_error, print_note, progress
from common.errors import DataError, ImageError, UsageError, VisionError
from common.files import each_file, locked, print_left_out, suffix_of
from common.images import limit_pixels
from common.memory import keep_freed_memory
from common.model_folder import CONFIG, bundled_models, find_folder
from common.predictor import UseFlags
from common.threads import ahead

SHARD = 256
"""Files of a shard, about; it holds whole batches, so that they are those of the plain command."""
TRIES = 2
"""How often a file may end the process that reads it before it is an error."""
_BATCH = 32
_LISTS = (".txt", ".csv", ".parquet")
_RUN = "_run.json"
_TASKS = 2000  # of Ray, which needs some milliseconds for each before it begins
_FETCHERS = 16  # threads that fetch remote files
_NEUTRAL = {"actors", "device", "engine", "json", "model", "out", "password", "paths", "workers"}
"""Flags that change no result, and those that are compared in another way."""
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_LOG_LEVEL": "ERROR", "RAY_BACKEND_LOG_LEVEL": "fatal"}
"""Settings of Ray, where the user has none: it sends nothing, and says nothing of its own workings."""


@dataclass(frozen=True, kw_only=True)
class ScaleFlags(UseFlags):
    """Flags of the commands that can work on many files at once."""

    engine: Literal["local", "ray"] = "local"
    """local is this process. ray works on all cores of this machine, or on the cluster of RAY_ADDRESS, and
    writes the Parquet table --out; paths may then also be URLs (s3://, gs://, hdfs://) and lists of paths:
    .txt, or .csv and .parquet with a column `path`."""
    actors: int = 0
    """With --engine ray: processes that hold the model; 0 is one a GPU, or else one a core."""


@dataclass(frozen=True)
class Job:
    """What actors must know."""

    module: str
    """`command` module of a task; its `load`, `each`, `plain` and `row_type` do the work."""
    config: Any
    """Its flags."""
    out: str
    """URL or path of the table."""
    paths: str
    """File of the list, within the table."""
    remaining: np.ndarray
    """Numbers of the shards that have no file yet."""
    digits: int
    """Of a shard's number in its name."""
    folder: str
    """Where the command was called; relative paths begin here."""
    batch: int
    """Files that the model sees at once."""


def run_on_ray(
    module: str, config: Any, suffixes: Collection[str], kind: str, without: Sequence[str] = ()
) -> int:
    """Do what the plain command does with `--json`, on Ray Data, into the Parquet table `--out`.

    Args:
        module: name of the task's `command`.
        config: its flags, a `ScaleFlags` with `paths`, `model` and `out`.
        suffixes: of the files that are taken from folders.
        kind: what such files are called, in the plural.
        without: flags that do not go together with it.

    Returns:
        1 if something could not be read, else 0.

    Raises:
        UsageError: flags that do not go together, or a table that another run began.
        VisionError: the work stopped; the same command goes on with it.
    """
    defaults = {field.name: field.default for field in fields(config)}
    for flag in without:
        if getattr(config, flag) != defaults[flag]:
            raise UsageError(f"--{flag.replace('_', '-')} does not go with --engine ray; leave it out")
    if config.out is None:
        raise UsageError("--engine ray writes a table: name it with --out TABLE.parquet")
    if config.actors < 0:
        raise UsageError(f"--actors {config.actors}: must be at least 0")
    os.environ.update(_QUIET | os.environ)
    with needs_extra("ray"):
        import fsspec  # noqa: F401
        import pyarrow  # noqa: F401
        import ray.data  # noqa: F401
    batch = getattr(config, "batch_size", _BATCH)
    shard = batch * max(1, SHARD // batch)
    models = [_fingerprint(module, name) for name in _as_list(config.model)]
    fs, out = _file_system(config.out)
    _check_table(fs, out, config.out)
    fs.makedirs(f"{out}/_aside", exist_ok=True)
    is_local = "file" in _as_list(fs.protocol)
    with locked(Path(out)) if is_local else nullcontext(True) as free:
        if not free:
            raise UsageError(f"--out {config.out}: another run is writing this table")
        problems: list[str] = []
        listed = write_list(fs, out, each_path(config.paths, suffixes, kind, problems), shard)
        for problem in problems:
            print_error(problem)
        if not listed.count:
            raise ImageError(f"no {kind} found in what was given")
        flags = {k: v for k, v in asdict(config).items() if k not in _NEUTRAL}
        run = {"files": listed.count, "sha256": listed.sha256, "shard": shard, "models": models,
               "flags": json.loads(json.dumps(flags, default=str))}  # fmt: skip
        _begin_or_go_on(fs, out, run, config.out)
        shards = -(-listed.count // shard)
        digits = max(5, len(str(shards - 1)))
        remaining = np.array(sorted(set(range(shards)) - _finished(fs, out)), np.int64)
        if len(remaining):
            for left in ("_tries", "_aside"):
                _remove(fs, f"{out}/{left}")
                fs.makedirs(f"{out}/{left}", exist_ok=True)
            last = listed.count - shard * (shards - 1)
            total = shard * len(remaining) - (shard - last if remaining[-1] == shards - 1 else 0)
            if len(remaining) < shards:
                print_note(f"{config.out}: {listed.count - total:,} of {listed.count:,} {kind} are done")
            work = replace(config, paths=(), out=None, engine="local")
            job = Job(
                module, work, fs.unstrip_protocol(out), listed.name, remaining, digits, str(Path.cwd()), batch
            )
            for _ in progress(_done(job, config), total, kind, silent=True):
                pass
        else:
            print_note(f"{config.out} is whole already; nothing was done")
        for left in ("_tries", "_aside", listed.name):
            _remove(fs, f"{out}/{left}")
        bad = _count_errors(fs, out)
    if bad:
        print_error(f"{bad:,} {kind} could not be read; the column `error` of {config.out} says why")
    return int(bool(bad or problems))


def _done(job: Job, config: Any) -> Iterator[None]:
    """Work; once for each file that is done. Raises VisionError."""
    import ray
    import ray.data
    from ray.exceptions import RayError

    started = not ray.is_initialized()
    if started:
        ray.init(logging_level="error", log_to_driver=False, include_dashboard=False)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = 1  # bytes: each shard is reported when it is done, not each task
    try:
        resources = ray.cluster_resources()
        cores, gpus = resources.get("CPU", 1), int(resources.get("GPU", 0))
        on_gpus = gpus > 0 and config.device != "cpu"
        actors = config.actors or (gpus if on_gpus else int(cores))
        share = {"num_gpus": min(1, gpus / actors)} if on_gpus else {"num_cpus": min(1, cores / actors)}
        actors = min(actors, len(job.remaining))
        shards = ray.data.range(len(job.remaining), override_num_blocks=min(_TASKS, len(job.remaining)))
        results = shards.map_batches(
            Actor,
            fn_constructor_args=(job,),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=2),
            **share,
        )
        for batch in results.iter_batches(batch_size=None, prefetch_batches=0):
            for files, problem in zip(batch["files"], batch["problem"], strict=True):
                if problem:
                    raise VisionError(f"{problem}; the same command goes on where this one stopped")
                yield from (None for _ in range(files))
    except RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise VisionError(f"Ray stopped ({reason}); the same command goes on") from error
    finally:
        if started:
            ray.shutdown()


class Actor:
    """A process that holds the model and does one shard after the other.

    Args:
        job: what is to be done.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.fs, self.out = _file_system(job.out)
        with suppress(OSError):  # paths that are not relative do not need it
            os.chdir(job.folder)

    @cached_property
    def command(self) -> Any:
        """The task's `command` module."""
        keep_freed_memory()
        limit_pixels(self.job.config.max_pixels)
        return importlib.import_module(self.job.module)

    @cached_property
    def predictor(self) -> Any:
        """The model, loaded when the first shard needs it."""
        return self.command.load(self.job.config)

    @cached_property
    def paths(self) -> Any:
        """The list."""
        return _open_list(self.fs, f"{self.out}/{self.job.paths}")

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Positions in `remaining` under `id` -> the files done, and why it cannot go on, for each."""
        for position in batch["id"]:
            count, problem = 0, ""
            try:
                count = self.do(int(self.job.remaining[position]))
            except (VisionError, OSError) as error:
                problem = str(error)
            yield {"files": np.array([count]), "problem": np.array([problem])}

    def do(self, number: int) -> int:
        """Write the file of a shard, if it is not there -> the number of its files."""
        import pyarrow
        from pyarrow import parquet

        paths = [os.fsdecode(path) for path in self.paths.get_batch(number).column(0).to_pylist()]
        part = f"{self.out}/part-{number:0{self.job.digits}}.parquet"
        if self.fs.exists(part):
            return len(paths)
        tries = Tries(self.fs, f"{self.out}/_tries/{number}.json")
        rows: list[dict[str, Any]] = []
        for start, stop in tries.pieces(0, len(paths), self.job.batch):
            if tries.deaths.get((start, stop), 0) >= TRIES:
                killer = paths[start]
                why = f"{killer}: ended the process that read it {TRIES} times (out of memory, or a crash)"
                rows.append({"path": _text(killer), "error": _text(why)})
                continue
            tries.begin(start, stop)
            rows += self.rows(paths[start:stop])
        schema = schema_of(self.command.row_type(self.job.config))
        table = pyarrow.Table.from_pylist(rows, schema)
        _write_aside(self.fs, self.out, part, lambda file: parquet.write_table(table, file))
        tries.end()
        return len(paths)

    def rows(self, paths: Sequence[str]) -> list[dict[str, Any]]:
        """The rows of some files, in order."""
        with tempfile.TemporaryDirectory(prefix="visionrnn-") as folder:
            local, failed = fetched(paths, Path(folder))
            names = dict(zip(map(str, local), paths, strict=True))
            found = []
            for name, result in self.command.each(self.job.config, self.predictor, local):
                stem, mark, number = name.rpartition("#")
                file, page = (stem, mark + number) if name not in names and stem in names else (name, "")
                shown = names[file] if "://" in names[file] else file
                if isinstance(result, VisionError):
                    why = failed.get(file) or str(result).replace(file, shown)
                    found.append({"path": _text(shown + page), "error": _text(why)})
                else:
                    found.append({**self.command.plain(name, result), "path": _text(shown + page)})
            return found


class Tries:
    """What a process is at within a shard, on disk, so that the next one knows what ended it.

    A shard that ended a process is done anew batch by batch, such a batch file by file, and a file that ended
    two is given up. A process that something else ended costs no file its result.

    Args:
        fs: file system of the table.
        file: of this shard.

    Attributes:
        deaths: how many processes a piece, from start to before stop, has ended.
    """

    def __init__(self, fs: Any, file: str) -> None:
        self.fs, self.file = fs, file
        self.deaths: Counter[tuple[int, int]] = Counter()
        with suppress(OSError, ValueError):  # none was written, or not to its end
            self.deaths.update((start, stop) for start, stop in json.loads(fs.cat_file(file)))

    def pieces(self, start: int, stop: int, batch: int) -> Iterator[tuple[int, int]]:
        """The pieces of a shard, in order."""
        size = stop - start
        if size == 1 or not self.deaths[start, stop]:
            yield start, stop
            return
        step = batch if size > batch else 1
        for inner in range(start, stop, step):
            yield from self.pieces(inner, min(inner + step, stop), batch)

    def begin(self, start: int, stop: int) -> None:
        """Note a piece before it is done: if the process ends now, that one did it."""
        self.fs.pipe_file(self.file, json.dumps([*self.deaths.elements(), (start, stop)]).encode())

    def end(self) -> None:
        """The shard is done."""
        with suppress(OSError):
            self.fs.rm_file(self.file)


def fetched(paths: Sequence[str], folder: Path) -> tuple[list[Path], dict[str, str]]:
    """Local files of paths; those with a URL are copied into `folder`.

    Returns:
        a file for each; why some of them, by their local name, could not be fetched.
    """
    local = [
        folder / str(i) / (path.rstrip("/").rpartition("/")[2] or "file") if "://" in path else Path(path)
        for i, path in enumerate(paths)
    ]
    remote = [(path, file) for path, file in zip(paths, local, strict=True) if "://" in path]

    def fetch(pair: tuple[str, Path]) -> None:
        path, file = pair
        file.parent.mkdir()
        try:
            fs, inner = _file_system(path)
            fs.get_file(inner, str(file))
        except Exception as error:  # each file system has errors of its own
            raise ImageError(f"{path}: cannot be fetched ({type(error).__name__}: {error})") from None

    results = ahead(fetch, remote, _FETCHERS if remote else 0, 4 * _FETCHERS)
    failed = {str(pair[1]): str(e) for pair, e in zip(remote, results, strict=True) if e is not None}
    return local, failed


def each_path(
    given: Sequence[str], suffixes: Collection[str], kind: str, problems: list[str]
) -> Iterator[str]:
    """Files, patterns, folders and lists of paths, here or at a URL, as paths in order, one at a time.

    The order is that of `common.files.find_files`, and so is what is taken.

    Args:
        given: as on a command line.
        suffixes: of the files that are taken from folders, in lower case.
        kind: what such files are called, in the plural.
        problems: takes what cannot be expanded.

    Raises:
        UsageError: no path is given, or a URL of an unknown kind.
        DataError: a list that cannot be read.
    """
    if not given:
        raise UsageError(f"no {kind} given; name files, patterns, folders or lists of paths")
    left_out: Counter[str] = Counter()
    example = None
    for path in given:
        if Path(path).suffix.lower() in _LISTS and not any(c in path for c in "*?["):
            yield from _paths_in(path)
            continue
        expand = _each_remote_file if "://" in path else each_file
        for file, taken in expand(path, suffixes, kind, problems):
            if taken:
                yield str(file)
            else:
                left_out[suffix_of(Path(file))] += 1
                example = example or file
    if left_out:
        print_left_out(kind, left_out, example)


def _paths_in(file: str) -> Iterator[str]:
    """The paths of a list: lines of a text, or the column `path` of a CSV or Parquet file or folder."""
    from pyarrow import ArrowException, csv, dataset, string

    fs, inner = _file_system(file)
    try:
        if file.lower().endswith(".txt"):
            with fs.open(inner, "rb") as lines:
                yield from (os.fsdecode(path) for line in lines if (path := line.rstrip(b"\r\n")))
            return
        form: Any = "parquet"
        if file.lower().endswith(".csv"):
            form = dataset.CsvFileFormat(convert_options=csv.ConvertOptions(column_types={"path": string()}))
        table = dataset.dataset(inner, filesystem=fs, format=form)
        if "path" not in table.schema.names:
            raise DataError(f"{file}: has no column `path`; it has {', '.join(table.schema.names)}")
        for batch in table.to_batches(columns=["path"], batch_size=1 << 16, batch_readahead=1):
            yield from (path for path in batch.column(0).to_pylist() if path)
    except (OSError, ArrowException, ValueError) as error:
        if isinstance(error, VisionError):
            raise
        raise DataError(f"{file}: no list of paths that can be read ({error})") from None


def _each_remote_file(
    url: str, suffixes: Collection[str], kind: str, problems: list[str]
) -> Iterator[tuple[str, bool]]:
    """As `common.files.each_file`, of a URL."""
    fs, inner = _file_system(url)

    def walk(folder: str) -> Iterator[str]:
        try:
            entries = sorted(fs.ls(folder, detail=True), key=lambda entry: entry["name"].split("/"))
        except OSError as error:
            problems.append(f"{fs.unstrip_protocol(folder)}: cannot be listed ({error})")
            return
        for entry in entries:
            name = entry["name"].rstrip("/")
            if entry["type"] == "directory" and name != folder.rstrip("/"):
                yield from walk(name)
            elif entry["type"] != "directory" and not entry["name"].endswith("/"):
                yield name

    matches = [inner]
    if any(c in inner for c in "*?[") and not fs.exists(inner):
        matches = sorted(fs.glob(inner))
        if not matches:
            problems.append(f"{url}: nothing matches this pattern")
    for match in matches:
        if not fs.isdir(match):
            yield fs.unstrip_protocol(match), True
            continue
        empty = True
        for file in walk(match):
            taken = Path(file).suffix.lower() in suffixes
            empty = empty and not taken
            yield fs.unstrip_protocol(file), taken
        if empty:
            problems.append(f"{fs.unstrip_protocol(match)}: no {kind} in this folder")


@dataclass(frozen=True)
class Listed:
    """A list on disk."""

    name: str
    """Its file within the table."""
    count: int
    """Paths."""
    sha256: str
    """Of all of them."""


def write_list(fs: Any, out: str, paths: Iterable[str], shard: int, name: str = "_paths-0.arrow") -> Listed:
    """Write paths, each once, as record batches of `shard`; holds eight bytes a path."""
    import pyarrow

    schema = pyarrow.schema([("path", pyarrow.binary())])
    hashes, digest, each = array("q"), hashlib.sha256(), iter(paths)
    options = pyarrow.ipc.IpcWriteOptions(compression="lz4")
    with (
        fs.open(f"{out}/{name}", "wb") as file,
        pyarrow.ipc.new_file(file, schema, options=options) as writer,
    ):
        while some := list(islice(each, shard)):
            hashes.extend(map(hash, some))
            encoded = [os.fsencode(path) for path in some]
            digest.update(b"\0".join(encoded) + b"\0")
            writer.write_batch(
                pyarrow.record_batch([pyarrow.array(encoded, pyarrow.binary())], schema=schema)
            )
    values, counts = np.unique(np.frombuffer(hashes, np.int64), return_counts=True)
    doubtful = set(values[counts > 1].tolist())
    if not doubtful or name != "_paths-0.arrow":
        return Listed(name, len(hashes), digest.hexdigest())

    def once() -> Iterator[str]:
        seen: set[str] = set()
        for path in _read_list(fs, f"{out}/{name}"):
            if hash(path) not in doubtful or path not in seen:
                yield path
            if hash(path) in doubtful:
                seen.add(path)

    listed = write_list(fs, out, once(), shard, "_paths-1.arrow")
    _remove(fs, f"{out}/{name}")
    return listed


def _open_list(fs: Any, file: str) -> Any:
    import pyarrow

    return pyarrow.ipc.open_file(fs.open(file, "rb"))


def _read_list(fs: Any, file: str) -> Iterator[str]:
    batches = _open_list(fs, file)
    for number in range(batches.num_record_batches):
        yield from map(os.fsdecode, batches.get_batch(number).column(0).to_pylist())


def schema_of(row: type[Any]) -> Any:
    """The columns of a table, from a TypedDict of JSON values; `error` is the last."""
    import pyarrow

    def column(kind: Any) -> Any:
        if is_typeddict(kind):
            return pyarrow.struct([(name, column(inner)) for name, inner in get_type_hints(kind).items()])
        if get_origin(kind) in (list, tuple):
            return pyarrow.list_(column(get_args(kind)[0]))
        if get_origin(kind) is dict:
            return pyarrow.map_(pyarrow.string(), column(get_args(kind)[1]))
        return {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64()}[kind]

    columns = [(name, column(kind)) for name, kind in get_type_hints(row).items()]
    return pyarrow.schema([*columns, ("error", pyarrow.string())])


def _begin_or_go_on(fs: Any, out: str, run: dict[str, Any], shown: str) -> None:
    """Write what the run is, or compare it with what was written. Raises UsageError."""
    if not fs.exists(f"{out}/{_RUN}"):
        content = json.dumps(run, indent=1).encode()
        _write_aside(fs, out, f"{out}/{_RUN}", lambda file: file.write(content))
        return
    begun = json.loads(fs.cat_file(f"{out}/{_RUN}"))
    if begun == run:
        return
    wrong = [
        f"--{name.replace('_', '-')} was {begun['flags'].get(name)!r} and is {run['flags'].get(name)!r}"
        for name in sorted(begun["flags"].keys() | run["flags"].keys())
        if begun["flags"].get(name) != run["flags"].get(name)
    ]
    if begun["models"] != run["models"]:
        wrong.append("the model is another")
    if (begun["files"], begun["sha256"]) != (run["files"], run["sha256"]):
        wrong.append(f"the list of files is another ({begun['files']:,} then, {run['files']:,} now)")
    why = "; ".join(wrong) or "another version of this program began it"
    raise UsageError(f"--out {shown}: {why}. Give what the run began with, or another --out")


def _check_table(fs: Any, out: str, shown: str) -> None:
    """Raises UsageError for what is there and is no table of a run."""
    fs.invalidate_cache()
    if fs.isfile(out):
        raise UsageError(f"--out {shown}: is a file, and the table is a folder of Parquet files")
    if fs.isdir(out) and not fs.exists(f"{out}/{_RUN}"):
        others = [name for name in _names(fs, out) if not name.startswith("_")]
        if others:
            raise UsageError(f"--out {shown}: holds {others[0]}, and no run of this command; name another")


def _finished(fs: Any, out: str) -> set[int]:
    """Numbers of the shards whose file is there."""
    found = (re.fullmatch(r"part-(\d+)\.parquet", name) for name in _names(fs, out))
    return {int(match[1]) for match in found if match}


def _names(fs: Any, folder: str) -> list[str]:
    return [path.rstrip("/").rpartition("/")[2] for path in fs.ls(folder, detail=False)]


def _count_errors(fs: Any, out: str) -> int:
    """Rows of the table that are errors."""
    from pyarrow import dataset

    parts = dataset.dataset(out, filesystem=fs, format="parquet")
    return int(parts.count_rows(filter=dataset.field("error").is_valid()))


def _write_aside(fs: Any, out: str, path: str, write: Callable[[Any], object]) -> None:
    """Write a file of the table under a name of its own, and rename it when it is whole and on disk."""
    aside = f"{out}/_aside/{uuid.uuid4().hex}"
    with fs.open(aside, "wb") as file:
        write(file)
        file.flush()
        if hasattr(file, "fileno"):
            os.fsync(file.fileno())
    fs.mv(aside, path)


def _remove(fs: Any, path: str) -> None:
    with suppress(OSError):
        fs.rm(path, recursive=True)


def _file_system(path: str) -> tuple[Any, str]:
    """The file system of a path or URL, and the path in it. Raises UsageError."""
    from fsspec.core import url_to_fs

    try:
        fs, inner = url_to_fs(path)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from None
    return fs, inner


def _fingerprint(module: str, name: str) -> str:
    """SHA-256 of a model's config, which holds that of its weights. Raises ModelError."""
    file = importlib.import_module(module).__file__
    folder = find_folder(name, bundled_models(str(file)))
    try:
        return hashlib.sha256((folder / CONFIG).read_bytes()).hexdigest()
    except OSError:
        return ""  # who loads it says what is wrong


def _as_list(given: Any) -> list[Any]:
    return list(given) if isinstance(given, (list, tuple)) else [given]


def _text(text: str) -> str:
    """Text as Parquet can hold it: bytes of file names that are no characters become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
