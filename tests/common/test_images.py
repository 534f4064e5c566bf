import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from common.errors import ImageError, UsageError
from common.images import Preprocess, find_images, load_image, read_batches

PREPROCESS = Preprocess(32, 48, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def picture(width=40, height=30, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("mode", "pixel", "rgb"),
    [
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("LA", (100, 255), (100, 100, 100)),
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 257 * 40, (40, 40, 40)),
        ("I", 257 * 40, (40, 40, 40)),
        ("F", 1.0, (255, 255, 255)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
    ],
)
def test_every_mode_becomes_the_right_rgb(mode, pixel, rgb):
    loaded = load_image(Image.new(mode, (5, 4), pixel))
    assert (loaded.mode, loaded.size) == ("RGB", (5, 4))
    assert loaded.getpixel((2, 2)) == rgb


@pytest.mark.parametrize(
    ("suffix", "mode"), [("png", "I;16"), ("png", "P"), ("jpg", "CMYK"), ("tif", "F"), ("webp", "RGBA")]
)
def test_modes_survive_their_file_formats(tmp_path, suffix, mode):
    image = Image.new(mode, (20, 10)) if mode in ("I;16", "F") else picture(20, 10).convert(mode)
    image.save(tmp_path / f"a.{suffix}")
    assert load_image(tmp_path / f"a.{suffix}").size == (20, 10)


def test_palette_transparency_is_laid_on_white(tmp_path):
    image = Image.new("P", (8, 8), 0)
    image.putpalette([200, 0, 0] + [0] * 765)
    image.save(tmp_path / "a.png", transparency=0)
    assert load_image(tmp_path / "a.png").getpixel((1, 1)) == (255, 255, 255)


def test_exif_rotation_is_applied(tmp_path):
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown rotated by 90 degrees clockwise
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    loaded = load_image(tmp_path / "a.jpg")
    assert loaded.size == (20, 40)
    assert loaded.getpixel((10, 5))[0] > 200 > 50 > loaded.getpixel((10, 35))[0]


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert load_image(tmp_path / "a.gif").getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.parametrize("size", [(1, 1), (10000, 20), (20, 10000)])
def test_extreme_sizes_are_preprocessed(tmp_path, size):
    picture(*size).save(tmp_path / "a.png")
    assert PREPROCESS(tmp_path / "a.png").shape == (3, 32, 48)


def bomb(file: Path) -> None:
    """A PNG of 60000 x 60000 pixels in a few bytes."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks
    )
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def truncated(file: Path) -> None:
    picture(200, 200).save(file, format="jpeg")
    file.write_bytes(file.read_bytes()[:3000])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda file: None, "no such file"),
        (lambda file: file.mkdir(), "not a file"),
        (lambda file: file.write_bytes(b""), "empty"),
        (lambda file: file.write_text("not a picture"), "not a picture"),
        (truncated, "damaged"),
        (bomb, "pixels"),
    ],
)
def test_bad_files_are_refused_with_their_name(tmp_path, write, message):
    file = tmp_path / "bad \u00e9 name.jpg"
    write(file)
    with pytest.raises(ImageError, match=message) as error:
        load_image(file)
    assert str(file) in str(error.value)


def test_a_large_jpeg_may_be_decoded_smaller_but_never_too_small(tmp_path):
    picture(1600, 1200).save(tmp_path / "a.jpg")
    assert min(load_image(tmp_path / "a.jpg", at_least=100).size) >= 200
    assert load_image(tmp_path / "a.jpg", at_least=100).size < (1600, 1200)
    assert load_image(tmp_path / "a.jpg").size == (1600, 1200)


def test_preprocessing_is_exact_and_survives_json():
    values = Preprocess(30, 40, (0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
    image = picture(40, 30)
    expected = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255 - torch.tensor(values.mean).view(
        3, 1, 1
    )
    torch.testing.assert_close(values(image), expected / torch.tensor(values.std).view(3, 1, 1))
    assert Preprocess.from_dict(values.to_dict()) == values
    assert Preprocess.from_dict({**values.to_dict(), "mean": [0.5, 0.4, 0.3]}) == values


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(300, 200), (20, 50), (48, 64)])
def test_pictures_are_resized_as_pillow_does_it(size, interpolation):
    values = Preprocess(32, 48, (0.0,) * 3, (1 / 255,) * 3, interpolation)
    image = picture(*size).filter(ImageFilter.GaussianBlur(1))
    expected = np.asarray(image.resize((48, 32), Image.Resampling[interpolation.upper()])).astype(float)
    found = values.batch([image, np.asarray(image)]).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(found[0], found[1])
    assert np.abs(found[0] - expected).max() <= 2


def test_batches_are_bit_equal_to_single_pictures_and_bad_ones_stand_aside(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(7)]
    for i, path in enumerate(paths):
        picture(50 + i, 40, seed=i).save(path)
    paths[3].write_bytes(b"")
    batches = list(read_batches(paths, PREPROCESS, batch_size=3))
    assert [b.indices for b in batches] == [[0, 1, 2], [4, 5], [6]]
    assert list(batches[1].errors) == [3]
    for batch in batches:
        for row, i in enumerate(batch.indices):
            assert torch.equal(batch.images[row], PREPROCESS(paths[i]))


def test_a_batch_of_only_bad_pictures_is_empty(tmp_path):
    (batch,) = read_batches([tmp_path / "a.png"], PREPROCESS, batch_size=3)
    assert (batch.indices, len(batch.images), list(batch.errors)) == ([], 0, [0])


def test_find_images_takes_files_folders_and_patterns_once(tmp_path):
    names = ["b.JPG", "a.png", "sub folder/\u00e9t\u00e9.webp", "notes.txt"]
    (tmp_path / "sub folder").mkdir()
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    expected = [tmp_path / "a.png", tmp_path / "b.JPG", tmp_path / "sub folder/\u00e9t\u00e9.webp"]
    assert find_images([tmp_path]) == expected
    assert find_images([tmp_path / "b.JPG", tmp_path]) == [expected[1], expected[0], expected[2]]
    assert find_images([str(tmp_path / "*.png")]) == [tmp_path / "a.png"]
    assert find_images([tmp_path / "gone.png"]) == [tmp_path / "gone.png"]  # reading it will say so


def test_find_images_says_what_is_empty(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ImageError, match="no pictures in this folder"):
        find_images([tmp_path])
    with pytest.raises(ImageError, match="nothing matches"):
        find_images([str(tmp_path / "*.png")])
    with pytest.raises(UsageError, match="no pictures given"):
        find_images([])
