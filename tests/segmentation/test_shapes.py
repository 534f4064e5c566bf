import numpy as np
import pytest

from common.shapes import COLOURS
from segmentation.data import read_classes, read_scenes
from segmentation.shapes import CELL, NAMES, scene, write_scenes

GO, STOP, LAMP = (NAMES.index(name) for name in ("go", "stop", "lamp"))


def test_the_reader_takes_all_of_it(tmp_path, capsys):
    write_scenes(tmp_path / "set", 6, 2, 0)
    assert read_classes(tmp_path / "set") == list(NAMES)
    for split, count in (("train", 6), ("val", 2)):
        scenes = read_scenes(tmp_path / "set", split, len(NAMES), 255)
        assert len(scenes) == count
        assert sum(scene.counts[GO] > 0 for scene in scenes) == count / 2
        assert sum(scene.counts[STOP] > 0 for scene in scenes) == count / 2
    assert "dropped nothing" in capsys.readouterr().out


def test_the_seed_decides_everything(tmp_path):
    contents = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_scenes(tmp_path / name, 3, 2, seed)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        contents.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
    assert contents[0] == contents[1] != contents[2]


@pytest.mark.parametrize("go", [True, False])
def test_only_a_far_lamp_tells_the_rings_apart(go):
    random = np.random.default_rng(0)
    mirrored = 0
    for _ in range(30):
        image, label = (np.asarray(one).astype(int) for one in scene(random, go=go))
        assert image.shape[:2] == label.shape == (96, 384)
        lamp, rings = label == LAMP, label == (GO if go else STOP)
        assert not (label == (STOP if go else GO)).any()
        for what, colour in ((lamp, "green" if go else "red"), (rings, "yellow")):
            assert what.any()
            assert (image[what] == COLOURS[colour]).all()
        mirrored += bool(np.flatnonzero(lamp.any(axis=0)).min() > 192)
        columns = [np.flatnonzero(what.any(axis=0)) for what in (lamp, rings)]
        gap = max(columns[0].min() - columns[1].max(), columns[1].min() - columns[0].max())
        assert gap >= 3 * CELL
    assert 5 < mirrored < 25
