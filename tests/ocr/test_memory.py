from pathlib import Path

import numpy as np

from ocr import TextReader


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def test_lines_of_ever_new_widths_do_not_fill_the_memory():
    """The engine compiles operators for each new shape; it must not keep all of them."""
    reader = TextReader.from_pretrained("english")
    lines = [np.full((32, width), 255, np.uint8) for width in range(1000, 40, -8)]  # the widest first
    for line in lines[:40]:
        reader.read_lines([line], beam_size=1)
    before = resident_mib()
    for line in lines[40:]:
        reader.read_lines([line], beam_size=1)
    assert resident_mib() - before < 100  # 80 shapes, 3 MiB each
