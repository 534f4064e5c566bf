import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from ocr import TextReader
from ocr.ink import dark_on_light
from ocr.page import find_lines
from tests.ocr.conftest import line_picture, page_picture

ROWS = [["The garden is open"], ["from nine to seven"], ["every day but Monday"]]


@pytest.fixture(scope="module")
def reader():
    return TextReader.from_pretrained("english", "cpu", "fp32")


def table_picture(rows, height, rule=2, ink=0):
    """A table with drawn cells."""
    image = Image.new("L", (40 + 160 * len(rows[0]), 40 + height * len(rows)), 255)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(24)
    right, bottom = image.width - 20, image.height - 20
    for i in range(len(rows) + 1):
        draw.line((20, 20 + i * height, right, 20 + i * height), ink, rule)
    for j in range(len(rows[0]) + 1):
        draw.line((20 + 160 * j, 20, 20 + 160 * j, bottom), ink, rule)
    for i, row in enumerate(rows):
        for j, text in enumerate(row):
            draw.text((32 + 160 * j, 20 + (i + 0.5) * height), text, 0, font, anchor="lm")
    return image


@pytest.mark.parametrize("ink", [0, 130])
@pytest.mark.parametrize("rule", [1, 2, 4])
@pytest.mark.parametrize("height", [40, 48, 64])
def test_cell_lines_are_not_characters(reader, height, rule, ink):
    rows = [["Hale", "214", "5501"], ["Baker", "117", "8:30"], ["Eve", "11", "1.40"], ["Milk", "7", "610"]]
    read = reader.read(table_picture(rows, height, rule, ink)).text
    assert [line.split() for line in read.splitlines()] == rows


@pytest.mark.parametrize(
    ("ground", "ink"), [(113, 255), (130, 255), (95, 0), (60, 230), (200, 255), (0, 90), (255, 150)]
)
def test_text_of_any_grey_on_any_ground(reader, ground, ink):
    assert reader.read(page_picture(ROWS, ink=ink, paper=ground)).text == "\n".join(row[0] for row in ROWS)


def test_light_and_dark_text_on_one_page(reader):
    light, dark = page_picture(ROWS, ink=240, paper=40), page_picture([["Dogs stay outside"]])
    both = Image.new("L", (light.width, light.height + dark.height))
    both.paste(dark, (0, 0))
    both.paste(light, (0, dark.height))
    assert reader.read(both).text == "\n".join(["Dogs stay outside", *(row[0] for row in ROWS)])


def test_a_page_of_dark_text_stays_as_it_is():
    page = np.asarray(page_picture(ROWS))
    assert dark_on_light(page) is page
    assert np.array_equal(dark_on_light(255 - page), page)


def test_the_dark_rim_of_a_scan_is_no_ground_of_text():
    page = np.asarray(page_picture(ROWS * 3)).copy()
    rough = np.random.default_rng(0).integers(0, 40, page.shape, np.uint8)
    rim = np.ones(page.shape, bool)
    rim[:-40, 30:-60] = False
    page[rim] = rough[rim]
    assert dark_on_light(page) is page


def test_what_is_left_of_an_uneven_rule_is_no_text():
    page = np.asarray(page_picture(ROWS * 3)).copy()
    x = 20 + np.rint(1.5 * np.sin(np.arange(page.shape[0]) / 17)).astype(int)
    for y, middle in enumerate(x):
        page[y, middle - 2 : middle + 3] = 40
    layout = find_lines(page)
    assert len(layout.boxes) == 9
    assert all(x0 > 24 for x0, *_ in layout.boxes)


@pytest.mark.parametrize("size", [24, 60])
@pytest.mark.parametrize("text", ["Exit", "Hello night shift team"])
def test_a_picture_with_little_margin_keeps_its_text(reader, text, size):
    assert reader.read(line_picture(text, size)).text == text


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_page_on_its_side_or_head_is_turned(reader, turn):
    page = page_picture(ROWS).rotate(turn, expand=True)
    found = reader.read(page)
    assert found.text == "\n".join(row[0] for row in ROWS)
    assert found.angle % 360 == -turn % 360
    for line in found.lines:
        x0, y0, x1, y1 = line.box
        assert np.asarray(page)[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1].min() < 60


@pytest.mark.parametrize("angle", [-29, -17, 24])
def test_a_page_with_much_skew_is_straightened(reader, angle):
    page = page_picture(ROWS).rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=240)
    found = reader.read(page)
    assert found.angle == pytest.approx(-angle, abs=0.5)
    assert found.text.lower() == "\n".join(row[0] for row in ROWS).lower()


def test_noise_is_no_text(reader):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400), np.uint8)
    assert reader.read(Image.fromarray(noise)).text == ""


def test_text_that_touches_the_rim_has_paper_around_it():
    layout = find_lines(np.asarray(line_picture("Exit", 40).crop((5, 4, 70, 40))))
    (box,) = layout.boxes
    assert layout.crop(box)[0].min() > 200
    assert all(0 <= x <= 65 and 0 <= y <= 36 for x, y in layout.polygon(box))
