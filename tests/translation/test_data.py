import numpy as np
import pytest

from common.errors import DataError, UsageError
from tests.conftest import trainer_at
from tests.translation.conftest import sentence_pairs, tiny_translator, write_pairs
from translation.data import LengthBatches, PairDataset, SentencePair, collate, read_pairs
from translation.training import without_copies


def write(folder, **files):
    for name, content in files.items():
        path = folder / name.replace("_", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def read(folder, source="en", target="de"):
    return [(pair.source, pair.target) for pair in read_pairs(folder, "train", source, target)]


def test_line_n_belongs_to_line_n(tmp_path):
    write(tmp_path, train_en="One  dog.\nTwo.\n", train_de="Ein Hund.\nZwei.\n")
    assert read(tmp_path) == [("One dog.", "Ein Hund."), ("Two.", "Zwei.")]
    assert read(tmp_path, "de", "en") == [("Ein Hund.", "One dog."), ("Zwei.", "Two.")]


@pytest.mark.parametrize(
    "content",
    [
        "A\u2028b.\nC.\n", "A\x0bb.\nC.\n", "A\x85b.\nC.\n", "A\x1cb.\nC.\n", "A\rb.\nC.\n",
        "A b.\r\nC.\r\n", "A b.\nC.", "\ufeffA b.\nC.\n",
    ],
)  # fmt: skip
def test_what_ends_a_line(tmp_path, content):
    write(tmp_path, train_en=content, train_de="X.\nY.\n")
    assert read(tmp_path) == [("A b.", "X."), ("C.", "Y.")]


def test_old_macs_and_utf16(tmp_path):
    write(tmp_path, train_en=b"A.\rB.\r", train_de="Ä.\nÖ.\n".encode("utf-16"))
    assert read(tmp_path) == [("A.", "Ä."), ("B.", "Ö.")]


def test_text_is_composed(tmp_path):
    write(tmp_path, train_en="x\n", train_de="gru\u0308n\u00a028\n")
    assert read(tmp_path) == [("x", "grün 28")]


def test_files_of_unequal_length_are_refused(tmp_path):
    write(tmp_path, train_en="a\nb\nc\n", train_de="x\ny\n")
    with pytest.raises(DataError, match=r"train\.en has 3 and .*train\.de has 2 lines"):
        read(tmp_path)


def test_empty_lines_are_counted(tmp_path, capsys):
    write(tmp_path, train_en="a\n\n \nd\n\u2028\n", train_de="w\nx\n\n\nz\n")
    assert read(tmp_path) == [("a", "w")]
    said = capsys.readouterr().out
    assert "dropped 3: one sentence is empty, e.g. line 2, line 4, line 5" in said
    assert "dropped 1: both sentences are empty, e.g. line 3" in said


@pytest.mark.parametrize("content", ["", "\n", " \n\t\n"])
def test_nothing_left_is_an_error(tmp_path, content):
    write(tmp_path, train_en=content, train_de=content)
    with pytest.raises(DataError, match="nothing is left"):
        read(tmp_path)


def test_a_line_in_another_encoding_is_counted(tmp_path, capsys):
    lines = [f"Zeile {i}" for i in range(20)]
    german = "\n".join(lines).encode() + "\ngrün\n".encode("latin-1")
    write(tmp_path, train_en="\n".join([*lines, "green"]) + "\n", train_de=german)
    assert len(read(tmp_path)) == 20
    assert "dropped 1: line is not UTF-8, e.g. line 21" in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp850"])
@pytest.mark.parametrize("table", [False, True])
def test_a_file_in_another_encoding_is_an_error(tmp_path, encoding, table):
    if table:
        write(tmp_path, train_tsv="green\tgrün\ntrees\tBäume\n".encode(encoding))
    else:
        write(tmp_path, train_en="green\ntrees\n", train_de="grün\nBäume\n".encode(encoding))
    with pytest.raises(DataError, match=r"2 of 2 lines are not UTF-8, the first is line 1; convert"):
        read(tmp_path)


@pytest.mark.parametrize(("source", "target", "said"), [("en", "fr", "de, en"), ("it", "de", "de, en")])
def test_a_language_that_is_not_there(tmp_path, source, target, said):
    write(tmp_path, train_en="a\n", train_de="b\n")
    with pytest.raises(UsageError, match=f"its 'train' part is in {said}; expected train.{source} and"):
        read(tmp_path, source, target)


def test_a_language_that_a_table_lacks(tmp_path):
    write(tmp_path, train_tsv="en\tde\na\tb\n")
    with pytest.raises(UsageError, match=r"--target fr: .*train.tsv has the languages en, de"):
        read(tmp_path, "en", "fr")


def test_a_folder_or_a_part_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        read(tmp_path / "gone")
    with pytest.raises(UsageError, match=r"holds no 'train' part; expected train\.en and train\.de, or"):
        read(tmp_path)
    with pytest.raises(UsageError, match="must differ"):
        read(tmp_path, "en", "en")


def test_a_table_with_and_without_names(tmp_path, capsys):
    write(tmp_path, train_tsv="de\ten\tauthor\nX.\tA.\tme\nY.\tB.\tme\n")
    assert read(tmp_path) == [("A.", "X."), ("B.", "Y.")]
    write(tmp_path, train_tsv="A.\tX.\nB.\tY.\nno column\n")
    assert read(tmp_path) == [("A.", "X."), ("B.", "Y.")]
    said = capsys.readouterr().out
    assert "no names of languages in its first line; read as en, de" in said
    assert "dropped 1: line has too few columns, e.g. line 3" in said


def test_quotes_in_a_table_are_text(tmp_path):
    rows = [
        ('"Stop," he said.', "„Halt“, sagte er."), ('"Go."', '"Geh."'), ('He said "no', 'Er sagte "nein'),
        ('5" long', '5" lang'), ("It's", "Es ist"), ('"', '"'),
    ]  # fmt: skip
    write(tmp_path, train_tsv="en\tde\n" + "".join(f"{a}\t{b}\n" for a, b in rows))
    assert read(tmp_path) == rows


@pytest.mark.parametrize(
    "content",
    [
        '"en"\t"de"\n"Stop."\t"Halt."\n"He said ""no""."\t"Er sagte ""nein""."\n',  # all cells are quoted
        'en\tde\nStop.\tHalt.\n"He said ""no""."\t"Er sagte ""nein""."\n',  # where it must be
    ],
)
def test_a_table_that_is_quoted_as_spreadsheets_write_it(tmp_path, content):
    write(tmp_path, train_tsv=content)
    assert read(tmp_path) == [("Stop.", "Halt."), ('He said "no".', 'Er sagte "nein".')]


def test_what_val_has_too_leaves_train(capsys):
    train = [SentencePair("A dog.", "x"), SentencePair("a DOG.", "y"), SentencePair("A cat.", "z")]
    assert without_copies(train, [SentencePair("a dog.", "w")]) == [SentencePair("A cat.", "z")]
    assert "left out 2 pairs whose source sentence val has too, e.g. 'A dog.'" in capsys.readouterr().out
    with pytest.raises(DataError, match="val has each of its sentences"):
        without_copies(train[:1], train)


def test_a_line_of_2000_words_is_left_out_of_training():
    model = tiny_translator()
    long = SentencePair("a dog " * 1000, "Hund ein")
    dataset = PairDataset(
        [*sentence_pairs(3), long, SentencePair("a", "ein " * 2000)], model.source, model.target, 40
    )
    assert (len(dataset), dataset.left_out) == (3, 2)
    assert [pair.source for pair in dataset.pairs] == [pair.source for pair in sentence_pairs(3)]


def test_batches_are_padded():
    model = tiny_translator()
    dataset = PairDataset(sentence_pairs(5), model.source, model.target)
    batch = collate([dataset[i] for i in (4, 0)])
    assert batch.indices == [4, 0]
    for row, i in enumerate((4, 0)):
        source = [token for token in batch.source[row].tolist() if token]
        target = [token for token in batch.target[row].tolist() if token]
        assert model.source.decode(source) == dataset.pairs[i].source
        assert (target[0], target[-1]) == (1, 2)
        assert model.target.decode(target[1:-1]) == dataset.pairs[i].target


def batches(lengths, shuffle, epoch=0, seed=0):
    return list(LengthBatches(lengths, 8, seed, shuffle=shuffle, trainer=trainer_at(epoch)))


def test_batches_hold_each_pair_once_and_are_equally_long():
    lengths = np.random.default_rng(0).integers(5, 60, 100).tolist()
    for shuffle in (False, True):
        found = batches(lengths, shuffle)
        assert sorted(i for batch in found for i in batch) == list(range(100))
        assert max(np.ptp([lengths[i] for i in batch]) for batch in found) < 15
    assert batches(lengths, True) == batches(lengths, True)
    assert batches(lengths, True) != batches(lengths, True, epoch=1)
    assert batches(lengths, True) != batches(lengths, True, seed=1)
    starts = [lengths[batch[0]] for batch in batches(lengths, True)]
    assert starts != sorted(starts)


@pytest.mark.parametrize("shuffle", [False, True])
def test_processes_share_each_batch(monkeypatch, shuffle):
    lengths = list(range(17))
    whole = batches(lengths, shuffle)
    shares = []
    for rank in range(2):
        monkeypatch.setattr("common.batches.rank_and_world", lambda rank=rank: (rank, 2))
        shares.append(batches(lengths, shuffle))
    if shuffle:  # the last batch of one pair is given to both
        assert [len(share) for share in shares] == [3, 3]
        for batch, one, two in zip(whole, *shares, strict=True):
            assert set(batch) == {*one, *two}
    else:
        assert sorted(i for share in shares for batch in share for i in batch) == lengths


def test_the_corpus_of_the_tests_has_no_copies(tmp_path):
    write_pairs(tmp_path / "data")
    train, val = (read_pairs(tmp_path / "data", part, "en", "de") for part in ("train", "val"))
    assert (len(train), len(val)) == (60, 12)
    assert without_copies(train, val) == train
