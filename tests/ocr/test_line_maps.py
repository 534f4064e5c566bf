import cv2
import numpy as np
import pytest

from ocr.line_maps import (
    AREA,
    MULTIPLE,
    LabelledPage,
    Matches,
    f1,
    find_boxes,
    fitted,
    inset,
    match_lines,
    overlap,
    seen,
    sides,
    stacked,
    target_maps,
)


def line(x, y, width, height, angle=0.0):
    """A line around a centre, turned clockwise by degrees."""
    turn = np.radians(angle)
    half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (width / 2, height / 2)
    return half @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + (x, y)


def page(lines, ignored=(), size=(320, 400)):
    return LabelledPage(np.zeros(size, np.uint8), stacked(list(lines)), stacked(list(ignored)))


def found_in(labelled):
    maps = target_maps(labelled)
    return find_boxes(maps.kernels.astype(np.float32), maps.sizes)


def test_sides_move_inwards():
    box = stacked([line(50, 40, 60, 20, 30)])
    np.testing.assert_allclose(inset(box, np.array([5.0]))[0], line(50, 40, 50, 10, 30), atol=1e-4)
    np.testing.assert_allclose(sides(box), [[60, 20]], atol=1e-4)


@pytest.mark.parametrize("height", [8, 12, 20])
def test_lines_that_touch_are_apart(height):
    lines = [line(100, 30 + height * i, 120, height) for i in range(6)]
    maps = target_maps(page(lines))
    assert cv2.connectedComponents(maps.kernels)[0] - 1 == 6


@pytest.mark.parametrize("angle", [0, 3, -12, 30, -45, 60, 85, 90, -90])
def test_boxes_are_found_again_in_perfect_maps(angle):
    lines = stacked(
        [line(160, 100, 150, 14, angle), line(260, 200, 90, 36, angle), line(80, 240, 70, 9, angle)]
    )
    found = found_in(page(lines))
    assert len(found) == 3
    for wanted in lines:
        best = max(found, key=lambda box: overlap(box, wanted))
        assert overlap(best, wanted) > 0.85
        np.testing.assert_allclose(np.sort(sides(best[None])[0]), np.sort(sides(wanted[None])[0]), atol=3)
        reads, should = best[1] - best[0], wanted[1] - wanted[0]
        cosine = reads @ should / np.linalg.norm(reads) / np.linalg.norm(should)
        assert cosine > 0.97 or (
            abs(angle) >= 85 and cosine < -0.97
        )  # from below, it reads as well from above
        across = best[3] - best[0]
        assert reads[0] * across[1] - reads[1] * across[0] > 0  # clockwise, as pixels are seen


def test_a_single_letter_is_read_as_the_others_are():
    found = found_in(page([line(100, 50, 150, 16, 8), line(250, 60, 7, 16, 8)]))
    (letter,) = (box for box in found if box[:, 0].min() > 200)
    reads = letter[1] - letter[0]
    assert np.degrees(np.arctan2(reads[1], reads[0])) == pytest.approx(8, abs=10)
    wide, high = sides(letter[None])[0]
    assert wide < high


def test_what_is_ignored_is_not_learnt_but_lines_in_it_are():
    maps = target_maps(page([line(100, 100, 60, 16)], [line(100, 100, 100, 80)]))
    assert maps.counted[50, 50] == 1
    assert maps.counted[35, 35] == 0
    assert maps.counted[5, 5] == 1


def test_lines_are_cut_at_the_rim_and_what_is_left_of_few_is_ignored():
    whole, half, hair = line(100, 100, 60, 16), line(395, 50, 60, 16), line(200, 321, 60, 16)
    left = seen(page([whole, half, hair, line(600, 50, 20, 10), line(50, 50, 20, 3)]))
    assert len(left.lines) == 2
    np.testing.assert_allclose(left.lines[0], whole, atol=1e-3)
    assert left.lines[1].max() == pytest.approx(400, abs=0.5)
    assert len(left.ignored) == 2


def test_a_bent_line_is_inside_of_its_box():
    kernels, sizes = np.zeros((100, 200), np.float32), np.full((100, 200), 4.0, np.float32)
    x = np.arange(20, 180)
    for thick in range(4):
        kernels[(50 + 10 * np.sin(x / 50)).astype(int) + thick, x] = 1
    (box,) = find_boxes(kernels, sizes)
    assert sides(box[None])[0, 1] > 16 + 10


def test_matches():
    labelled = page([line(100, 50, 100, 20), line(100, 150, 100, 20)], [line(300, 50, 100, 60)])
    found = stacked(
        [line(102, 51, 100, 20), line(100, 52, 98, 20), line(300, 50, 50, 20), line(300, 250, 50, 20)]
    )
    assert match_lines(found, labelled) == Matches(1, 3, 2)
    assert f1([Matches(1, 3, 2), Matches(1, 1, 1)]) == pytest.approx(4 / 7)
    assert match_lines(stacked([]), labelled) == Matches(0, 0, 2)
    assert len(found_in(page([]))) == 0


@pytest.mark.parametrize("size", [(1, 1), (33, 64), (3000, 2000), (1, 5000), (100, 40_000)])
def test_a_page_is_bounded_and_padded(size):
    pixels, scale = fitted(np.full(size, 200, np.uint8))
    assert not any(n % MULTIPLE for n in pixels.shape)
    assert pixels.size <= AREA + MULTIPLE * sum(pixels.shape)
    assert pixels.min() == pixels.max() == 200
    assert 0 < scale <= 1
    assert (scale == 1) == (np.prod(size) <= AREA)
