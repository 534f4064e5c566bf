import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from common.errors import DataError, UsageError, VisionWarning
from language import data, streams
from language.data import BEGIN, UNKNOWN, Alphabet, Split, encode_part, read_text, warn_of_unknown
from language.streams import Streams
from tests.conftest import trainer_at
from tests.language.conftest import small_text, write_text


def whole(text):
    return "".join(text.pieces())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\r\nb\r\rc\n", "a\nb\n\nc\n"),
        (b"\xef\xbb\xbfab", "ab"),
        ("aé\n€𝄞".encode("utf-16"), "aé\n€𝄞"),
        ("aé\n€𝄞\r\n".encode(), "aé\n€𝄞\n"),
        (b"x", "x"),
        (b"\r", "\n"),
    ],
)
@pytest.mark.parametrize("piece", [1, 2, 3, 2**20])
def test_a_file_is_read_however_its_lines_end(tmp_path, monkeypatch, content, expected, piece):
    monkeypatch.setattr(data, "_PIECE", piece)
    file = tmp_path / "text.txt"
    file.write_bytes(content)
    text = read_text(file)
    assert (whole(text), text.length) == (expected, len(expected))
    for first in range(text.length):
        assert "".join(text.pieces(first, first + 2)) == expected[first : first + 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"good\xff\xfe", r"not UTF-8 \(near byte 4\)"),
        ("café".encode("latin-1"), "not UTF-8"),
        (b"cut \xe2\x82", "not UTF-8"),
        (b"a\0b", "NUL byte"),
        ("ab".encode("utf-16-le"), "NUL byte"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, content, message):
    file = tmp_path / "text.txt"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_text(file)


def test_a_folder_is_its_files_one_after_the_other(tmp_path, capsys):
    (tmp_path / "b").mkdir()
    for name, content in {
        "b/1.md": b"second", "a.txt": b"first\r\n", ".hidden": b"no", "c.bin": b"\0\1", "d.txt": b"\xff",
        "e": b"",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
    text = read_text(tmp_path)
    assert whole(text) == "first\nsecond"
    said = capsys.readouterr().out
    assert "dropped 2: no text" in said
    assert "dropped 1: empty, e.g. e" in said
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="no text in this folder"):
        read_text(tmp_path / "nothing")
    with pytest.raises(UsageError, match="no such file"):
        read_text(tmp_path / "missing")


def test_the_split_is_by_position():
    split = Split.of(1_115_394, 0.1)
    assert (split.part("train"), split.part("val")) == ((0, 1_003_854), (1_003_854, 1_115_394))  # nanoGPT's
    assert Split.of(100, 30).part("val") == (70, 100)
    for length, val in ((1, 0.1), (100, 100), (100, 0.0), (100, -1), (2, 1.5e9)):
        with pytest.raises(UsageError, match="give more text"):
            Split.of(length, val)
    with pytest.raises(UsageError, match="expected one of train, val, all"):
        split.part("test")


@pytest.mark.parametrize("unit", ["characters", "words"])
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_units_joined_are_the_text_again(unit, size):
    text = small_text(60) + "Straße, «naïve» 𝄞  \t double  spaces " + "x" * 300 + "\n"
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    alphabet = Alphabet.build(unit, pieces)
    codes = np.concatenate(list(alphabet.encode_each(pieces)))
    assert np.array_equal(codes, alphabet.encode(text))
    assert "".join(map(alphabet.decode, codes)) == text == "".join(alphabet.split(text))
    assert codes.min() > UNKNOWN
    assert codes.max() == len(alphabet) - 1


def test_what_is_rare_is_unknown_and_said():
    alphabet = Alphabet.build("characters", ["aaabbc"], min_count=2)
    assert alphabet.units == ("a", "b")
    assert alphabet.encode("abcz\U0010ffff").tolist() == [2, 3, UNKNOWN, UNKNOWN, UNKNOWN]
    assert (alphabet.decode(BEGIN), alphabet.decode(UNKNOWN)) == ("", "\ufffd")
    with pytest.warns(VisionWarning, match=r"prompt: 3 characters .* \('z', 'c'\)"):
        warn_of_unknown(alphabet, "azczb", "prompt")
    with pytest.raises(ValueError, match="twice"):
        Alphabet("characters", "aa")
    with pytest.raises(ValueError, match="expected characters or words"):
        Alphabet("bytes", "ab")
    with pytest.raises(ValueError, match="not one character"):
        Alphabet("characters", ["a", "bc"])


def test_codes_lie_in_a_file(tmp_path):
    text = read_text(write_text(tmp_path / "text.txt"))
    alphabet = Alphabet.build("characters", text.pieces())
    codes = encode_part(text, alphabet, 5, 50)
    assert isinstance(codes, np.memmap)
    assert np.array_equal(codes, alphabet.encode(small_text()[5:50]))
    assert not len(encode_part(text, alphabet, 5, 5))


def test_a_line_of_any_length_takes_constant_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "_PIECE", 2**14)
    peaks = []
    for times in (10, 60):
        file = tmp_path / "line.txt"
        file.write_bytes(b"one line " * (times * 2**10))
        tracemalloc.start()
        text = read_text(file)
        alphabet = Alphabet.build("words", text.pieces())
        codes = encode_part(text, alphabet, 0, text.length)
        part = Streams(codes, 8, 16, shuffle=True)
        assert [part[i][0].shape for i in (0, len(part) - 1)] == [(8, 16)] * 2
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert set(alphabet.units) == {"one", " line", " one", " "}


def test_training_streams_go_on_where_they_ended_and_read_all_of_a_ring():
    codes, starts = np.arange(2, 102, dtype=np.uint8), set()
    for epoch in range(4):
        part = Streams(codes, 4, 5, trainer=trainer_at(epoch), shuffle=True)
        steps = [part[i] for i in range(len(part))]
        assert len(steps) == 5
        targets = np.concatenate([target.numpy() for _, target in steps], axis=1)
        inputs = np.concatenate([given.numpy() for given, _ in steps], axis=1)
        assert sorted(targets.ravel()) == list(range(2, 102))
        assert (inputs[:, 0] == BEGIN).all()
        assert np.array_equal(inputs[:, 1:], targets[:, :-1])
        assert np.isin(np.diff(targets, axis=1), (1, -99)).all()
        starts.add(int(targets[0, 0]))
    assert len(starts) > 1  # each epoch cuts elsewhere
    with pytest.raises(IndexError):
        part[5]
    with pytest.raises(UsageError, match="--batch-size 40 streams of --steps 5"):
        Streams(codes, 40, 5, shuffle=True)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_validation_counts_each_unit_once_after_a_warm_up(size):
    codes = np.arange(2, 2 + size, dtype=np.uint8)
    part = Streams(codes, 3, 8, shuffle=False)
    counted = []
    for given, target in (part[i] for i in range(len(part))):
        counts = target >= 0
        counted += target[counts].tolist()
        assert ((target - given)[counts & (given > 0)] == 1).all()
    assert sorted(counted) == codes.tolist()


def test_two_processes_share_the_streams(monkeypatch):
    codes = np.arange(2, 102, dtype=np.uint8)
    alone = Streams(codes, 4, 5, seed=3, shuffle=True)[2]
    for rank in range(2):
        monkeypatch.setattr(streams, "rank_and_world", lambda rank=rank: (rank, 2))
        shared = Streams(codes, 4, 5, seed=3, shuffle=True)[2]
        for one, other in zip(alone, shared, strict=True):
            assert one[rank::2].tolist() == other.tolist()


@pytest.mark.slow
def test_a_line_of_200_mb_is_read_in_little_memory(tmp_path):
    """In a process of its own, whose memory is limited."""
    file = tmp_path / "line.txt"
    with file.open("wb") as stream:
        for _ in range(200):
            stream.write(b"abcdefgh" * 2**17)
    code = (
        "import re, sys; from pathlib import Path\n"
        # ru_maxrss is inherited from the process that starts this one
        "largest = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "from language.data import Alphabet, encode_part, read_text\n"
        "before = largest()\n"
        "text = read_text(Path(sys.argv[1]))\n"
        "alphabet = Alphabet.build('characters', text.pieces())\n"
        "codes = encode_part(text, alphabet, 0, text.length)\n"
        "grown = largest() - before\n"
        "print(text.length, len(codes), grown)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
    length, count, grown = map(int, done.stdout.split())
    assert length == count == 200 * 2**20
    assert grown < 60_000  # KiB
