import io
import json
import os
import platform
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from common import cli

FAULTS = """
import resource
import numpy as np
from common.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        maps = [np.ones(2**20) for _ in range(8)]  # 64 MiB in all, given back together
        del maps
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
usual = faults()
keep_freed_memory()
faults()
print(usual, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_freed_memory_is_used_again():
    found = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True)
    usual, kept = map(int, found.stdout.split())
    assert kept < usual / 10


PIECES = """
import numpy as np
from common.memory import keep_freed_memory, release_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4 // 1024

keep_freed_memory()
before = resident()
maps = [np.ones(2**17) for _ in range(400)]  # 400 MiB
del maps[::2]
scattered = resident() - before
release_freed_memory()
print(scattered, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_freed_memory_in_pieces_goes_back_to_the_system():
    found = subprocess.run([sys.executable, "-c", PIECES], check=True, capture_output=True, text=True)
    scattered, left = map(int, found.stdout.split())
    assert scattered > 380
    assert left < 220


PRINTS = """
import sys, warnings
from dataclasses import dataclass
from common.cli import print_error, print_json, print_row, run
from common.errors import VisionWarning

@dataclass
class Config:
    lines: int = 1

def main(config):
    print_error("bad\\npicture \\x1b[2J")
    warnings.warn("two frames left out", VisionWarning)
    assert sys.stdin.read() == ""
    for _ in range(config.lines):
        print_row("caf\\udce9\\n\\u00e9", "a cup")
        print_json({"path": "caf\\udce9 \\u00e9"})

run(main, Config, None)
"""


def printed(*arguments, shell="", **environment):
    """Run PRINTS; `shell` says what becomes of its streams."""
    command = f'"{sys.executable}" -c "$PRINTS" {" ".join(arguments)} {shell}'
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env={**os.environ, "PRINTS": PRINTS, "PYTHONIOENCODING": "utf-8:strict", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("encoding", "row"),
    [
        ("utf-8:strict", "caf\\udce9\\n\u00e9\ta cup".encode()),
        ("utf-8:surrogateescape", b"caf\xe9\\n\xc3\xa9\ta cup"),  # as in C.UTF-8: the name's own bytes
        ("ascii:strict", b"caf\\udce9\\n\\xe9\ta cup"),
        ("ascii:surrogateescape", b"caf\\udce9\\n\\xe9\ta cup"),
    ],
)
def test_any_name_is_printed_in_any_encoding(encoding, row):
    done = printed(PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == row
    assert json.loads(second) == {"path": "caf\udce9 \u00e9"}
    assert done.stderr.splitlines() == [b"error: bad\\npicture \\x1b[2J", b"note: two frames left out"]


@pytest.mark.parametrize("shell", ["2>&-", "<&-", "2>&- <&-", "2>/dev/full"])
def test_closed_streams_change_no_result(shell):
    done = printed(shell=shell)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
    assert b"bad" not in done.stdout
    assert b"Traceback" not in done.stderr


def test_a_reader_that_has_enough_is_no_error():
    done = printed("--lines", "20000", shell="| head -1")
    assert (done.returncode, len(done.stdout.splitlines())) == (141, 1)
    assert len(done.stderr.splitlines()) == 2  # nothing besides what is told anyway


@pytest.mark.parametrize("shell", [">/dev/full", ">&-"])
def test_an_output_that_takes_nothing_gives_one_line_at_most(shell):
    done = printed(shell=shell)
    assert done.returncode == (1 if "full" in shell else 0)
    assert len(done.stderr.splitlines()) == (3 if "full" in shell else 2)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "seconds", "said"),
    [(Terminal, 0.0, "loading x ...\r\033[K"), (Terminal, 60.0, ""), (io.StringIO, 0.0, "")],
    ids=["long", "short", "no terminal"],
)
def test_a_terminal_is_told_what_takes_long(monkeypatch, stream, seconds, said):
    told = stream()
    monkeypatch.setattr(cli, "_PATIENCE", seconds)
    monkeypatch.setattr(sys, "stderr", told)
    flags = SimpleNamespace(model=("x",), device="cpu", precision="fp32")

    def load(*given):
        deadline = time.monotonic() + 5
        while said and not told.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        return given

    assert cli.loaded(load, flags) == (("x",), "cpu", "fp32")
    assert told.getvalue() == said


def test_a_bar_is_shown_beside_nothing_else(monkeypatch):
    shown = {}
    monkeypatch.setattr("tqdm.tqdm", lambda items, **flags: shown.update(flags) or items)
    monkeypatch.setattr(sys, "stderr", Terminal())
    for stdout, silent, hidden in (
        (Terminal(), False, True), (Terminal(), True, False), (io.StringIO(), False, False),
    ):  # fmt: skip
        monkeypatch.setattr(sys, "stdout", stdout)
        cli.progress([1], 1, "pictures", silent=silent)
        assert shown["disable"] == hidden
