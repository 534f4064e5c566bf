import numpy as np
import pytest

from common.shapes import COLOURS
from segmentation.data import read_classes, read_scenes
from segmentation.shapes import CELL, IGNORED, NAMES, scene, write_scenes

OPEN, CLOSED, LAMP = (NAMES.index(name) for name in ("open", "closed", "lamp"))


def test_the_reader_takes_all_of_it(tmp_path, capsys):
    write_scenes(tmp_path / "set", 6, 2, 0)
    assert read_classes(tmp_path / "set") == list(NAMES)
    for split, count in (("train", 6), ("val", 2)):
        scenes = read_scenes(tmp_path / "set", split, len(NAMES), 255)
        assert len(scenes) == count
        assert sum(scene.counts[OPEN] > 0 for scene in scenes) == count / 2
        assert sum(scene.counts[CLOSED] > 0 for scene in scenes) == count / 2
    assert "dropped nothing" in capsys.readouterr().out


def test_the_seed_decides_everything(tmp_path):
    contents = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_scenes(tmp_path / name, 3, 2, seed)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        contents.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
    assert contents[0] == contents[1] != contents[2]


@pytest.mark.parametrize("is_open", [True, False])
def test_only_a_far_lamp_tells_what_the_ground_is(is_open):
    random = np.random.default_rng(0)
    mirrored = 0
    for _ in range(30):
        image, label = (np.asarray(one).astype(int) for one in scene(random, is_open=is_open))
        assert image.shape[:2] == label.shape == (96, 384)
        lamp, ground = label == LAMP, label == (OPEN if is_open else CLOSED)
        assert not (label == (CLOSED if is_open else OPEN)).any()
        assert (image[lamp] == COLOURS["green" if is_open else "red"]).all()
        assert ground.sum() > 0.3 * label.size
        columns = [np.flatnonzero(what.any(axis=0)) for what in (lamp, ground)]
        mirrored += bool(columns[0].min() > 192)
        gap = max(columns[0].min() - columns[1].max(), columns[1].min() - columns[0].max())
        assert gap >= 3 * CELL
        shapes = (label >= NAMES.index("circle")) & (label != IGNORED)
        colours = {tuple(colour) for colour in image[shapes].tolist()}
        assert colours <= {COLOURS["blue"], COLOURS["yellow"]}
    assert 5 < mirrored < 25


def test_the_ground_looks_the_same_either_way():
    means = [
        np.mean(
            [np.asarray(scene(np.random.default_rng(i), is_open=o)[0])[:, 96:-96].mean() for i in range(9)]
        )
        for o in (True, False)
    ]
    assert means[0] == pytest.approx(means[1], abs=0.5)
