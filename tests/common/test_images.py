import io
import json
import os
import random
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFilter

from common.cli import run
from common.errors import ImageError, UsageError
from common.images import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    Preprocess,
    allowed_pixels,
    limit_pixels,
    load_image,
    read_batches,
)
from common.predictor import UseFlags
from common.schema import checked
from tests.conftest import mutated

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
    expected = (np.asarray(image) / 255 - np.array(values.mean)) / np.array(values.std)
    np.testing.assert_allclose(values(image), expected.transpose(2, 0, 1), rtol=1e-5, atol=1e-5)
    assert checked(Preprocess, values.to_dict(), "preprocess") == values
    assert checked(Preprocess, json.loads(json.dumps(values.to_dict())), "preprocess") == values


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(300, 200), (20, 50), (48, 64)])
def test_pictures_are_resized_as_pillow_does_it(size, interpolation):
    values = Preprocess(32, 48, (0.0,) * 3, (1 / 255,) * 3, interpolation)
    image = picture(*size).filter(ImageFilter.GaussianBlur(1))
    expected = np.asarray(image.resize((48, 32), Image.Resampling[interpolation.upper()])).astype(float)
    found = values.batch([image, np.asarray(image)]).transpose(0, 2, 3, 1)
    assert np.array_equal(found[0], found[1])
    assert np.abs(found[0] - expected).max() < 0.01


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
            assert np.array_equal(batch.images[row], PREPROCESS(paths[i]))


def test_a_batch_of_only_bad_pictures_is_empty(tmp_path):
    (batch,) = read_batches([tmp_path / "a.png"], PREPROCESS, batch_size=3)
    assert (batch.indices, len(batch.images), list(batch.errors)) == ([], 0, [0])


def photo(width=60, height=40) -> np.ndarray:
    """Grey from black to white, float 0 to 1."""
    return np.linspace(0, 1, width * height, dtype=np.float32).reshape(height, width)


def ranges(values, **spoilt):
    """Grey values of a TIFF as `load_image` shows them, with some pixels replaced."""
    for i, value in enumerate(spoilt.get("by", ())):
        values.flat[100 * i + 50] = value
    return np.asarray(load_image(Image.fromarray(values)).convert("L")).astype(int)


@pytest.mark.parametrize(
    "values",
    [
        photo(),
        photo() * 255,
        (photo() * 255).round(),
        (photo() * 4095).round(),
        photo() * 65535,
        photo() * 12.5,  # metres
        photo() * 2 - 1,
        (photo() * 255).astype(np.uint16),
        (photo() * 1023).astype(np.uint16),
        (photo() * 4095).astype(np.uint16),
        (photo() * 65535).astype(np.uint16),
        (photo() * 65535).astype(np.int32),
        (photo() * 2e6).astype(np.int32),
        (photo() * 4000 - 1000).astype(np.int32),  # as scanners write signed numbers
    ],
)
def test_a_picture_is_shown_by_the_range_of_its_values(tmp_path, values):
    shown = ranges(values.copy())
    np.testing.assert_allclose(shown, photo() * 255, atol=2)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert np.array_equal(np.asarray(load_image(tmp_path / "a.tif").convert("L")), shown)


def write_tiff(path, values, order, planar=False, turned=False):
    """An uncompressed TIFF of uint16 (H, W, C), in either order of bytes, its channels mixed or apart."""
    height, width, channels = values.shape
    data = (values.transpose(2, 0, 1) if planar else values).astype(f"{order}u2").tobytes()
    parts = channels if planar else 1
    offsets = [8 + i * len(data) // parts for i in range(parts)]
    tags = [
        (256, "H", [width]), (257, "H", [height]), (258, "H", [16] * channels), (259, "H", [1]),
        (262, "H", [2]), (273, "I", offsets), (274, "H", [6 if turned else 1]),
        (277, "H", [channels]), (278, "H", [height]),
        (279, "I", [len(data) // parts] * parts), (284, "H", [2 if planar else 1]),
    ] + [(338, "H", [2])] * (channels == 4)  # fmt: skip
    start = 8 + len(data)
    more = start + 2 + 12 * len(tags) + 4
    entries, beyond = b"", b""
    for tag, kind, numbers in tags:
        value = struct.pack(f"{order}{len(numbers)}{kind}", *numbers)
        if len(value) > 4:
            value, beyond = struct.pack(f"{order}I", more + len(beyond)), beyond + value
        entries += struct.pack(f"{order}HHI", tag, 3 if kind == "H" else 4, len(numbers)) + value.ljust(
            4, b"\0"
        )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    path.write_bytes(head + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + beyond)
    return path


@pytest.mark.parametrize("white", [255, 1023, 4095, 65535])
def test_colours_in_16_bits_are_shown_by_their_range(tmp_path, monkeypatch, white):
    shares = np.stack([photo(), photo()[::-1], photo()[:, ::-1]], axis=-1)
    values = (shares * white).round().astype(np.uint16)
    alpha = np.full((*values.shape[:2], 1), white, np.uint16)
    cv2.imwrite(str(tmp_path / "lzw.tif"), values[..., ::-1])
    cv2.imwrite(str(tmp_path / "a.png"), values[..., ::-1])
    for order in "<>":
        write_tiff(tmp_path / f"plain{ord(order)}.tif", values, order)
        write_tiff(tmp_path / f"alpha{ord(order)}.tif", np.concatenate([values, alpha], -1), order)
        write_tiff(tmp_path / f"planar{ord(order)}.tif", values, order, planar=True)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 8
    for file in files:
        np.testing.assert_allclose(
            np.asarray(load_image(file)).astype(int), shares * 255, atol=1.01, err_msg=file.name
        )
    monkeypatch.setattr("common.images._STRIP", 60 * 7)
    turned = load_image(write_tiff(tmp_path / "turned.tif", values, "<", turned=True))
    np.testing.assert_allclose(np.asarray(turned).astype(int), np.rot90(shares, -1) * 255, atol=1.01)


@pytest.mark.parametrize("scale", [1, 255, 4000])
def test_single_infinite_or_wild_values_decide_nothing(recwarn, scale):
    usual = ranges(photo() * scale)
    spoilt = ranges(photo() * scale, by=(np.inf, np.nan, -np.inf, 1e30))
    assert spoilt.flat[50] == 255
    assert spoilt.flat[150] == spoilt.flat[250] == 0
    changed = np.isin(np.arange(usual.size), [50, 150, 250, 350])
    np.testing.assert_allclose(spoilt.ravel()[~changed], usual.ravel()[~changed], atol=1)
    assert not recwarn.list


def test_values_that_are_all_alike_or_not_there_at_all():
    for value, shown in ((0.0, 0), (0.5, 128), (1.0, 255), (7.5, 255), (np.nan, 0), (np.inf, 255)):
        assert set(ranges(np.full((4, 5), value, np.float32)).flat) == {shown}
    assert set(ranges(np.full((4, 5), -3, np.int32)).flat) == {255}


@pytest.fixture
def limit(monkeypatch):
    monkeypatch.setattr("common.images._limit", MAX_PIXELS)  # set back after the test
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    return limit_pixels


def test_images_of_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, limit, monkeypatch):
    picture(40, 30).save(tmp_path / "a.png")
    limit(1200)
    assert load_image(tmp_path / "a.png").size == (40, 30)
    limit(1199)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    for source in (tmp_path / "a.png", Image.new("L", (40, 30))):
        with pytest.raises(ImageError, match=r"40 x 30 pixels, and at most 1,199 are read; .*--max-pixels"):
            load_image(source)
    with pytest.raises(UsageError, match="--max-pixels 0"):
        limit(0)


def test_a_flag_of_every_script_that_uses_a_model_sets_the_limit(limit, monkeypatch):
    seen = []
    monkeypatch.setattr("sys.argv", ["x", "--max-pixels", "1234"])
    with pytest.raises(SystemExit):
        run(lambda flags: seen.append((flags.max_pixels, allowed_pixels())), UseFlags, "")
    assert seen == [(1234, 1234)]


@pytest.mark.filterwarnings("ignore:Image size")
def test_the_usual_limit_is_that_of_pillows_warning(tmp_path):
    head = struct.pack(">IIBBBBB", 10_000, 9_000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    (tmp_path / "bomb.png").write_bytes(content)
    with pytest.raises(ImageError, match="10,000 x 9,000 pixels"):
        load_image(tmp_path / "bomb.png")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "F", "I;16"])
def test_large_images_are_converted_in_strips(tmp_path, monkeypatch, mode):
    image = picture(37, 50).convert("RGBA")
    image.putalpha(picture(37, 50, seed=1).convert("L"))
    if mode in ("F", "I;16"):
        image = Image.fromarray((photo(37, 50) * 4000).astype(np.float32 if mode == "F" else np.uint16))
        image.save(tmp_path / "a.tif")
    else:
        image.convert(mode).save(tmp_path / "a.png")
    (file,) = tmp_path.iterdir()
    whole = np.asarray(load_image(file))
    monkeypatch.setattr("common.images._STRIP", 37 * 7)
    assert np.array_equal(np.asarray(load_image(file)), whole)


@pytest.mark.parametrize("name", ["a.eps", "a.png", "a.jpg"])
def test_postscript_reaches_no_other_program(tmp_path, monkeypatch, name):
    """Pillow would give it to Ghostscript."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / name).write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(ImageError, match=r"not a picture|not read; convert it to JPEG or PNG"):
        load_image(tmp_path / name)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), NotImplementedError(), MemoryError(), OSError(13, "No")]
)
def test_whatever_a_decoder_raises_is_that_files_error(tmp_path, monkeypatch, error):
    picture().save(tmp_path / "a.png")
    picture().save(tmp_path / "b.png")

    def fail(image):
        if str(image.filename).endswith("a.png"):
            raise error
        return image.copy()

    monkeypatch.setattr("common.images._to_rgb", fail)
    (batch,) = read_batches([tmp_path / "a.png", tmp_path / "b.png"], PREPROCESS, batch_size=4)
    assert batch.indices == [1]
    assert str(tmp_path / "a.png") in str(batch.errors[0])


@pytest.mark.parametrize("suffix", ["avif", "jp2", "ppm", "tga", "ico", "jfif", "mpo"])
def test_further_formats_are_read(tmp_path, suffix):
    assert f".{suffix}" in IMAGE_SUFFIXES
    name = {"jfif": "jpeg", "jp2": "jpeg2000"}.get(suffix, suffix)
    picture(32, 32).save(tmp_path / f"a.{suffix}", format=name)
    assert load_image(tmp_path / f"a.{suffix}").size == (32, 32)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("JPEG", "RGB", {}), ("JPEG", "CMYK", {"progressive": True}), ("PNG", "RGB", {}), ("PNG", "P", {}),
        ("PNG", "I;16", {}), ("GIF", "P", {}), ("BMP", "RGB", {}), ("PPM", "RGB", {}), ("WEBP", "RGBA", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}), ("TIFF", "F", {}), ("TIFF", "I;16", {}),
        ("TIFF", "1", {"compression": "group4"}), ("AVIF", "RGB", {}), ("JPEG2000", "RGB", {}),
        ("ICO", "RGB", {}), ("PCX", "RGB", {}), ("PSD", "RGB", {}), ("QOI", "RGB", {}),
        ("DDS", "RGB", {}), ("SGI", "RGB", {}),
        ("TGA", "RGB", {"compression": "tga_rle"}),
    ],
)  # fmt: skip
def test_damaged_files_raise_nothing_but_our_error(tmp_path, name, mode, options):
    file, buffer, chance = tmp_path / "a.bin", io.BytesIO(), random.Random(0)
    if name == "PSD":  # which Pillow cannot write: header, no colour table, resources or layers, raw pixels
        buffer.write(struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 8, 8, 8, 3) + bytes(12) + bytes(2 + 3 * 64))
    else:
        image = picture(32, 24)
        (image.convert("L") if mode in ("F", "I;16", "1") else image).convert(mode).save(
            buffer, name, **options
        )
    file.write_bytes(buffer.getvalue())
    assert load_image(file).size
    errors = []
    for _ in range(250):
        file.write_bytes(mutated(buffer.getvalue(), chance))
        try:
            load_image(file, chance.choice((0, 8)))
        except ImageError as error:
            errors.append(str(error))
    assert errors
    assert all(str(file) in error for error in errors)
