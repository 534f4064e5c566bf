"""What benchmarks share: times and memory against a baseline in the same run."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ratios(
    baseline: Callable[[], object], measured: Callable[[], object], repeats: int, *, settled: bool = False
) -> dict[str, float]:
    """Baseline's time over the measured time, as the median of pairs, after one warm-up of each.

    Args:
        baseline: the work to compare with.
        measured: the work.
        repeats: pairs.
        settled: before each timed call a call of the same that is not timed, where what the one leaves
            behind, a million freed tensors for instance, would slow the other's next call.
    """
    baseline(), measured()

    def timed(work: Callable[[], object]) -> float:
        if settled:
            work()
        return seconds(work)

    pairs = [(timed(baseline), timed(measured)) for _ in range(repeats)]
    each = [b / m for b, m in pairs]
    return {
        "ratio": round(statistics.median(each), 3),
        "lowest": round(min(each), 3),
        "highest": round(max(each), 3),
        "baseline_seconds": round(statistics.median(b for b, _ in pairs), 4),
        "seconds": round(statistics.median(m for _, m in pairs), 4),
    }


def resident() -> int:
    """Bytes of this process that are in memory (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def largest(process: int | str = "self") -> float:
    """The largest memory of a process so far, in MiB (Linux); 0 when it has ended.

    `ru_maxrss` would not do: a process inherits that of the one that starts it.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return max((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), default=0.0)


_APART = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
print(status, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""
"""Starts a command from a small process, whose memory the command inherits as its largest so far."""


def run_apart(command: Sequence[str]) -> tuple[float, float]:
    """User and system CPU seconds of a command, and the highest memory of its process in MiB (Unix)."""
    apart = [sys.executable, "-S", "-c", _APART, *command]
    done = subprocess.run(apart, stdout=subprocess.PIPE, text=True, check=True)
    status, cpu, memory = done.stdout.split()
    if int(status):
        raise subprocess.CalledProcessError(int(status), command)
    return float(cpu), float(memory)


def cold(command: Sequence[str], repeats: int) -> dict[str, object]:
    """CPU time of a command over that of importing torch and timm, as the median of pairs; its memory.

    `first_...`: the same where no compiled graph is kept yet, as the first time on a machine.
    """
    imports = [sys.executable, "-c", "import torch, timm"]

    def measured(of_ours: Callable[[], tuple[float, float]]) -> tuple[dict[str, float], int]:
        pairs = [(run_apart(imports), of_ours()) for _ in range(repeats)]
        each = [ours[0] / theirs[0] for theirs, ours in pairs]
        return {
            "ratio": round(statistics.median(each), 3),
            "lowest": round(min(each), 3),
            "highest": round(max(each), 3),
            "seconds": round(statistics.median(ours[0] for _, ours in pairs), 3),
        }, round(max(ours[1] for _, ours in pairs))

    def first() -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as empty:
            return run_apart(["env", f"XDG_CACHE_HOME={empty}", *command])

    run_apart(imports), run_apart(command)
    found: dict[str, object] = {}
    for name, of_ours in (("cold", lambda: run_apart(command)), ("first", first)):
        found[f"{name}_cpu_over_imports"], found[f"{name}_memory_mib"] = measured(of_ours)
    return found
