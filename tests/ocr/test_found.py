import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from common.ctc import Reading
from common.errors import ModelError
from common.export import export
from ocr import TextReader
from ocr.found import FINDER, Finder, LineImage, better, found_lines, groups, ink_lines
from ocr.page import Layout, find_lines
from tests.ocr.conftest import line_picture, page_picture, tiny_finder, tiny_recognizer


class Finds:
    """A finder that knows where the lines are."""

    def __init__(self, *lines):
        self.lines = np.array(lines, np.float32).reshape(-1, 4, 2)
        self.seen = []

    def find(self, page):
        self.seen.append(page)
        return self.lines


def corners(x0, y0, x1, y1):
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def turned(line, angle, middle):
    """Corners turned counter-clockwise as Pillow turns an image."""
    radians = np.deg2rad(-angle)
    matrix = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
    return (np.array(line, float) - middle) @ matrix + middle


@pytest.fixture(scope="module")
def finder_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finder")
    tiny_finder().save_pretrained(folder)
    export(type(tiny_finder()), folder)
    return folder


def lying_as_given(page):
    """A page that is read as it is."""
    return Layout(page, [], [], [], 0.0, np.eye(2, 3), page.shape[::-1])


def at(*boxes):
    return [LineImage(np.full((8, 8), 255, np.uint8), np.zeros((4, 2)), box) for box in boxes]


def said(text, confidence):
    return Reading(text, confidence, ())


def test_on_torch_it_finds_what_its_graph_finds(finder_folder):
    page = np.asarray(page_picture([["tea", "4.50"], ["total"]]))
    found = [
        Finder.from_pretrained(finder_folder, "cpu", "fp32", engine=engine).find(page)
        for engine in ("torch", "graph")
    ]
    assert found[0].shape == found[1].shape
    assert len(found[0]) > 0
    np.testing.assert_allclose(*found, atol=0.5)


def test_pages_are_read_alike_on_torch_and_by_graphs(finder_folder, tmp_path):
    model = tiny_recognizer()
    model.save_pretrained(tmp_path)
    export(type(model), tmp_path)
    page = page_picture([["tea", "4.50"], ["total"]])
    readers = [
        TextReader.from_pretrained(tmp_path, "cpu", "fp32", engine=engine, finder=finder_folder)
        for engine in ("torch", "graph")
    ]
    one, other = (reader.read(page, min_confidence=0.0) for reader in readers)
    assert one.text == other.text
    np.testing.assert_allclose(
        [line.polygon for line in one.lines], [line.polygon for line in other.lines], atol=0.5
    )


@pytest.mark.parametrize("angle", [0, 20, -40])
@pytest.mark.parametrize("dark", [True, False])
def test_a_crop_is_upright_and_dark_on_light(angle, dark):
    text, page = line_picture("LLLLLLLLLL"), Image.new("L", (400, 400), 235)
    place = corners(100, 180, 100 + text.width, 180 + text.height)
    page.paste(text, (100, 180))
    page = page.rotate(angle, Image.Resampling.BILINEAR, fillcolor=235)
    page = np.asarray(page if dark else ImageOps.invert(page))
    layout = lying_as_given(page)
    (line,) = found_lines(Finds(turned(place, angle, (200, 200))), page, layout)
    assert abs(line.pixels.shape[0] - 1.2 * text.height) <= 1
    ink = line.pixels < 128
    rows = np.flatnonzero(ink.any(axis=1))
    assert np.median(line.pixels) > 200
    assert np.ptp(rows) < 0.95 * text.height
    assert ink[rows[-3] : rows[-1] + 1].sum() > 2 * ink[rows[0] : rows[3]].sum()  # the foot of an L is below


def test_a_line_that_stands_on_its_head_is_turned():
    page = np.full((200, 300), 235, np.uint8)
    page[80:90, 50:80] = 0  # its left end
    layout = lying_as_given(page)
    line = corners(40, 70, 250, 100)
    (one,) = found_lines(Finds(line), page, layout)
    (other,) = found_lines(Finds(line[2:] + line[:2]), page, layout)
    np.testing.assert_array_equal(one.pixels, other.pixels)
    assert one.box == other.box == (40, 70, 250, 100)


def test_the_network_sees_a_level_page_and_boxes_come_back_to_the_page_as_given():
    given = page_picture([["a line of text that is long enough"]] * 5).rotate(8, expand=True, fillcolor=240)
    pixels = np.asarray(given)
    layout = find_lines(pixels)
    finder = Finds(*(corners(*box) for box in layout.boxes))
    found = found_lines(finder, pixels, layout)
    (seen,) = finder.seen
    assert seen.shape == layout.straight.shape
    assert np.abs(seen.astype(int) - layout.straight).mean() < 3
    assert [line.box for line in found] == layout.boxes
    for line, box in zip(found, layout.boxes, strict=True):
        middle = np.mean(layout.placed(line.corners), axis=0)
        np.testing.assert_allclose(middle, np.mean(layout.polygon(box), axis=0), atol=2)


def test_groups_are_what_shows_the_same_text():
    ink = at((0, 0, 100, 20), (110, 0, 200, 20), (0, 50, 100, 70), (0, 200, 50, 220))
    found = at((0, 0, 200, 20), (0, 52, 40, 72), (60, 48, 100, 68), (300, 300, 400, 320))
    assert groups(ink, found) == [([0, 1], [0]), ([2], [1, 2]), ([], [3]), ([3], [])]
    assert groups(ink, []) == [([i], []) for i in range(4)]
    assert groups([], found) == [([], [i]) for i in range(4)]
    assert groups([], []) == []


@pytest.mark.parametrize(
    ("ink", "found", "least", "expected"),
    [
        ([("total 5.70", 0.99)], [("total 5.70", 0.9)], 0.4, True),
        ([("total", 0.99), ("5.70", 0.99)], [("tot", 0.99)], 0.4, True),
        ([("tot", 0.99)], [("total 5.70", 0.95)], 0.4, False),
        ([("l.'-i!l;", 0.6)], [("tea", 0.9)], 0.4, False),  # many characters, each a guess
        ([("faded", 0.6)], [("", 1.0)], 0.4, True),
        ([("faded", 0.6)], [("fad", 0.3)], 0.4, True),
        ([("x", 0.3)], [("", 1.0)], 0.4, False),
        ([], [("tea", 0.5)], 0.4, False),
    ],
)
def test_which_side_is_read_better(ink, found, least, expected):
    assert better([said(*r) for r in ink], [said(*r) for r in found], least) is expected


def test_without_a_finder_the_lines_are_those_of_ink():
    page = page_picture([["tea", "4.50"], ["total"]])
    reader = TextReader(tiny_recognizer(), "cpu", "fp32")
    assert reader.finder is None
    assert len(reader.read(page, min_confidence=0.0).lines) <= 3
    assert len(ink_lines(find_lines(np.asarray(page)))) == 3


def test_found_lines_are_read_in_their_place(monkeypatch):
    """In rows from the top."""
    page = page_picture([["tea", "4.50"], ["total"]])
    first, second, third = find_lines(np.asarray(page)).boxes
    right = (500, third[1], 600, third[3])
    reader = TextReader(tiny_recognizer(), "cpu", "fp32")
    reader.finder = Finds(*(corners(*box) for box in (right, third, second, first)))
    monkeypatch.setattr("ocr.reader.better", lambda ink, found, least: False)
    monkeypatch.setattr("ocr.reader.is_sure", lambda reading: True)
    monkeypatch.setattr("ocr.reader.SETTLED", 2.0)
    monkeypatch.setattr("ocr.reader.prefix_beam_search", lambda *_, **__: Reading("ab c", 0.9, ()))
    found = reader.read(page, min_confidence=0.0)  # it is not trained
    assert found.text == "ab c  ab c\nab c  ab c"
    for line, box in zip(found.lines, (first, second, third, right), strict=True):
        assert line.box == pytest.approx(box, abs=8)


def test_the_bundled_finder_finds_the_lines_of_a_page():
    rows = [["RECEIPT"], ["tea with milk", "4.50"], ["total amount", "5.70"], ["thank you"]]
    page = page_picture(rows)
    found = Finder.from_pretrained(FINDER).find(np.asarray(page))
    assert len(found) == 6
    middles = sorted(found.mean(axis=1)[:, 1])
    assert all(abs(y - (30 + 48 * row + 14)) < 8 for y, row in zip(middles, (0, 1, 1, 2, 2, 3), strict=True))


def test_a_page_with_pictures_and_screens_is_read():
    """Light text on dark ground beside dark text on light ground."""
    page = Image.new("L", (700, 400), 240)
    page.paste(page_picture([["dark on light"]], 700), (0, 0))
    page.paste(ImageOps.invert(page_picture([["light on dark"]], 700, ink=10, paper=230)), (0, 200))
    reader = TextReader.from_pretrained("english")
    assert isinstance(reader.finder, Finder)
    assert reader.read(page).text.lower().splitlines() == ["dark on light", "light on dark"]


def test_damaged_and_wrong_finders_are_refused(finder_folder, tmp_path):
    for name, match in (("nothing", "no model 'nothing'.*lines"), ("english", "no model 'english'")):
        with pytest.raises(ModelError, match=match):
            TextReader.from_pretrained("english", finder=name)
    tiny_recognizer().save_pretrained(tmp_path / "reader")
    with pytest.raises(ModelError, match="a model for ocr, not for line-finding"):
        TextReader.from_pretrained("english", finder=tmp_path / "reader")
    with pytest.raises(ModelError, match="no model 'lines'"):
        TextReader.from_pretrained("lines")
    for file in ("model.safetensors", "find.xml", "graphs.bin"):
        folder = tmp_path / file
        folder.mkdir()
        for each in finder_folder.iterdir():
            (folder / each.name).write_bytes(each.read_bytes())
        content = bytearray((folder / file).read_bytes())
        content[-1] ^= 1
        (folder / file).write_bytes(content)
        with pytest.raises(ModelError, match="altered or damaged"):
            TextReader.from_pretrained("english", finder=folder)


def test_the_flag(script, finder_folder, recognizer_folder, tmp_path):
    page = tmp_path / "page.png"
    page_picture([["tea", "4.50"], ["total"]]).save(page)
    flags = (page, "--model", recognizer_folder, "--json", "--min-confidence", 0)
    for finder in ("none", finder_folder, "auto"):
        done = script("read_text.py", *flags, "--finder", finder)
        assert done.code == 0, done.err
        assert json.loads(done.out)["path"] == str(page)
    done = script("read_text.py", *flags, "--finder", "nothing")
    assert done.code != 0
    assert "no model 'nothing'" in done.err
    line = tmp_path / "line.png"
    line_picture("tea").save(line)
    done = script("read_text.py", "--line", line, "--model", recognizer_folder, "--finder", "nothing")
    assert done.code == 0, done.err  # lines need no finder


@pytest.mark.parametrize(("confidence", "expected"), [(0.7, []), (0.9, ["tea"])])
def test_what_only_one_of_both_sees_must_be_read_surely(monkeypatch, confidence, expected):
    page = page_picture([["tea"]])
    monkeypatch.setattr("ocr.reader.greedy", lambda *_: Reading("tea", confidence, ()))
    monkeypatch.setattr("ocr.reader.prefix_beam_search", lambda *_, **__: Reading("tea", confidence, ()))
    for pixels, finder in ((page, Finds()), (Image.new("L", page.size, 240), Finds(corners(40, 30, 90, 60)))):
        reader = TextReader(tiny_recognizer(), "cpu", "fp32")
        reader.finder = finder
        assert [line.text for line in reader.read(pixels).lines] == expected


@pytest.mark.parametrize("angle", [90, 180, 25])
def test_turned_pages_are_read_with_the_bundled_finder(angle):
    rows = [["a receipt of the shop"], ["tea with milk", "4.50"], ["total amount", "5.70"], ["thank you"]]
    page = page_picture(rows).rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=240)
    read = TextReader.from_pretrained("english").read(page)
    assert read.text.lower().splitlines() == ["  ".join(row) for row in rows]
