"""Speed and memory of text recognition, compared with Tesseract where it is installed.

    python benchmarks/benchmark_ocr.py --data SROIE --last 40groups --report FILE.json

- `lines_per_second`: lines read from files to text on one thread, greedy. Bar: 400.
- `lines_over_torch`: the same on the engine over those on torch, each in its best precision. Bar: 1.3.
- `lines_per_second_beam`: the same as read by default, by beam search with the language model.
- `over_tesseract`: the same lines by `tesseract LIST out --psm 7` on one thread, in one process; its time
  over ours (greedy), pair by pair. Bar: 3.
- `pages_over_ink`: pages a second with the bundled finder of lines over those whose lines are found by ink
  alone. Bar: 0.5.
- `page_memory_gib`: the highest memory of a process that reads a page of 3000 x 4000 pixels, over what it
  had after the imports and the loading of the model. Bar: below 1.
- `cold_cpu_over_imports`, `cold_memory_mib`: user and system CPU time of `read_text.py` of one receipt
  over that of importing torch and timm, and its highest memory. Bars: 0.40, 400. `first_...`: the first time
  on a machine, when the graphs are compiled.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from timing import cold, ratios

from common.charset import Charset
from common.cli import command_line, run
from ocr import TextReader
from ocr.labels import read_lines
from ocr.phrases import TextSource
from ocr.synthetic import SyntheticLines, find_fonts

ROOT = Path(__file__).parent.parent
RECEIPT = ROOT / "examples" / "receipt.jpg"
PAGE = """
import sys
from timing import largest, resident
from ocr import TextReader
reader = TextReader.from_pretrained(sys.argv[1])
before = resident()
lines = len(reader.read(sys.argv[2]).lines)
print(lines, largest() * 2**20 - before)
"""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags."""

    model: str = "english"
    """A bundled model, or a model or run folder."""
    data: Path | None = None
    """Folder with labels.tsv; without it, lines are rendered."""
    last: str = ""
    """Only its last rows or groups."""
    count: int = 1000
    """Lines to read in each measurement."""
    repeats: int = 5
    """Measurements; the ratio is the median over pairs that ran side by side."""
    report: Path | None = None
    """JSON file to write."""


def make_lines(folder: Path, count: int) -> list[Path]:
    """Rendered lines of prices and letters."""
    lines = SyntheticLines(find_fonts(), TextSource(Charset()))
    paths = [folder / f"{i:05d}.png" for i in range(count)]
    for i, path in enumerate(paths):
        Image.fromarray(lines.sample(i, 80 + i * 37 % 260)[0]).save(path)
    return paths


def make_page(folder: Path, lines: list[Path]) -> Path:
    """3000 x 4000 pixels, full of lines."""
    page = np.full((4000, 3000), 250, np.uint8)
    for i in range(3 * 60):
        line = np.asarray(Image.open(lines[i % len(lines)]).convert("L"))
        line = cv2.resize(line, None, fx=40 / line.shape[0], fy=40 / line.shape[0])[:, :900]
        y, x = 60 + i // 3 * 65, 50 + i % 3 * 980
        page[y : y + 40, x : x + line.shape[1]] = line
    path = folder / "page.jpg"
    cv2.imwrite(str(path), page)
    return path


def tesseract(listing: Path, out: Path) -> None:
    """Read all lines of a list in one process on one thread."""
    subprocess.run(
        ["tesseract", str(listing), str(out), "--psm", "7"],
        check=True,
        env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        stderr=subprocess.DEVNULL,
    )


def main(config: Config) -> None:
    """Run all three and print them."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    reader = TextReader.from_pretrained(config.model)
    result: dict[str, Any] = {
        "model": config.model,
        "threads": 1,
        "precision": reader.precision,
        "torch": torch.__version__,
        "command": command_line(),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if config.data is None:
            paths = make_lines(folder, config.count)
        else:
            found = [line.source for line in read_lines(config.data, config.last)]
            paths = [path.resolve() for path in found if isinstance(path, Path)][: config.count]
        listing = folder / "list.txt"
        listing.write_text("\n".join(map(str, paths)), encoding="utf-8")
        if shutil.which("tesseract"):
            measured = ratios(
                lambda: tesseract(listing, folder / "out"),
                lambda: reader.read_lines(paths, beam_size=1),
                config.repeats,
            )
            result["over_tesseract"] = measured
            result["tesseract_lines_per_second"] = round(len(paths) / measured["baseline_seconds"], 1)
        else:
            print("tesseract is not installed; it is left out")
            measured = ratios(lambda: None, lambda: reader.read_lines(paths, beam_size=1), config.repeats)
        on_torch = TextReader.from_pretrained(config.model, engine="torch")
        result["lines_over_torch"] = ratios(
            lambda: on_torch.read_lines(paths, beam_size=1),
            lambda: reader.read_lines(paths, beam_size=1),
            config.repeats,
        )
        result["lines"] = len(paths)
        result["lines_per_second"] = round(len(paths) / measured["seconds"], 1)
        searched = ratios(lambda: None, lambda: reader.read_lines(paths), config.repeats)
        result["lines_per_second_beam"] = round(len(paths) / searched["seconds"], 1)
        page = make_page(folder, paths)
        by_ink = TextReader.from_pretrained(config.model, finder="none")
        result["pages_over_ink"] = ratios(
            lambda: by_ink.read(page), lambda: reader.read(page), config.repeats
        )
        done = subprocess.run(
            [sys.executable, "-c", PAGE, config.model, str(page)],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        lines, grown = done.stdout.split()
        command = [
            sys.executable,
            str(ROOT / "scripts" / "read_text.py"),
            str(RECEIPT),
            "--model",
            config.model,
        ]
        result |= cold(command, config.repeats)
        result["page_lines"] = int(lines)
        result["page_memory_gib"] = round(float(grown) / 2**30, 3)
    print(json.dumps(result, indent=1))
    if config.report:
        config.report.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    run(main, Config, __doc__)
