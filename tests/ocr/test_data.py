import os
import random
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, ImageFont

from common.charset import Charset, composed
from common.errors import DataError, ImageError, UsageError
from ocr.data import Draw, LineDataset, WidthBatches, collate
from ocr.images import LinePreprocess
from ocr.labels import fit_labels, read_lines
from ocr.phrases import TextSource, read_words
from ocr.synthetic import SyntheticLines, distort, find_fonts, labelled_folder, sample_sheet
from tests.conftest import mutated, trainer_at
from tests.ocr.conftest import line_picture


def folder(tmp_path, table: str, names=("a.png", "b.png", "c.png")):
    for name in names:
        line_picture("total").save(tmp_path / name)
    (tmp_path / "labels.tsv").write_bytes(table.encode() if isinstance(table, str) else table)
    return tmp_path


def test_reads_all_rows_and_parts_by_rows_or_groups(lines):
    assert len(read_lines(lines)) == 60
    last, first = read_lines(lines, "7rows"), read_lines(lines, "7rows", first=True)
    assert [len(last), len(first)] == [7, 53]
    assert {line.source for line in last}.isdisjoint(line.source for line in first)
    last, first = read_lines(lines, "3groups"), read_lines(lines, "3groups", first=True)
    assert [len(last), len(first)] == [18, 42]
    assert {line.source.name[:3] for line in last} == {"007", "008", "009"}
    for wrong in ("a tenth", "3of2groups", "0of2groups", "1of0groups", "1of2rows"):
        with pytest.raises(UsageError, match="as 300rows, 40groups or 2of5groups"):
            read_lines(lines, wrong)


def test_folds_hold_each_group_once(lines):
    folds = [{line.source.name for line in read_lines(lines, f"{k}of3groups")} for k in (1, 2, 3)]
    everything = {line.source.name for line in read_lines(lines)}
    assert sum(map(len, folds)) == len(everything)
    assert set().union(*folds) == everything
    groups = [{name[:3] for name in fold} for fold in folds]
    assert sum(map(len, groups)) == 10
    others = {line.source.name for line in read_lines(lines, "2of3groups", first=True)}
    assert others == everything - folds[1]


@pytest.mark.parametrize(
    ("table", "left", "message"),
    [
        ("file\ttext\na.png\tx\ngone.png\ty\n", 1, "dropped 1: the file is missing, e.g. gone.png 'y'"),
        ("file\ttext\na.png\tx\nb.png\t\n", 1, "dropped 1: no text, e.g. b.png ''"),
        ("file\ttext\na.png\tx\na.png\tx\nb.png\ty\n", 2, "dropped 1: a file given before, e.g. a.png"),
        ("file\ttext\na.png\tx\na.png\tz\n", 1, "dropped 1: a file given before with another text"),
        ("file\ttext\na.png\tx\ty\n", 1, "1 texts have tabs, which are read as spaces"),
        ("file\ttext\na.png\tx\nb.png\n", 1, "dropped 1: no tab in the row, e.g. row 3"),
        ('file\ttext\na.png\t"quoted\nb.png\t6" pipe\n', 2, ""),
        ("a.png\tx\nb.png\ty\n", 2, "dropped nothing"),
        ("gone.png\tx\nb.png\ty\n", 1, "dropped 1: the file is missing, e.g. gone.png 'x'"),
        ("a.png\tx\n", 1, "dropped nothing"),
        ("Picture\tLabel\na.png\tx\n", 1, "the first row, 'Picture Label', is taken for a header"),
        ("\n\nfile\ttext\n\na.png\tx\n", 1, "dropped nothing"),
        ("file\ttext\r\na.png\tx\r\n".encode("utf-8-sig"), 1, "dropped nothing"),
        ("a.png\tx\n".encode("utf-8-sig"), 1, "dropped nothing"),
        ("file\ttext\na.png\tx\n".encode("utf-16"), 1, "dropped nothing"),
    ],
)  # fmt: skip
def test_says_what_it_left_out(tmp_path, capsys, table, left, message):
    found = read_lines(folder(tmp_path, table))
    assert len(found) == left
    assert message in capsys.readouterr().out
    if "have tabs" in message:
        assert found[0].text == "x y"


def test_the_first_line_may_name_a_file_without_a_pictures_suffix(tmp_path):
    root = folder(tmp_path, "scan\tx\na.png\ty\n")
    (root / "a.png").rename(root / "scan")
    line_picture("total").save(root / "a.png")
    assert [line.text for line in read_lines(root)] == ["x", "y"]


def test_accents_of_their_own_are_composed(tmp_path, capsys):
    root = folder(tmp_path, "file\ttext\na.png\tcafe\u0301\nb.png\tcaf\u00e9\n")
    assert [line.text for line in read_lines(root)] == ["caf\u00e9"] * 2
    assert composed("e\u0301") == "\u00e9"


def test_file_names_are_left_as_they_are(tmp_path):
    name = "e\u0301.png"  # as macOS writes it
    assert len(read_lines(folder(tmp_path, f"file\ttext\n{name}\tx\n", (name,)))) == 1


def test_a_file_that_is_no_picture_is_left_out(tmp_path, capsys):
    root = folder(tmp_path, "file\ttext\na.png\tx\nnotes.png\ty\n")
    (root / "notes.png").write_text("not a picture")
    assert len(read_lines(root)) == 1
    assert "not a picture, e.g. notes.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "the file has no rows"),
        ("file\ttext\n", "the file has no rows"),
        (b"file\ttext\na.png\t\xff\xfe\n", "not UTF-8"),
        ("file\ttext\ngone.png\tx\n", "nothing is left to use"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path, table, message):
    with pytest.raises(DataError, match=message):
        read_lines(folder(tmp_path, table))


def test_no_labels(tmp_path):
    with pytest.raises(DataError, match=r"no labels.tsv \(file<TAB>text, one header row\)"):
        read_lines(tmp_path)


def test_capitals_throughout_mean_that_case_is_unknown(tmp_path, capsys):
    line_picture("X").save(tmp_path / "0.png")
    names = [f"{i}.png" for i in range(100)]
    for name in names[1:]:
        (tmp_path / name).write_bytes((tmp_path / "0.png").read_bytes())
    (tmp_path / "labels.tsv").write_text("file\ttext\n" + "\n".join(f"{name}\tNO. 7" for name in names))
    assert all(line.folded for line in read_lines(tmp_path))
    assert "their case is taken as unknown" in capsys.readouterr().out


def test_labels_that_the_model_cannot_learn_are_counted(tmp_path, capsys):
    line_picture("abc").resize((16, 32)).save(tmp_path / "narrow.png")
    root = folder(tmp_path, "file\ttext\na.png\tok\nb.png\tcafé\nnarrow.png\taabbcc\n")
    kept = fit_labels(read_lines(root), Charset(), LinePreprocess())
    assert [line.text for line in kept] == ["ok"]
    out = capsys.readouterr().out
    assert (
        "dropped 1: characters that the model does not have; name them with --charset, e.g. 'é' of b.png"
        in out
    )
    assert "narrow.png (the label needs 9 steps, the picture gives 4: widen it)" in out
    with pytest.raises(DataError, match="none of the 3 labels fits"):
        fit_labels(read_lines(root), Charset("z"), LinePreprocess())
    assert [line.text for line in fit_labels(read_lines(root), Charset("café"), LinePreprocess())] == ["café"]


def write_lmdb(root, texts, count=None):
    lmdb = pytest.importorskip("lmdb")
    line_picture("tea").save(root.parent / "picture.png")
    with lmdb.open(str(root), map_size=2**22) as environment, environment.begin(write=True) as put:
        put.put(b"num-samples", str(len(texts)).encode() if count is None else count)
        for i, text in enumerate(texts, 1):
            put.put(f"image-{i:09d}".encode(), (root.parent / "picture.png").read_bytes())
            put.put(f"label-{i:09d}".encode(), text.encode())
    return root


def test_lmdb_of_the_benchmark(tmp_path):
    found = read_lines(write_lmdb(tmp_path / "set", ["tea", ""]))
    assert [line.text for line in found] == ["tea"]
    assert found[0].grey().shape == found[0].size[::-1]


def test_entries_of_an_lmdb_with_too_many_pixels_are_refused(tmp_path, monkeypatch):
    (line,) = read_lines(write_lmdb(tmp_path / "set", ["tea"]))
    monkeypatch.setattr("common.images._limit", 100)
    with pytest.raises(ImageError, match="and at most 100 are read"):
        line.grey()


@pytest.mark.parametrize("count", [b"100000000", b"4", b"-1", b"x", b"", b"1.5", b"\xff", b"9" * 400])
def test_an_impossible_number_of_samples_is_one_line(tmp_path, count):
    with pytest.raises(DataError, match=r"num-samples is .*, expected a number up to its 3 entries"):
        read_lines(write_lmdb(tmp_path / "set", ["tea"], count))


@pytest.mark.parametrize("left", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_lmdb_is_one_line(tmp_path, left):
    file = write_lmdb(tmp_path / "set", ["tea"] * 40) / "data.mdb"
    file.write_bytes(file.read_bytes()[: int(left * file.stat().st_size)])
    with pytest.raises(DataError, match=r"set: .*(cut off|damaged LMDB).*copy it again"):
        read_lines(tmp_path / "set")


def test_no_damage_of_an_lmdb_ends_the_process(tmp_path):
    content = (write_lmdb(tmp_path / "set", ["tea"] * 40) / "data.mdb").read_bytes()
    chance = random.Random(0)
    for i in range(100):
        (tmp_path / f"{i}").mkdir()
        (tmp_path / f"{i}" / "data.mdb").write_bytes(mutated(content, chance))
        child = os.fork()
        if not child:  # where a read beyond the file's end would end this process
            try:
                for line in read_lines(tmp_path / f"{i}"):
                    with suppress(ImageError):
                        line.grey()
            except DataError:
                os._exit(0)
            except BaseException:
                os._exit(1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, i


def test_batches_draw_every_line_once_and_are_equally_wide():
    widths = list(np.random.default_rng(0).integers(20, 400, 101))
    batches = list(WidthBatches(widths, 8, 0, shuffle=True, synthetic=27, trainer=None))
    assert len(batches) == len(WidthBatches(widths, 8, 0, shuffle=True, synthetic=27, trainer=None)) == 16
    rows = [draw.row for batch in batches for draw in batch]
    assert sorted(row for row in rows if row >= 0) == list(range(101))
    assert rows.count(-1) == 27
    spread = np.mean([max(d.width for d in b) - min(d.width for d in b) for b in batches])
    assert spread < 120
    again = list(WidthBatches(widths, 8, 0, shuffle=True, synthetic=27, trainer=None))
    assert batches == again
    assert batches != list(WidthBatches(widths, 8, 1, shuffle=True, synthetic=27, trainer=None))
    plain = [
        draw
        for batch in WidthBatches(widths, 8, 0, shuffle=False, synthetic=27, trainer=None)
        for draw in batch
    ]
    assert sorted(draw.row for draw in plain) == list(range(101))
    assert {draw.seed for draw in plain} == {-1}


def test_an_epoch_may_draw_some_of_the_labelled_lines_others_each_time():
    def rows(epoch):
        trainer = trainer_at(epoch)
        sampler = WidthBatches(range(40, 140), 8, 0, shuffle=True, synthetic=5, trainer=trainer, labelled=30)
        batches = list(sampler)
        assert len(batches) == len(sampler) == 5
        return [draw.row for batch in batches for draw in batch if draw.row >= 0]

    first, second = rows(0), rows(1)
    assert len(first) == len(set(first)) == len(second) == 30
    assert set(first) != set(second)
    whole = WidthBatches(range(40, 140), 8, 0, shuffle=False, synthetic=5, trainer=None, labelled=30)
    assert sum(map(len, whole)) == 100


def test_each_epoch_has_its_own_draws_and_order():
    def epoch(number):
        sampler = WidthBatches(range(40, 80), 8, 0, shuffle=True, synthetic=10, trainer=trainer_at(number))
        return [(draw.row, draw.seed) for batch in sampler for draw in batch]

    first, second = epoch(0), epoch(1)
    assert [row for row, _ in first] != [row for row, _ in second]
    assert not set(first) & set(second)
    assert epoch(1) == second


def synthetic(words=("total", "cash")):
    return SyntheticLines(find_fonts()[:8], TextSource(Charset(), words))


def test_synthetic_lines_depend_on_their_seed_alone():
    made = synthetic()
    first, text = made.sample(7, 150)
    for other in range(20):
        made.sample(other, 90)
    again, same = made.sample(7, 150)
    assert text == same
    assert np.array_equal(first, again)
    assert len({synthetic().sample(seed, 120)[1] for seed in range(30)}) > 12


def test_typewriters_slash_some_of_their_zeros():
    typewriter = [font for font in find_fonts() if font.name == "cmtt10.ttf"]  # its zero is empty
    made = SyntheticLines(typewriter[:1], TextSource(Charset()))
    filled = {}
    for scene in (True, False):
        zeros = [
            made._render(np.random.default_rng(seed), "0", "scene" if scene else "document")
            for seed in range(200)
        ]
        middles = [zero[zero.shape[0] // 2, zero.shape[1] // 2] for zero in zeros]
        filled[scene] = sum(middle > 200 for middle in middles)
    assert filled[True] < 5
    assert 10 < filled[False] < 60


def test_synthetic_lines_can_be_learnt():
    made, charset = synthetic(), Charset()
    dataset = LineDataset([], LinePreprocess(), made)
    items = [dataset[Draw(-1, seed, 40 + seed)] for seed in range(60)]
    batch = collate(charset, items)
    assert batch.images.lines.shape[:3] == (60, 1, 32)
    assert not charset.unknown("".join(batch.texts))
    assert all(text.strip() == text != "" for text in batch.texts)
    assert (batch.images.widths // 4 >= batch.lengths).all()
    assert batch.images.lines.isfinite().all()


def test_text_source_keeps_to_its_charset():
    source = TextSource(Charset("abc1"), ["cab", "dog"])
    random = np.random.default_rng(0)
    texts = [source(random, n) for n in range(1, 60)]
    assert all(text and not set(text) - set("abc1 ") for text in texts)


def test_a_damaged_picture_is_reported_and_left_out(tmp_path, capsys):
    root = folder(tmp_path, "file\ttext\na.png\tx\nb.png\ty\n")
    found = read_lines(root)
    (root / "b.png").write_bytes((root / "b.png").read_bytes()[:60])
    dataset = LineDataset(found, LinePreprocess())
    batch = collate(Charset(), [dataset[Draw(0, 1, 50)], dataset[Draw(1, 1, 50)]])
    assert batch.texts == ["x"]
    assert "left out" in capsys.readouterr().err
    assert collate(Charset(), [None]) is None


def test_distortion_keeps_type_and_height():
    line = np.asarray(line_picture("total"))
    seen = set()
    for seed in range(40):
        worse = distort(np.random.default_rng(seed), line)
        assert worse.dtype == np.uint8
        assert worse.shape[0] == line.shape[0]
        seen.add(worse.shape[1])
    assert len(seen) > 5


def test_words_and_fonts_that_are_not_there(tmp_path):
    (tmp_path / "words.txt").write_text("tea\n\nmilk\n")
    assert read_words(tmp_path / "words.txt") == ["tea", "milk"]
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UsageError, match="the file has no words"):
        read_words(tmp_path / "empty.txt")
    with pytest.raises(UsageError, match="not a text file that can be read"):
        read_words(tmp_path / "gone.txt")
    with pytest.raises(UsageError, match="no TrueType or OpenType font"):
        find_fonts(tmp_path)


@pytest.mark.parametrize("kind", ["document", "form", "scene"])
def test_lines_of_each_kind_have_the_height_and_mostly_much_contrast(kind):
    made = SyntheticLines(find_fonts()[:8], TextSource(Charset(), ["total", "cash"]), kind)
    lines = [made.sample(seed, 30 + 2 * seed) for seed in range(60)]
    assert {line.shape[0] for line, _ in lines} == {32}
    assert all(
        line.dtype == np.uint8 and line.shape[1] <= 30 + 2 * seed + 8 for seed, (line, _) in enumerate(lines)
    )
    assert np.mean([line.std() > 12 for line, _ in lines]) > 0.8
    assert not Charset().unknown("".join(text for _, text in lines))
    texts = [text for _, text in made_at_width(made, 16)]
    assert any(len(text) == 1 for text in texts)


def made_at_width(made, width):
    return [made.sample(seed, width) for seed in range(40)]


def test_the_fonts_of_val_are_never_those_of_train():
    everything, train, val = (set(find_fonts(part=part)) for part in ("", "train", "val"))
    assert train
    assert val
    assert train | val == everything
    if len({ImageFont.truetype(str(font)).getname()[0].split()[0] for font in everything}) > 8:
        assert train.isdisjoint(val)


def test_labelled_folder_can_be_read(tmp_path):
    labelled_folder(synthetic(), tmp_path / "drawn", 12)
    found = read_lines(tmp_path / "drawn")
    assert len(found) == 12
    assert {line.size[1] for line in found} == {32}
    with pytest.raises(UsageError, match="exists already"):
        labelled_folder(synthetic(), tmp_path / "drawn", 12)


def test_sample_sheet(tmp_path):
    sample_sheet(synthetic(), tmp_path / "sheet.png", rows=2, columns=2)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (600, 112)
        assert np.ptp(np.asarray(sheet)) > 150
