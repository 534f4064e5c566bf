"""Trainings of every task that are killed (SIGKILL) at random and at chosen moments, and resumed.

    python benchmarks/kills.py --folder FOLDER --chains 40 --report FILE.json

A chain is one tiny training with one or two kills, then resumed to its end. Its weights, its best model and
its history must equal those of a training that nothing interrupts, bit for bit, and no half-written file may
be left. A chosen moment is a file operation: before it, or up to 3 ms after it has begun.
"""

import json
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import torch
from safetensors.torch import load_file

from common.cli import command_line, run
from common.evaluation import write_report
from tests import runs
from tests.scripts.test_training_runs import EPOCHS, RANDOM

KEPT = {"best", "curves.png", "last.ckpt", "metrics.csv", "tensorboard", "train_config.json"}
_OF_CACHE = re.compile(r"features-|index\.json|os\.mkdir  (\*|train|val|cache)")
_WRITES = os.O_WRONLY | os.O_RDWR
_OPERATIONS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags."""

    folder: Path
    """Folder for data, runs and results; what it holds of an earlier call is not done again."""
    chains: int = 40
    """How many, over all tasks in turn; every second one is killed at a chosen moment."""
    seed: int = 0
    """Of the moments."""
    report: Path | None = None
    """JSON file to write."""


@dataclass(frozen=True)
class Moment:
    """When a training is killed."""

    seconds: float = 0.0
    """After its start; 0 is never."""
    operation: str = ""
    """As `_operation` names it."""
    occurrence: int = 0
    """Which of the operations of this name, from 0 on."""
    delay: float = 0.0
    """Seconds after it has begun; 0 is before it."""


def main(config: Config) -> int:
    """Run the chains; 1 if one of them differs, fails or leaves something behind."""
    config.folder.mkdir(parents=True, exist_ok=True)
    results = config.folder / "results.jsonl"
    results.touch()
    found: list[dict[str, Any]] = [json.loads(line) for line in results.read_text().splitlines()]
    whole = {task: _whole(config.folder / f"whole-{task}", task) for task in runs.TASKS}
    for number in range(len(found), config.chains):
        task = runs.TASKS[number % len(runs.TASKS)]
        chance = random.Random(f"{config.seed} {number}")
        result = _chain(config.folder / f"{number:03d}-{task}", task, whole[task], chance, number % 2 == 1)
        print(
            f"{number + 1}/{config.chains}  {task}: {result['kills']}  {result['wrong'] or 'equal'}",
            flush=True,
        )
        found.append(result)
        with results.open("a") as file:
            file.write(json.dumps(result) + "\n")
    moments = Counter(kill for result in found for kill in result["kills"])
    report = {
        "command": command_line(),
        "chains": len(found),
        "kills": sum(moments.values()),
        "equal": sum(not result["wrong"] for result in found),
        "moments": dict(moments.most_common()),
        "wrong": [result for result in found if result["wrong"]],
    }
    print(json.dumps(report, indent=1))
    write_report(report, config.report)
    return int(report["equal"] != report["chains"])


@dataclass(frozen=True)
class Whole:
    """A training that nothing interrupts."""

    command: list[str]
    out: Path
    seconds: float
    operations: list[str]
    """Each file operation that writes, in order."""


def _whole(folder: Path, task: str) -> Whole:
    command = [*runs.command(task, folder), *map(str, (*EPOCHS, *RANDOM.get(task, ())))]
    out, log, seconds = folder / "run", folder / "log", folder / "seconds"
    if not seconds.exists():
        shutil.rmtree(out, ignore_errors=True)
        started = time.monotonic()
        if _run([*command, "--out", str(out)], log, folder, Moment()):
            raise RuntimeError(log.read_text())
        seconds.write_text(str(time.monotonic() - started))
    operations = (folder / "operations").read_text().split("\n")[:-1]
    return Whole(command, out, float(seconds.read_text()), operations)


def _chain(folder: Path, task: str, whole: Whole, chance: random.Random, chosen: bool) -> dict[str, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    out, cache, kills, wrong = folder / "run", folder / "cache", [], []
    warm, operations = whole.out.parent / "cache", whole.operations
    if warm.exists() and chance.random() < 0.5:
        shutil.copytree(warm, cache)
        operations = [name for name in operations if not _OF_CACHE.search(name)]
    for last in [False] * chance.choice((1, 1, 2)) + [True]:
        flags = ["--out", str(out), "--workers", str(chance.choice((0, 2)))]
        flags += ["--cache", str(cache)] if warm.exists() else []
        flags += ["--resume"] if (out / "train_config.json").exists() else []
        moment = Moment() if last else _moment(whole.seconds, operations if chosen else [], chance)
        had_model = _has_model(out)
        code = _run([*whole.command, *flags], folder / "log", folder, moment)
        if code == -signal.SIGKILL:
            kills.append(moment.operation or "random")
        if code not in (0, -signal.SIGKILL):
            wrong.append(f"exit code {code}: {(folder / 'log').read_text()[-300:]}")
        if had_model and not _has_model(out):
            wrong.append("no model was left")
    if not wrong:
        wrong = _differences(out, whole.out) + _leftovers(out, cache)
    if not wrong:
        shutil.rmtree(folder)
    return {"task": task, "kills": kills, "wrong": wrong}


def _moment(seconds: float, operations: Sequence[str], chance: random.Random) -> Moment:
    if not operations:
        return Moment(seconds=chance.uniform(0.05, seconds))
    operation = chance.choice(sorted(set(operations)))
    occurrence = chance.randrange(operations.count(operation))
    return Moment(0, operation, occurrence, chance.choice((0.0, chance.uniform(1e-5, 3e-3))))


def _has_model(out: Path) -> bool:
    return any((out / best / "config.json").exists() for best in ("best", "best.old"))


def _differences(out: Path, wanted: Path) -> list[str]:
    """In the last checkpoint, the best model or the history."""
    pairs = [(runs.weights(out), runs.weights(wanted))]
    pairs.append(tuple(load_file(run / "best" / "model.safetensors") for run in (out, wanted)))  # type: ignore[arg-type]
    wrong = [
        name
        for one, two in pairs
        for name in one.keys() | two.keys()
        if name not in one or name not in two or not torch.equal(one[name], two[name])
    ]
    wrong += ["history"] if runs.history(out) != runs.history(wanted) else []
    return wrong


def _leftovers(out: Path, cache: Path) -> list[str]:
    """Files that a kill left and that the next start did not remove."""
    left = [file.name for file in out.iterdir() if file.name not in KEPT]
    for index in cache.rglob("index.json"):
        content = json.loads(index.read_text())
        left += [f.name for f in index.parent.iterdir() if f.name not in ("index.json", content["file"])]
        rows = index.parent / content["file"]
        if rows.stat().st_size != 2 * np.prod(content["shape"]):
            left.append(f"{rows.name}: too long")
    left += [str(file) for file in cache.rglob("*.f16") if not (file.parent / "index.json").exists()]
    return left


def _run(command: Sequence[str], log: Path, folder: Path, moment: Moment) -> int | None:
    process = runs.PROCESSES.Process(target=_killed, args=(list(command), log, folder, moment))
    process.start()
    process.join(moment.seconds or 600)
    if process.is_alive():
        process.kill()
        process.join()
        if not moment.seconds:
            raise TimeoutError(log.read_text())
    return process.exitcode


def _killed(command: list[str], log: Path, folder: Path, moment: Moment) -> None:
    """Run a script in this process, which is killed at a file operation, or writes down all of them."""
    seen: Counter[str] = Counter()
    record = (folder / "operations").open("w") if not (moment.seconds or moment.operation) else None
    main_process = os.getpid()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _OPERATIONS or os.getpid() != main_process:
            return
        name = _operation(event, arguments, folder)
        if not name:
            return
        if record:
            record.write(f"{name}\n")
            record.flush()
        if name == moment.operation and seen[name] == moment.occurrence:
            if moment.delay:
                threading.Timer(moment.delay, os.kill, (main_process, signal.SIGKILL)).start()
            else:
                os.kill(main_process, signal.SIGKILL)
        seen[name] += 1

    sys.addaudithook(watch)
    runs.run_script(command, log, {"OMP_NUM_THREADS": "1"}, None)


def _operation(event: str, arguments: tuple[Any, ...], folder: Path) -> str:
    """A name for a file operation in the folder that writes, the same in every run; else nothing."""
    path = str(arguments[0])
    if not path.startswith(str(folder)) or path.endswith(("/operations", "/log")):
        return ""
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _WRITES):
        return ""
    name = re.sub(r"[0-9a-f]{8,}|\d{3,}.*", "*", Path(path).name)
    return f"{event} {Path(path).parent.name if name in ('config.json', 'model.safetensors') else ''} {name}"


if __name__ == "__main__":
    run(main, Config, __doc__)
