import pytest
import torch
from PIL import Image

from common.drawing import animate_attention, draw_attention


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 1), (64, 48)])
def test_a_picture_of_any_shape_is_drawn_in_a_bounded_size(tmp_path, size):
    labels, maps = ["a", "red", "square"], torch.rand(3, 4, 4)
    for draw, name in ((draw_attention, "a.png"), (animate_attention, "a.gif")):
        draw(Image.new("RGB", size, "red"), "a red square", labels, maps, tmp_path / name)
        with Image.open(tmp_path / name) as drawn:
            assert max(drawn.size) < 1500
