from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from common.ctc import Reading
from ocr.hocr import HEAD, TAIL, page_element
from ocr.reader import Line, Page, Word
from ocr.words import find_words


def printed(words, gap=30):
    """The crop of a line, where each word stands, and a reading whose positions are those of its letters."""
    font = ImageFont.load_default(24)
    canvas = Image.new("L", (600, 40), 235)
    draw = ImageDraw.Draw(canvas)
    x, places, characters = 12.0, [], []
    for word in words:
        places.append((x, x + font.getlength(word)))
        for i, letter in enumerate(word):
            middle = x + font.getlength(word[:i]) + font.getlength(letter) / 2
            characters.append((letter, 0.5, middle / 600))
        draw.text((x, 5), word, 20, font)
        x = places[-1][1] + gap
        characters.append((" ", 0.9, (x - gap / 2) / 600))
    return np.asarray(canvas), places, Reading(" ".join(words), 0.5, tuple(characters[:-1]))


@pytest.mark.parametrize("words", [["total"], ["total", "4.50"], ["I", "am", "here:", "-"]])
def test_words_end_where_their_ink_does(words):
    crop, places, reading = printed(words)
    found = find_words(reading, crop)
    assert [word.text for word in found] == words
    for word, (start, end) in zip(found, places, strict=True):
        assert word.start == pytest.approx(start, abs=4)
        assert word.end == pytest.approx(end, abs=4)
        assert word.confidence == pytest.approx(0.5)


def test_words_that_touch_are_parted_between_their_letters():
    crop, places, reading = printed(["mm", "ww"], gap=0)
    blot = np.full_like(crop, 40)
    blot[0] = 235
    first, second = find_words(reading, blot)
    assert first.start == 0
    assert first.end == second.start == pytest.approx(places[1][0], abs=8)
    assert second.end == 600


def test_no_text_has_no_words():
    blank = np.full((32, 100), 255, np.uint8)
    assert find_words(Reading("", 1.0), blank) == []
    assert find_words(Reading(" ", 1.0, ((" ", 0.9, 0.5),)), blank) == []
    assert len(find_words(Reading("a", 1.0, (("a", 0.9, 0.999),)), blank)) == 1


def test_hocr_is_xml_with_a_box_for_each_word():
    square = ((1.2, 2.0), (9.0, 2.0), (9.0, 8.0), (1.2, 8.0))
    word = Word("<R&D>\x00", 0.876, square)
    page = Page((Line("<R&D>", 0.9, square, 0, (word,)),), -90.0, (40, 30))
    name = 'a "b" & \udcff.png'
    document = "\n".join(
        [HEAD, page_element(name, 0, page), page_element("blank.png", 1, Page((), 0.0)), TAIL]
    )
    root = ElementTree.fromstring(document.encode())
    spans = {e.get("class"): e for e in root.iter() if e.get("class") and e.get("id") != "page_2"}
    assert spans["ocr_page"].get("title") == 'image "a \\"b\\" & \ufffd.png"; bbox 0 0 40 30; ppageno 0'
    assert spans["ocr_line"].get("title") == "bbox 1 2 9 8; textangle 90.0"
    assert spans["ocrx_word"].get("title") == "bbox 1 2 9 8; x_wconf 88"
    assert spans["ocrx_word"].text == "<R&D>\ufffd"
    identities = [e.get("id") for e in root.iter() if e.get("id")]
    assert identities == ["page_1", "line_1_1", "word_1_1_1", "page_2"]
