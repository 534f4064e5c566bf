import numpy as np
import pytest
from PIL import Image

from common.charset import Charset
from ocr.drawn_pages import DrawnPages, _Sheet, write_pages
from ocr.phrases import TextSource
from ocr.synthetic import SyntheticLines, find_fonts

SIDE = 256


@pytest.fixture(scope="module")
def lines():
    return SyntheticLines(find_fonts()[:3], TextSource(Charset(), ["invoice", "total", "street", "Name"]))


@pytest.fixture(scope="module")
def pages(lines):
    drawing = DrawnPages(lines)
    return [drawing.sample(seed, SIDE) for seed in range(40)]


def test_a_page_depends_on_its_seed_alone(lines, pages):
    again = DrawnPages(lines).sample(7, SIDE)
    assert np.array_equal(again.pixels, pages[7].pixels)
    assert np.array_equal(again.lines, pages[7].lines)
    assert not np.array_equal(again.pixels, pages[8].pixels)


def test_lines_lie_on_the_page_and_on_ink(pages):
    contrasts = []
    for page in pages:
        assert page.pixels.shape == (SIDE, SIDE)
        assert page.pixels.dtype == np.uint8
        # a turned line that is cut off has corners beyond the rim
        assert page.lines.min(initial=0) > -40
        assert page.lines.max(initial=0) < SIDE + 40
        middles = page.lines.mean(axis=1)
        assert ((middles > 0) & (middles < SIDE)).all()
        for line in page.lines:
            (x0, y0), (x1, y1) = line.min(axis=0).astype(int).clip(0), line.max(axis=0).astype(int) + 1
            contrasts.append(int(np.ptp(page.pixels[y0:y1, x0:x1])))
    assert len(contrasts) > 200
    assert np.mean(np.array(contrasts) > 25) > 0.95
    assert sum(len(page.lines) > 0 for page in pages) > 35


def white(lines, kind="document"):
    return _Sheet(np.full((120, 400), 255, np.uint8), kind, lines, np.random.default_rng(0))


def ink(sheet):
    y, x = np.nonzero(np.asarray(sheet.image) < 128)
    return np.stack([x, y], axis=1) + 0.5


def inside(points, line):
    following = np.roll(line, -1, axis=0)
    edges, to = following - line, points[:, None] - line
    return (edges[:, 0] * to[..., 1] - edges[:, 1] * to[..., 0] >= -0.5).all(axis=1)


@pytest.mark.parametrize("text", ["Total: 12.50", "gypsy", "ooo", "-"])
def test_a_written_line_has_all_of_its_ink_and_little_more(lines, text):
    sheet = white(lines)
    sheet.write(20, 20, text, sheet.style(24, 0), 300)
    (line,), points = sheet.lines, ink(sheet)
    assert inside(points, line).all()
    size = line.max(axis=0) - line.min(axis=0)
    assert size[0] < np.ptp(points[:, 0]) + 14
    assert size[1] < max(np.ptp(points[:, 1]), 12) + 10


@pytest.mark.parametrize("angle", [0, 20, -35, 90])
def test_a_turned_line_has_all_of_its_ink(lines, angle):
    sheet = white(lines)
    sheet.stick((200, 60), "Total", sheet.style(20, 0), angle)
    (line,) = sheet.lines
    assert inside(ink(sheet), line).mean() > 0.99
    reads = line[1] - line[0]
    assert np.degrees(np.arctan2(-reads[1], reads[0])) == pytest.approx(angle, abs=0.1)


def test_text_that_has_no_room_is_cut(lines):
    sheet = white(lines)
    end = sheet.write(20, 20, "a very long line of text that does not fit", sheet.style(24, 0), 100)
    assert end <= 125
    assert sheet.write(20, 110, "below the page", sheet.style(24, 0), 100) == 20
    assert len(sheet.lines) == 1


def test_pages_to_look_at(lines, tmp_path):
    write_pages(DrawnPages(lines), tmp_path / "drawn", 2, side=128)
    with Image.open(tmp_path / "drawn" / "0001.png") as image:
        assert image.size == (128, 128)
        assert image.mode == "RGB"
