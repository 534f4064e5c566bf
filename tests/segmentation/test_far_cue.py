import numpy as np
import pytest

from segmentation.data import read_classes, read_scenes
from segmentation.far_cue import IGNORED, NAMES, PATCH, WIDTH, scene, write_scenes


def test_the_reader_takes_all_of_it(tmp_path, capsys):
    write_scenes(tmp_path / "set", 6, 2, 0)
    assert read_classes(tmp_path / "set") == list(NAMES)
    for split, count in (("train", 6), ("val", 2)):
        scenes = read_scenes(tmp_path / "set", split, len(NAMES), IGNORED)
        assert len(scenes) == count
        for texture in (0, 1):  # as often one as the other, and never both in an image
            assert sum(scene.counts[texture] > 0 for scene in scenes) == count / 2
        assert all(0 in scene.counts for scene in scenes)
    assert "dropped nothing" in capsys.readouterr().out


def test_the_seed_decides_everything(tmp_path):
    contents = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_scenes(tmp_path / name, 3, 2, seed)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        contents.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
    assert contents[0] == contents[1] != contents[2]


@pytest.mark.parametrize("texture", [0, 1])
def test_only_a_far_patch_tells_the_textures_apart(texture):
    random = np.random.default_rng(0)
    mirrored = 0
    for _ in range(30):
        image, label = (np.asarray(one).astype(int) for one in scene(random, texture))
        labelled = np.flatnonzero((label == texture).all(axis=0))
        assert len(labelled) == WIDTH // 2
        assert set(np.unique(label)) == {texture, IGNORED}
        patch = image[..., 2] < 110  # all else is blue
        columns = np.flatnonzero(patch.sum(axis=0) > PATCH / 2)
        assert len(columns) == PATCH
        red, green = image[patch][:, 0].mean(), image[patch][:, 1].mean()
        assert (red > green) == (texture == 0)
        gap = max(columns.min() - labelled.max(), labelled.min() - columns.max())
        assert gap > 200
        mirrored += bool(columns.min() > WIDTH / 2)
    assert 5 < mirrored < 25
