import time
import weakref

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps

from common.charset import Charset
from common.ctc import Reading, prefix_beam_search
from common.errors import ImageError, UsageError
from common.ngrams import CharacterNgrams
from ocr import TextReader
from ocr.drawing import draw_page
from ocr.metrics import bag_of_words_f1, score_lines
from ocr.page import find_lines, reading_order
from ocr.reader import Line, Page
from tests.conftest import by_threads
from tests.ocr.conftest import WORDS, line_picture, page_picture, tiny_recognizer

ROWS = [["RECEIPT"], ["tea", "2", "4.50"], ["milk", "1", "1.20"], ["total amount", "5.70"], ["thank you"]]


def rows_found(layout):
    return [layout.rows.count(r) for r in sorted(set(layout.rows))]


@pytest.mark.parametrize("kind", ["dark on light", "light on dark", "grey paper", "large", "small"])
def test_finds_every_line_in_reading_order(kind):
    page = page_picture(ROWS, paper=170 if kind == "grey paper" else 240)
    if kind == "light on dark":
        page = ImageOps.invert(page)
    if kind == "large":
        page = page.resize((page.width * 4, page.height * 4))
    if kind == "small":
        page = page.resize((page.width * 2 // 3, page.height * 2 // 3))
    layout = find_lines(np.asarray(page))
    assert rows_found(layout) == [len(row) for row in ROWS]
    assert layout.angle == 0
    scale = page.width / 700
    x0, y0, x1, y1 = (value / scale for value in layout.boxes[0])
    assert 20 < x0 < 42 < 120 < x1 < 200
    assert 20 < y0 < y1 < 75


@pytest.mark.parametrize("angle", [-6, -2.5, 3, 8])
def test_a_turned_page_is_straightened(angle):
    page = page_picture(ROWS).rotate(angle, expand=True, fillcolor=240)
    layout = find_lines(np.asarray(page))
    assert layout.angle == pytest.approx(-angle, abs=0.4)
    assert rows_found(layout) == [len(row) for row in ROWS]
    for box in layout.boxes:  # on the page as given there is ink in the middle of each frame
        x, y = np.array(layout.polygon(box)).mean(axis=0).round().astype(int)
        assert np.asarray(page)[y - 8 : y + 9, x - 30 : x + 31].min() < 120


@pytest.mark.parametrize("colour", [255, 0, 128])
def test_a_blank_page_has_no_lines(colour):
    layout = find_lines(np.full((400, 300), colour, np.uint8))
    assert layout.boxes == []
    reader = TextReader(tiny_recognizer(), "cpu")
    page = reader.read(Image.new("L", (300, 400), colour))
    assert page.text == str(page) == ""
    assert page.lines == ()


@pytest.mark.parametrize("size", [(1, 1), (300, 2), (2, 300), (40, 40)])
def test_tiny_pages(size):
    assert find_lines(np.full(size[::-1], 200, np.uint8)).boxes == []


def test_rules_and_frames_are_no_lines():
    page = page_picture(ROWS)
    pixels = np.asarray(page).copy()
    pixels[70:72, 20:680] = 0
    pixels[5:7], pixels[-7:-5], pixels[:, 5:7], pixels[:, -7:-5] = 0, 0, 0, 0
    assert rows_found(find_lines(pixels)) == [len(row) for row in ROWS]


def test_reading_order():
    boxes = [(300, 12, 380, 30), (10, 60, 90, 80), (10, 10, 90, 30), (100, 62, 180, 80)]
    assert reading_order(boxes) == ([2, 0, 1, 3], [0, 0, 1, 1])
    assert reading_order([]) == ([], [])


SENTENCES = (
    "The committee met on Monday",
    "and spoke about the old bridge",
    "over the canal, which had been",
    "closed after a storm in autumn.",
    "A vote is planned for the next",
    "week, when all are back home.",
)


def columns_picture(count, gutter=60, size=22, drop=0, title=True, pitch=30):
    """Columns of running text, each `drop` pixels lower than the one before, below a title, above a note."""
    font = ImageFont.load_default(size)
    width = max(int(font.getlength(text)) for text in SENTENCES)
    left = [40 + j * (width + gutter) for j in range(count)]
    top, rows = 90 if title else 20, pitch * len(SENTENCES) + drop * count
    image = Image.new("L", (left[-1] + width + 40, top + rows + 90), 245)
    draw = ImageDraw.Draw(image)
    for j, x in enumerate(left):
        for i, text in enumerate(SENTENCES):
            draw.text((x, top + drop * j + pitch * i), text, 20, font)
    if title:
        wide = ImageFont.load_default(2 * size)
        draw.text((60, 20), "News of the week and of the town", 20, wide)
        draw.text(
            (image.width / 2, top + rows + 40), "continued on the following page", 20, font, anchor="mt"
        )
    return image, left, width


@pytest.mark.parametrize("title", [True, False])
@pytest.mark.parametrize("drop", [0, 11])
@pytest.mark.parametrize(("count", "gutter"), [(2, 40), (2, 150), (3, 40)])
def test_columns_of_running_text_are_read_one_after_the_other(count, gutter, drop, title):
    image, left, width = columns_picture(count, gutter, drop=drop, title=title)
    layout = find_lines(np.asarray(image))
    assert layout.rows == list(range(len(layout.rows)))  # nothing side by side
    starts = [x0 for x0, *_ in layout.boxes]
    body = starts[1:-1] if title else starts
    assert [int((x + 20 - left[0]) // (width + gutter)) for x in body] == [
        j for j in range(count) for _ in SENTENCES
    ]


@pytest.mark.parametrize("columns", [2, 3, 4])
def test_cells_of_a_table_are_read_row_by_row(columns):
    rows = [
        ["Apples", "3 boxes", "4.50", "paid"],
        ["Pears", "12", "8.10", "open"],
        ["Cherries", "7", "9", "paid"],
    ]
    table = page_picture([row[:columns] for row in rows * 3])
    layout = find_lines(np.asarray(table))
    assert rows_found(layout) == [columns] * 9


def test_names_with_their_prices_are_read_row_by_row():
    items = [
        "Coffee with milk and sugar, large",
        "Sandwich of cheese and tomatoes",
        "Orange juice, freshly pressed",
    ]
    layout = find_lines(
        np.asarray(page_picture([[item, f"{i}.50"] for i, item in enumerate(items * 3)], 1100))
    )
    assert rows_found(layout) == [2] * 9


def test_a_comma_belongs_to_its_line():
    (box,) = find_lines(np.asarray(page_picture([["No. 8, Main Street, York"]]))).boxes
    assert box[2] - box[0] > 250


def test_slivers_at_the_rim_get_no_paper():
    pixels = np.asarray(page_picture(ROWS)).copy()
    for y in range(30, 260, 47):
        pixels[y : y + 19, :3] = 30
    layout = find_lines(pixels)
    assert layout.straight.shape == pixels.shape


def test_reader_gives_the_same_for_one_and_for_many():
    reader = TextReader(tiny_recognizer(), "cpu", "fp32")
    pictures = [
        line_picture(text, size) for text, size in (("total", 20), ("a", 30), ("12.50 change", 16))
    ] * 3
    together = reader.read_lines(pictures, batch_size=4)
    alone = [reader.read_lines([picture])[0] for picture in pictures]
    assert [r.text for r in together] == [r.text for r in alone]
    assert [r.confidence for r in together] == pytest.approx([r.confidence for r in alone], abs=1e-4)


def test_lines_of_every_shape_are_read():
    reader = TextReader(tiny_recognizer(), "cpu")
    sizes = [(50, 2), (20_000, 32), (1, 1), (3, 400)]
    pictures = [
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (h, w), dtype=np.uint8)) for w, h in sizes
    ]
    colour = [picture.convert("RGB") for picture in pictures[:1]]
    assert len(reader.read_lines([*pictures, *colour])) == 5


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ([("rn", 0.7), ("m", 0.5), ("m", 0.6)], ("m", 0.6)),  # two agree
        ([("rn", 0.7), ("m", 0.5), ("n", 0.6)], ("rn", 0.7)),  # nobody agrees
        ([("rn", 0.85), ("m", 0.9), ("m", 0.9)], ("rn", 0.85)),  # sure enough, not read again
    ],
)
def test_an_unsure_line_is_read_again_at_other_widths(monkeypatch, says, expected):
    reader = TextReader(tiny_recognizer(), "cpu", "fp32")
    widths = []

    def decoded(log_probs, *_, **__):
        widths.append(len(log_probs))
        text, confidence = says[len(widths) - 1]
        return Reading(text, confidence)

    monkeypatch.setattr("ocr.reader.prefix_beam_search", decoded)
    line = np.full((64, 400), 255, np.uint8)
    (found,) = reader.read_lines([line])
    assert (found.text, found.confidence) == expected
    assert widths == ([50, 43, 60] if expected[1] < 0.8 else [50])  # steps of 4 pixels
    widths.clear()
    monkeypatch.setattr("ocr.reader.greedy", decoded)
    reader.read_lines([line], beam_size=1)
    assert len(widths) == 1


def test_reader_says_what_is_wrong(tmp_path):
    reader = TextReader(tiny_recognizer(), "cpu")
    with pytest.raises(TypeError, match=r"read_lines\(\['a.png'\]\)"):
        reader.read_lines("a.png")
    with pytest.raises(ImageError, match="no such file"):
        reader.read_lines([tmp_path / "gone.png"])
    with pytest.raises(ImageError, match="no such file"):
        reader.read(tmp_path / "gone.png")
    with pytest.raises(UsageError, match="must be at least 1"):
        reader.read_lines([line_picture("a")], beam_size=0)
    model = CharacterNgrams.of(["tea"], reader.model.charset)
    with pytest.raises(UsageError, match="a language model needs a beam"):
        reader.read_lines([line_picture("a")], beam_size=1, language_model=model)
    assert reader.read_lines([line_picture("a")], beam_size=3, language_model=model)


class Wants:
    """A language model that knows one character."""

    def __init__(self, character):
        self.character = character

    def log_prob(self, character, before):
        return 0.0 if character == self.character else -40.0


def test_reader_uses_the_language_model_of_its_recognizer_unless_told_otherwise():
    recognizer = tiny_recognizer(Charset("ab"))
    with torch.no_grad():  # it cannot tell a from b
        recognizer.classify.weight.zero_()
        recognizer.classify.bias.copy_(torch.tensor([-3.0, 0.0, 0.0]))
    recognizer.language_model = Wants("b")
    reader = TextReader(recognizer, "cpu")
    picture = [line_picture("a")]
    assert set(reader.read_lines(picture)[0].text) == {"b"}
    assert set(reader.read_lines(picture, language_model=Wants("a"), beam_size=4)[0].text) == {"a"}
    assert set(reader.read_lines(picture, beam_size=1)[0].text) == {"a"}  # greedy asks no language model


def test_what_greedy_decoding_makes_nothing_of_is_not_searched(monkeypatch):
    searched = []

    def search(*arguments, **options):
        searched.append(arguments)
        return prefix_beam_search(*arguments, **options)

    monkeypatch.setattr("ocr.reader.prefix_beam_search", search)
    reader = TextReader(tiny_recognizer(), "cpu", "fp32")  # untrained, so that it is sure of nothing
    page = page_picture(ROWS)
    reader.read(page, min_confidence=0.0)
    assert len(searched) >= len(ROWS)
    searched.clear()
    assert not reader.read(page, min_confidence=1.0).lines
    assert not searched


def test_a_bad_line_does_not_stop_the_others(tmp_path):
    line_picture("tea").save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("x")
    reader = TextReader(tiny_recognizer(), "cpu")
    for workers in (0, 2):
        found = list(reader.read_lines_each([tmp_path / "bad.png", tmp_path / "good.png"], workers=workers))
        assert isinstance(found[0], ImageError)
        assert not isinstance(found[1], ImageError)


@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000), (60_000, 1), (60_000, 2)])
def test_lines_and_pages_of_odd_shapes_take_little_time(tmp_path, size):
    Image.new("L", size, 200).save(tmp_path / "odd.png")
    reader = TextReader(tiny_recognizer(), "cpu")
    started = time.monotonic()
    assert reader.model.preprocess(tmp_path / "odd.png").shape[1] <= 4096
    reader.read_lines([tmp_path / "odd.png"])
    reader.read(tmp_path / "odd.png")
    assert time.monotonic() - started < 10


def test_lines_are_read_as_they_are_needed(tmp_path, monkeypatch):
    """However many large ones there are, a few are in memory."""
    Image.new("L", (640, 320), 200).save(tmp_path / "line.png")
    alive, most = set(), [0]

    def watched(path):
        image = np.asarray(Image.open(path))
        alive.add(id(image))
        most[0] = max(most[0], len(alive))
        weakref.finalize(image, alive.discard, id(image))
        return image

    monkeypatch.setattr("ocr.reader.grey", watched)
    reader = TextReader(tiny_recognizer(), "cpu")
    for workers in (0, 2):
        given = []

        def sources(given=given):
            for i in range(600):
                given.append(i)
                yield ImageError("no such line") if i % 100 == 7 else tmp_path / "line.png"

        found = reader.read_lines_each(sources(), workers=workers, batch_size=4, beam_size=1)
        first = next(found)
        assert len(given) < 60
        results = [first, *found]
        assert len(results) == 600
        assert [i for i, line in enumerate(results) if isinstance(line, ImageError)] == list(
            range(7, 600, 100)
        )
        assert most[0] < 10


def test_page_as_text_and_picture(tmp_path):
    square = ((10.0, 10.0), (90.0, 10.0), (90.0, 30.0), (10.0, 30.0))
    page = Page((Line("tea", 0.9, square, 0), Line("4.50", 0.3, square, 0), Line("bye", 0.9, square, 1)), 0.0)
    assert page.text == "tea  4.50\nbye"
    assert page.lines[0].box == (10.0, 10.0, 90.0, 30.0)
    draw_page(page_picture(ROWS), page, tmp_path / "overlay.png")
    with Image.open(tmp_path / "overlay.png") as drawn:
        assert drawn.size == (1400, 300)
        colours = {pixel for _, pixel in drawn.getcolors(1 << 20)}
    assert {(0, 140, 60), (210, 70, 0)} <= colours


@pytest.mark.parametrize("angle", [0, 20, 90, 180, 270])
def test_an_overlay_shows_text_where_and_as_it_stands(tmp_path, angle):
    corners = np.array([[60, 100], [300, 100], [300, 130], [60, 130]])
    turn = np.deg2rad(-angle)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    polygon = (corners - (200, 200)) @ matrix.T + (200, 200)
    line = Line("LLLLLLLLLLLLLLLLLL", 0.9, tuple((float(x), float(y)) for x, y in polygon), 0)
    draw_page(Image.new("RGB", (400, 400), "white"), Page((line,), float(-angle)), tmp_path / "overlay.png")
    drawn = Image.open(tmp_path / "overlay.png").convert("L").crop((400, 0, 800, 400))
    level = np.asarray(ImageOps.invert(drawn).rotate(-angle)) > 100
    rows, columns = np.nonzero(level)
    assert 95 <= rows.min() < rows.max() <= 135
    assert 57 <= columns.min() < 70
    assert 270 < columns.max() <= 303
    ink = level[rows.min() : rows.max() + 1].sum(axis=1)
    assert ink[-3:].max() > 2 * ink[:3].max()  # the foot of an L is below


def test_scores_of_lines():
    read, labels = ["Total", "12,50", "tea x", ""], ["TOTAL", "12.50", "tea x", "no"]
    scores = score_lines(read, labels)
    assert scores == pytest.approx(
        {"exact": 25.0, "case_insensitive": 50.0, "alphanumeric": 75.0, "cer": 100 * 3 / 17}
    )
    with pytest.raises(ValueError, match="no lines"):
        score_lines([], [])


def test_bag_of_words():
    assert bag_of_words_f1("a B b", "b a") == pytest.approx(0.8)
    assert bag_of_words_f1("", "") == 1.0
    assert bag_of_words_f1("x", "y") == 0.0


@pytest.mark.parametrize("beam_size", [1, 4])
def test_threads_that_share_a_reader_read_what_one_reads(beam_size):
    reader = TextReader(tiny_recognizer(hidden_size=32), "cpu", "fp32")
    words = [[line_picture(WORDS[(i + k) % len(WORDS)], 18 + 3 * k) for k in range(6)] for i in range(24)]
    alone, together = by_threads(lambda part: reader.read_lines(part, beam_size=beam_size), words, 1)
    for expected, found in zip(alone, together, strict=True):
        assert [line.confidence for line in found] == pytest.approx(
            [line.confidence for line in expected], abs=1e-5
        )
    pages = [page_picture(ROWS[i:] + ROWS[:i]) for i in range(4)]
    alone, together = by_threads(lambda page: reader.read(page, min_confidence=0.0), pages)
    assert [page.text for page in together] == [page.text for page in alone]
