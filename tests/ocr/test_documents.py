import re
import time

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from common.errors import ImageError
from common.images import load_image
from ocr import open_pages
from tests.ocr.conftest import page_picture

pypdfium2 = pytest.importorskip("pypdfium2")


def save_tiff(path, *levels, **options):
    first, *others = (Image.new("L", (40, 30), level) for level in levels)
    first.save(path, save_all=True, append_images=others, **options)


def save_pdf(path, *sizes):
    document = pypdfium2.PdfDocument.new()
    for size in sizes:
        document.new_page(*size)
    document.save(path)


def test_a_picture_is_its_own_page(tmp_path):
    for name in ("one.png", "one.tif"):
        Image.new("L", (40, 30)).save(tmp_path / name)
        assert list(open_pages(tmp_path / name)) == [(str(tmp_path / name), tmp_path / name)]
    assert list(open_pages(tmp_path / "gone.png")) == [(str(tmp_path / "gone.png"), tmp_path / "gone.png")]


@pytest.mark.parametrize("compression", ["raw", "group4", "tiff_lzw"])
def test_each_page_of_a_tiff(tmp_path, compression):
    pictures = [Image.new("1", (40 + i, 30), i % 2) for i in range(3)]
    path = tmp_path / "fax.tif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], compression=compression)
    names, pages = zip(*open_pages(path), strict=True)
    assert names == tuple(f"{path}#{i}" for i in (1, 2, 3))
    for page, picture in zip(pages, pictures, strict=True):
        assert page.size == picture.size
        assert page.getpixel((3, 3)) == (255 * (picture.getpixel((3, 3)) > 0),) * 3


def test_a_thumbnail_in_a_tiff_is_no_page(tmp_path):
    path = tmp_path / "scan.tif"
    with TiffImagePlugin.AppendingTiffWriter(path, new=True) as writer:
        for size, reduced in (((40, 30), 0), ((4, 3), 1), ((50, 30), 0)):
            Image.new("L", size).save(writer, format="TIFF", tiffinfo={254: reduced})
            writer.newFrame()
    assert [page.size for _, page in open_pages(path)] == [(40, 30), (50, 30)]


def test_a_bad_page_of_a_tiff_does_not_lose_the_others(tmp_path):
    path = tmp_path / "cut.tif"
    noise = [Image.fromarray(np.random.default_rng(i).integers(0, 255, (99, 99), np.uint8)) for i in range(3)]
    noise[0].save(path, save_all=True, append_images=noise[1:], compression="tiff_lzw")
    with Image.open(path) as image:
        image.seek(1)
        offset = image.tag_v2[273][0]
    data = bytearray(path.read_bytes())
    data[offset : offset + 400] = bytes(400)
    path.write_bytes(data)
    (_, first), (name, second), (_, third) = open_pages(path)
    assert np.array_equal(np.asarray(first)[..., 0], np.asarray(noise[0]))
    assert isinstance(second, ImageError)
    assert name == f"{path}#2"
    assert str(second).startswith(f"{path}#2: damaged page")
    assert third.size == (99, 99)


def test_a_tiff_that_ends_early_says_so(tmp_path):
    path = tmp_path / "cut.tif"
    save_tiff(path, 10, 200, 90)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 60])  # the last page's tags
    *good, (name, last) = open_pages(path)
    assert [page.getpixel((0, 0))[0] for _, page in good][:1] == [10]
    assert isinstance(last, ImageError), name


def test_each_page_of_a_pdf(tmp_path):
    first, second = page_picture([["tea", "2"]]), page_picture([["milk"]], width=500)
    path = tmp_path / "two.data"  # the content tells, not the name
    first.save(path, format="PDF", save_all=True, append_images=[second], resolution=200)
    pages = list(open_pages(path))
    assert [name for name, _ in pages] == [f"{path}#1", f"{path}#2"]
    for (_, page), picture in zip(pages, (first, second), strict=True):
        assert np.abs(np.array(page.size) - picture.size).max() <= 1
        assert np.asarray(page).min() < 90
    alone = tmp_path / "one.pdf"
    first.save(alone)
    assert [name for name, _ in open_pages(alone)] == [str(alone)]


def test_a_large_pdf_page_is_drawn_at_a_lower_resolution(tmp_path):
    save_pdf(tmp_path / "plan.pdf", (14_400, 7_200))  # points: 200 x 100 inches
    ((_, page),) = open_pages(tmp_path / "plan.pdf")
    assert page.width * page.height == pytest.approx(30e6, rel=0.01)
    assert page.width / page.height == pytest.approx(2, rel=0.01)


def write_pdf(path, *pages, objects=()):
    """A PDF with a page for each content stream (None: it is missing), and objects from number 50 on."""
    numbers = [10 + 2 * i for i in range(len(pages))]
    body = {
        1: b"<</Type/Catalog/Pages 2 0 R>>",
        2: b"<</Type/Pages/Kids[%s]/Count %d>>" % (b" ".join(b"%d 0 R" % n for n in numbers), len(pages)),
    }
    for number, content in zip(numbers, pages, strict=True):
        if content is not None:
            body[number] = (
                b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]/Contents %d 0 R"
                b"/Resources<</XObject<</A 50 0 R>>>>>>" % (number + 1)
            )
            body[number + 1] = b"<</Length %d>>stream\n%s\nendstream" % (len(content), content)
    body |= dict(enumerate(objects, 50))
    data, offsets = b"%PDF-1.7\n", {}
    for number, content in body.items():
        offsets[number] = len(data)
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(data)
    data += b"xref\n"
    for number, offset in sorted(offsets.items()):
        data += b"%d 1\n%010d 00000 n \n" % (number, offset)
    path.write_bytes(data + b"trailer<</Root 1 0 R/Size 99>>\nstartxref\n%d\n%%%%EOF\n" % start)


def self_drawing(path):
    """A PDF whose second page draws a form that draws another twice, and so on, 2**30 times."""
    forms = []
    for i in range(30):
        content = b"/A Do /A Do"
        head = b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</A %d 0 R>>>>/Length %d>>"
        forms.append(head % (51 + i, len(content)) + b"stream\n" + content + b"\nendstream")
    content = b"0 0 5 5 re f"
    forms.append(
        b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Length %d>>stream\n%s\nendstream" % (12, content)
    )
    write_pdf(path, b"0 0 30 30 re f", b"/A Do", b"0 0 40 40 re f", objects=forms)


def test_a_bad_page_of_a_pdf_does_not_lose_the_others(tmp_path):
    write_pdf(tmp_path / "three.pdf", b"0 0 30 30 re f", None, b"0 0 40 40 re f")
    (_, first), (_, second), (_, third) = open_pages(tmp_path / "three.pdf")
    assert first.size == third.size == (200, 200)
    assert str(second).startswith(f"{tmp_path / 'three.pdf'}#2: this page of the PDF cannot be drawn (")


def test_a_page_that_never_ends_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("ocr.documents._PDF_SECONDS", 1.5)
    self_drawing(tmp_path / "bomb.pdf")
    started = time.monotonic()
    (_, first), (_, second), (_, third) = open_pages(tmp_path / "bomb.pdf")
    assert time.monotonic() - started < 10
    assert first.size == third.size == (200, 200)
    assert re.search(r"bomb\.pdf#2: .*(takes more than 1\.5 seconds|needs too much memory)", str(second))


def test_a_page_that_needs_all_memory_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("ocr.documents._PDF_MEMORY", 300 * 2**20)
    save_pdf(tmp_path / "plan.pdf", (72, 72), (14_400, 14_400), (72, 72))
    (_, first), (_, second), (_, third) = open_pages(tmp_path / "plan.pdf")
    assert first.size == third.size == (200, 200)
    assert "plan.pdf#2: this page of the PDF cannot be drawn (" in str(second)


def test_pages_have_at_most_the_pixels_that_are_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr("common.images._limit", 5000)
    save_pdf(tmp_path / "plan.pdf", (100, 100))
    ((_, page),) = open_pages(tmp_path / "plan.pdf")
    assert page.width * page.height <= 5100
    save_tiff(tmp_path / "a.tif", 1, 2)
    assert all(isinstance(page, Image.Image) for _, page in open_pages(tmp_path / "a.tif"))
    monkeypatch.setattr("common.images._limit", 1000)
    for _, page in open_pages(tmp_path / "a.tif"):
        assert isinstance(page, ImageError)
        assert re.search(r"a\.tif#\d: 40 x 30 pixels, and at most 1,000 are read", str(page))


def test_a_protected_pdf(tmp_path):
    path = tmp_path / "secret.pdf"
    path.write_bytes(protected_pdf(b"secret"))
    with pytest.raises(ImageError, match="is protected by a password; give it with --password, or save a"):
        list(open_pages(path))
    with pytest.raises(ImageError, match="protected by another password"):
        list(open_pages(path, "guess"))
    ((_, page),) = open_pages(path, "secret")
    assert page.size == (200, 200)


def test_a_file_that_is_no_pdf_and_one_without_pages(tmp_path):
    (tmp_path / "bad.pdf").write_text("not a pdf")
    with pytest.raises(ImageError, match="not a PDF that can be read"):
        list(open_pages(tmp_path / "bad.pdf"))
    save_pdf(tmp_path / "none.pdf")
    with pytest.raises(ImageError, match=r"none\.pdf: not a PDF that can be read"):
        list(open_pages(tmp_path / "none.pdf"))
    ((_, missing),) = open_pages(tmp_path / "gone.pdf")
    with pytest.raises(ImageError, match="no such file"):
        load_image(missing)


def protected_pdf(password: bytes) -> bytes:
    """An empty page of one square inch, encrypted with 40-bit RC4 (PDF 1.4, algorithms 3.2 to 3.4)."""
    from hashlib import md5

    def rc4(key: bytes, data: bytes) -> bytes:
        box, j, out = list(range(256)), 0, bytearray()
        for i in range(256):
            j = (j + box[i] + key[i % len(key)]) % 256
            box[i], box[j] = box[j], box[i]
        i = j = 0
        for byte in data:
            i = (i + 1) % 256
            j = (j + box[i]) % 256
            box[i], box[j] = box[j], box[i]
            out.append(byte ^ box[(box[i] + box[j]) % 256])
        return bytes(out)

    pad = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
    padded, identity, rights = (password + pad)[:32], b"0123456789abcdef", -4
    owner = rc4(md5(padded).digest()[:5], padded)
    key = md5(padded + owner + rights.to_bytes(4, "little", signed=True) + identity).digest()[:5]
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 72 72] >>",
        b"<< /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P %d >>"
        % (owner.hex().encode(), rc4(key, pad).hex().encode(), rights),
    ]
    data, starts = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        starts.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = len(data)
    data += b"xref\n0 5\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % start for start in starts)
    name = identity.hex().encode()
    data += b"trailer\n<< /Size 5 /Root 1 0 R /Encrypt 4 0 R /ID [<%s> <%s>] >>\n" % (name, name)
    return data + b"startxref\n%d\n%%%%EOF\n" % table
