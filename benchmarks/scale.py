"""The commands on Ray Data against the plain ones: speed, memory, and what kills do.

    python benchmarks/scale.py speed --data PHOTOS --folder FOLDER --report FILE.json
    python benchmarks/scale.py pages --data RECEIPTS --folder FOLDER --report FILE.json
    python benchmarks/scale.py paths --folder FOLDER --report FILE.json
    python benchmarks/scale.py kills --folder FOLDER --report FILE.json

Each part adds itself to the report.

- `speed`: `visionrnn caption` on photos, one thread a process, which also reads them. A run on a quarter of
  the photos takes off what start-up costs, also that of Ray's own processes while the first shards are
  done. `two_over_one`: pictures/s of two actors over one plain process, bar 1.7. `two_plain_over_one`: the
  same of two plain processes with half of the photos each, which is what two cores of this machine are
  worth; cores that share a cache slow each other. `overhead_percent`: how much longer one actor takes than
  the plain process, bar 10. `equal`: rows of the two tables that are what the plain command prints; all of
  them.
- `pages`: CPU seconds that `visionrnn read` takes for a page, and what a million cost on cloud machines.
- `paths`: ten million paths and a model that returns at once. `driver_mib`: the largest memory of the process
  that was called, bar 2048. `first_batch_seconds`: until the first file of the table is there, bar 60.
  `files_per_second`: what two cores list, hand out and write without a model; over the pictures/s of an actor
  it is `cores_fed`, the cores that one driver can keep busy.
- `kills`: `kill -9` of the driver, and of a worker, at random moments. `whole`: runs whose table in the end
  holds every file once, in order; all of them.
"""

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pyarrow import dataset, parquet
from timing import largest, run_apart

from common.cli import command_line, run
from common.evaluation import write_report
from common.files import find_files
from common.images import IMAGE_SUFFIXES

ROOT = Path(__file__).parent.parent
PRICES = {"aws_c7i_xlarge": (0.1785, 4), "google_c3_highcpu_4": (0.172, 4)}
"""US dollars an hour and vCPUs of a machine; list prices of 2025 in the United States, from memory."""
MOST_SECONDS = 420.0  # of the paths; what is not done by then is not waited for


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags."""

    part: Annotated[Literal["speed", "pages", "paths", "kills"], tyro.conf.Positional]
    """What is measured."""
    folder: Path
    """Folder for what is written on the way; its parts are removed."""
    data: Path | None = None
    """Folder of the photos, or of the pages."""
    files: int = 2000
    """Photos; of pages a twentieth."""
    paths: int = 10_000_000
    """How many."""
    kills: int = 10
    """Of the driver, and as many of a worker."""
    seed: int = 0
    """Of the moments."""
    report: Path | None = None
    """JSON file to add to."""


def main(config: Config) -> None:
    """Measure, print, and add to the report."""
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    folder = config.folder.resolve() / config.part
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    measure = {"speed": speed, "pages": pages, "paths": paths, "kills": kills}[config.part]
    result = {"command": command_line(), **measure(config, folder)}
    print(json.dumps(result, indent=1))
    shutil.rmtree(folder)
    if config.report is not None:
        known = json.loads(config.report.read_text()) if config.report.exists() else {}
        known[config.part] = result
        if known.keys() >= {"speed", "paths"}:
            fed = known["paths"]["files_per_second"] / known["speed"]["one_actor_per_second"]
            known["cores_fed"] = round(fed)
        write_report(known, config.report)


def some_files(config: Config, folder: Path, count: int) -> list[Path]:
    """A list of the first photos, and one of a quarter of them."""
    if config.data is None:
        raise SystemExit("error: this part needs --data")
    found = find_files([config.data], IMAGE_SUFFIXES, "photos")[0][:count]
    lists = [folder / "all.txt", folder / "few.txt"]
    for file, some in zip(lists, (found, found[: count // 4]), strict=True):
        file.write_text("\n".join(map(str, some)) + "\n")
    return lists


def speed(config: Config, folder: Path) -> dict[str, Any]:
    """Captions by the plain command, by one actor and by two."""
    lists = some_files(config, folder, config.files)
    seconds: dict[str, list[float]] = {}
    for file in reversed(lists):
        for actors in (0, 1, 2):
            words = ["caption", "--workers", "0"]
            if actors:
                out = folder / f"{file.stem}-{actors}.parquet"
                words += [str(file), "--engine", "ray", "--actors", str(actors), "--out", str(out)]
            else:
                words += ["--json", *file.read_text().split("\n")[:-1]]
            started = time.perf_counter()
            with (folder / f"{file.stem}.jsonl").open("a" if actors else "w") as printed:
                subprocess.run([sys.executable, "-m", "visionrnn", *words], stdout=printed, check=True)
            seconds.setdefault(f"{actors}", []).append(time.perf_counter() - started)
    read = [Path(line) for line in lists[0].read_text().splitlines()]
    started = time.perf_counter()
    pair = [
        subprocess.Popen(
            [sys.executable, "-m", "visionrnn", "caption", "--workers", "0", "--json", *map(str, half)],
            stdout=subprocess.DEVNULL,
        )
        for half in (read[::2], read[1::2])
    ]
    codes = [process.wait() for process in pair]
    if any(codes):
        raise SystemExit("error: a plain process failed")
    pair_seconds = time.perf_counter() - started
    few = len(lists[1].read_text().splitlines())
    rates = {actors: (len(read) - few) / (whole - start) for actors, (start, whole) in seconds.items()}
    plain = [json.loads(line) for line in (folder / "all.jsonl").read_text().splitlines()]
    tables = [folder / f"all-{actors}.parquet" for actors in (1, 2)]
    equal = []
    for table in tables:
        rows = [
            {k: v for k, v in row.items() if k != "error"} for row in parquet.read_table(table).to_pylist()
        ]
        equal.append(sum(row == other for row, other in zip(rows, plain, strict=True)))
    written = sum(file.stat().st_size for file in tables[1].glob("*.parquet"))
    plain_start = seconds["0"][0] - few / rates["0"]
    two_plain = len(read) / (pair_seconds - plain_start)
    return {
        "photos": len(read),
        "plain_per_second": round(rates["0"], 2),
        "two_plain_per_second": round(two_plain, 2),
        "one_actor_per_second": round(rates["1"], 2),
        "two_actors_per_second": round(rates["2"], 2),
        "two_over_one": round(rates["2"] / rates["0"], 3),
        "two_plain_over_one": round(two_plain / rates["0"], 3),
        "overhead_percent": round(100 * (rates["0"] / rates["1"] - 1), 1),
        "plain_start_seconds": round(plain_start, 1),
        "ray_start_seconds": round(seconds["1"][0] - few / rates["1"], 1),
        "equal": equal,
        "bytes_read_a_picture": round(statistics.mean(file.stat().st_size for file in read)),
        "bytes_written_a_picture": round(written / len(read)),
    }


def pages(config: Config, folder: Path) -> dict[str, Any]:
    """Receipts by the plain command, in CPU seconds."""
    lists = some_files(config, folder, config.files // 20)
    used, counts = [], []
    for file in lists:
        given = file.read_text().splitlines()
        command = [sys.executable, "-m", "visionrnn", "read", "--json", "--workers", "0", *given]
        used.append(run_apart(command)[0])
        counts.append(len(given))
    seconds = (used[0] - used[1]) / (counts[0] - counts[1])
    hours = seconds * 1e6 / 3600
    return {
        "pages": counts[0],
        "cpu_seconds_a_page": round(seconds, 3),
        "cpu_hours_a_million": round(hours, 1),
        "dollars_a_million": {
            name: round(hours / cores * price, 2) for name, (price, cores) in PRICES.items()
        },
    }


def task(paths: Path, folder: Path, out: Path, *more: str) -> list[str]:
    """The command of a task without a model."""
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "config.json").write_text("{}")
    return [
        sys.executable, "-m", "tests.common.scale_task", str(paths), "--model", str(folder / "model"),
        "--engine", "ray", "--out", str(out), *more,
    ]  # fmt: skip


def paths(config: Config, folder: Path) -> dict[str, Any]:
    """A list of many paths, and a model that returns at once."""
    listed, out = folder / "list.txt", folder / "table.parquet"
    with listed.open("w") as file:
        for first in range(0, config.paths, 1000):
            names = (f"photos/{first // 1000:05d}/{i:08d}.jpg\n" for i in range(first, first + 1000))
            file.writelines(names)
    started = time.perf_counter()
    command = task(listed, folder, out, "--no-read", "--batch-size", "32")
    process = subprocess.Popen(command, preexec_fn=interruptible)
    first_batch, memory, listed_seconds = 0.0, [], 0.0
    try:
        while process.poll() is None and time.perf_counter() - started < MOST_SECONDS:
            time.sleep(0.5)
            memory.append(largest(process.pid))
            if not listed_seconds and (out / "_run.json").exists():
                listed_seconds = time.perf_counter() - started
            if not first_batch and next(out.glob("part-*"), None):
                first_batch = time.perf_counter() - started
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
    took = time.perf_counter() - started
    done = sum(1 for _ in out.glob("part-*"))
    rate = done * 256 / (took - first_batch)
    return {
        "paths": config.paths,
        "done": min(config.paths, done * 256),
        "driver_mib": round(max(memory)),
        "listed_seconds": round(listed_seconds, 1),
        "first_batch_seconds": round(first_batch, 1),
        "files_per_second": round(rate),
    }


def interruptible() -> None:
    """A process that a shell started in the background ignores Ctrl-C, and so would what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def kills(config: Config, folder: Path) -> dict[str, Any]:
    """Runs that are killed at random moments and go on."""
    data, chance = folder / "data", random.Random(config.seed)
    data.mkdir()
    names = [data / f"{i:04d}.png" for i in range(1000)]
    for name in names:
        name.write_text(f"slow {name.stem}")
    out = folder / "table.parquet"
    command = task(data, folder, out, "--actors", "2")

    def finish(kill: Sequence[str]) -> bool:
        """Run to the end -> whether every file stands once, in order."""
        shutil.rmtree(out, ignore_errors=True)
        for seen in data.glob("pid-*"):
            seen.unlink()
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        if kill:
            moment = chance.uniform(0.02, 1)
            if kill[0] == "driver":
                time.sleep(moment * seconds)
                process.kill()
                process.wait()
                process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            else:
                while not (found := list(data.glob("pid-*"))):
                    time.sleep(0.02)
                time.sleep(moment * working * 0.9)
                os.kill(int(chance.choice(found).name[4:]), signal.SIGKILL)
        code = process.wait()
        table = dataset.dataset(out).to_table()
        texts = table.column("text").to_pylist()
        whole = code == 0 and texts == [f"slow {name.stem}" for name in names]
        print(f"{''.join(kill) or 'nothing'} killed: {'whole' if whole else 'NOT WHOLE'}", flush=True)
        return whole

    started = time.perf_counter()
    if not finish(()):
        raise SystemExit("error: a run that nothing kills is not whole")
    seconds = time.perf_counter() - started
    working = len(names) * 0.02 / 2
    whole = {victim: sum(finish([victim]) for _ in range(config.kills)) for victim in ("driver", "worker")}
    return {"files": len(names), "kills": config.kills, "whole": whole, "seconds_unkilled": round(seconds, 1)}


if __name__ == "__main__":
    run(main, Config, __doc__)
