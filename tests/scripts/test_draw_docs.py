import shutil

import pytest
from PIL import Image


@pytest.mark.slow
def test_the_pictures_of_the_docs_can_be_drawn_anew(script, tmp_path, monkeypatch):
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, *rest: None if "chrom" in name else which(name, *rest))
    done = script("draw_docs.py", "--out", tmp_path)
    assert done.code == 0, done.err
    assert "no photograph" in done.err
    assert {file.name for file in tmp_path.iterdir()} == {"attention.png", "ctc.png", "gates.png", "view.png"}
    for file in tmp_path.iterdir():
        with Image.open(file) as drawn:
            assert min(drawn.size) > 200
            low, high = drawn.convert("L").getextrema()
            assert high - low > 100  # something is drawn
