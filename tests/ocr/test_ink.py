import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from ocr import TextReader
from ocr.ink import dark_on_light, find_ink
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


def form_picture(text, kind, cell=40, rule=2, ink=0, size=26):
    """A form with a cell for each character of a field: boxes, single boxes with paper between, or a comb."""
    height = round(1.2 * cell)
    image = Image.new("L", (160 + (cell + 8) * len(text) + 40, 300), 250)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size)
    draw.text((30, 30), "Please fill in", 20, font)
    draw.text((30, 120 + height / 2), "Number", 20, font, anchor="lm")
    draw.text((30, 230), "Thank you", 20, font)
    for i, character in enumerate(text):
        x, y = 160 + i * (cell + (8 if kind == "apart" else 0)), 120
        if kind == "comb":
            draw.line([x, y + height, x + cell, y + height], ink, rule)
            for side in (x, x + cell):
                draw.line([side, y + height // 2, side, y + height], ink, rule)
        else:
            draw.rectangle([x, y, x + cell, y + height], outline=ink, width=rule)
        draw.text((x + cell / 2, y + height / 2), character, 20, font, anchor="mm")
    return image


@pytest.mark.parametrize("kind", ["boxes", "apart", "comb"])
@pytest.mark.parametrize(
    ("text", "style"),
    [
        ("6900", {}), ("6900", {"rule": 1}), ("6900", {"ink": 120}), ("01042026", {"cell": 34}),
        ("AT6119", {"cell": 48}), ("1171", {"cell": 30}),
    ],
)  # fmt: skip
def test_characters_in_a_cell_each_make_one_word(reader, kind, text, style):
    image = form_picture(text, kind, **style)
    page = reader.read(image)
    assert [line.text for line in page.lines if line.row == 1] == ["Number", text]
    field = page.lines[2]
    x0, y0, x1, y1 = field.box
    assert x0 < 190
    assert x1 > 160 + (len(text) - 0.8) * style.get("cell", 40)
    assert 110 < y0 < y1 < 180
    assert [(word.text, word.polygon) for word in field.words] == [(text, field.polygon)]


def test_an_empty_cell_parts_words(reader):
    row = [line.text for line in reader.read(form_picture("14 305 2", "boxes")).lines if line.row == 1]
    assert row == ["Number", "14", "305", "2"]


@pytest.mark.parametrize("rows", [2, 4])
def test_digits_in_the_cells_of_a_table_stay_apart(rows):
    image = Image.new("L", (400, 60 + 44 * rows), 255)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(26)
    for i in range(rows):
        for j in range(6):
            draw.rectangle([40 + 44 * j, 20 + 44 * i, 84 + 44 * j, 64 + 44 * i], outline=0, width=2)
            draw.text((62 + 44 * j, 42 + 44 * i), str((3 * i + 2 * j) % 10), 0, font, anchor="mm")
    assert len(find_lines(np.asarray(image)).boxes) == 6 * rows


@pytest.mark.parametrize("change", ["none", "blur", "smaller", "larger", "turned"])
@pytest.mark.parametrize(
    "style",
    [
        {"width": 2}, {"width": 1}, {"width": 4}, {"width": 2, "outline": 150}, {"width": 2, "side": 44},
        {"width": 2, "side": 16},
    ],
)  # fmt: skip
def test_an_empty_check_box_is_no_letter(reader, style, change):
    options = {"outline": 0, **style}
    side = options.pop("side", 26)
    image, font = Image.new("L", (700, 300), 250), ImageFont.load_default(28)
    draw = ImageDraw.Draw(image)
    draw.text((60, 30), "Do you want to go on?", 20, font)
    for x, word in ((60, "Yes"), (240, "No"), (420, "Maybe")):
        draw.rectangle([x, 120, x + side, 120 + side], **options)
        draw.text((x + side + 14, 120 + side / 2), word, 20, font, anchor="lm")
    draw.text((60, 220), "Please mark one answer", 20, font)
    image = {
        "none": lambda: image,
        "blur": lambda: image.filter(ImageFilter.GaussianBlur(1.2)),
        "smaller": lambda: image.resize((490, 210)),
        "larger": lambda: image.resize((1400, 600)),
        "turned": lambda: image.rotate(1.5, Image.Resampling.BICUBIC, expand=True, fillcolor=250),
    }[change]()
    assert reader.read(image).text.splitlines()[1] == "Yes  No  Maybe"


@pytest.mark.parametrize("size", [16, 24, 40])
def test_round_letters_are_no_check_boxes(size):
    letters = "ODQo0CGU"
    image, font = Image.new("L", (2 * size * len(letters) + 40, 3 * size), 250), ImageFont.load_default(size)
    for i, letter in enumerate(letters):
        ImageDraw.Draw(image).text((20 + 2 * size * i, size), letter, 20, font)
    for page in (image, image.filter(ImageFilter.GaussianBlur(1))):
        ink = find_ink(np.asarray(page))
        assert len(ink.boxes) == 0
        assert len(ink.parts) == len(letters)


def test_a_field_or_rule_at_the_rim_of_the_page(reader):
    image = form_picture("6900", "boxes")
    pixels = np.asarray(image).copy()
    pixels[:2], pixels[:, :2], pixels[:, -2:] = 0, 0, 0
    assert "6900" in reader.read(Image.fromarray(pixels)).text
    for kind in ("boxes", "comb"):
        field = form_picture("6900", kind).crop((158, 118, 322, 300))
        assert "6900" in reader.read(field).text
