import numpy as np
import pytest
import torch
from PIL import Image

from common.drawing import animate_attention, draw_attention, draw_confusion


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 1), (64, 48)])
def test_a_picture_of_any_shape_is_drawn_in_a_bounded_size(tmp_path, size):
    labels, maps = ["a", "red", "square"], torch.rand(3, 4, 4)
    for draw, name in ((draw_attention, "a.png"), (animate_attention, "a.gif")):
        draw(Image.new("RGB", size, "red"), "a red square", labels, maps, tmp_path / name)
        with Image.open(tmp_path / name) as drawn:
            assert max(drawn.size) < 1500


@pytest.mark.parametrize("text", ["caf\udce9", "costs $5 or $x^{", "\\$", "tab\tand\nline"])
def test_any_text_is_drawn_letter_by_letter(tmp_path, text):
    draw_attention(Image.new("RGB", (8, 8)), text, [text], np.random.rand(1, 4, 4), tmp_path / "a.png")
    draw_confusion(np.eye(2, dtype=int), [text, "b"], text, tmp_path / "b.png")
