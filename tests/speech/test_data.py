import numpy as np
import pytest
import torch

from common.charset import Charset
from common.errors import DataError, UsageError
from speech.augmentation import Mel, distorted, joined, masked, recorded
from speech.data import (
    Clip,
    Draw,
    SpeechBatches,
    alphabet,
    batches_of,
    fitting,
    read_clips,
    spectrograms,
)
from speech.features import stack
from speech.sound import SoundError
from speech.text import has_digits, normalized
from tests.conftest import trainer_at
from tests.speech.conftest import RATE, TEXTS, dataset, spoken, write_speech, write_wav

MEL = Mel(RATE, 20)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Hello,  World!", "hello world"),
        ("Weißenburg-Gunzenhausen \u201eso\u201c", "weißenburg gunzenhausen so"),
        ("cafe\u0301", "café"),
        ("It\u2019s 'rock 'n' roll'", "it's rock n roll"),
        ("... !", ""),
        ("A\tb\nc", "a b c"),
    ],
)
def test_texts_are_words_in_small_letters(text, plain):
    assert normalized(text) == plain
    assert normalized(plain) == plain


def test_digits_are_found():
    assert has_digits("in 1999")
    assert not has_digits("in neunzehn")


def write_table(root, rows, header="file\ttext\tspeaker", name="train.tsv"):
    (root / "clips").mkdir(parents=True, exist_ok=True)
    for file in ("a.wav", "b.wav"):
        write_wav(root / "clips" / file, spoken("ab"))
    (root / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return root


def test_the_table_and_what_is_left_out(tmp_path, capsys):
    root = write_table(
        tmp_path,
        ["clips/a.wav\tAb!\ts1", "clips/b.wav\tAm 3. Mai\ts1", "clips/c.wav\tab\ts1", "clips/b.wav\t...\ts1",
         "clips/a.wav\tab\ts2", "clips/b.wav", "", "clips/b.wav\tb\ts2"],
    )  # fmt: skip
    clips = read_clips(root, "train")
    assert [(c.path.name, c.text, c.speaker) for c in clips] == [("a.wav", "ab", "s1"), ("b.wav", "b", "s2")]
    out = capsys.readouterr().out
    reasons = "text with digits", "no such file", "text without a word", "file that occurs twice"
    for reason in (*reasons, "line has too few columns"):
        assert f"dropped 1: {reason}" in out
    assert "lower case, punctuation" in out
    assert "'Ab!' is read as 'ab'" in out


def test_common_voice(tmp_path):
    header = "client_id\tpath\tsentence\tup_votes"
    root = write_table(tmp_path, ["x\ta.wav\tEin Satz.\t2", "y\tb.wav\tNoch einer\t2"], header)
    clips = read_clips(root, "train")
    assert [(c.text, c.speaker) for c in clips] == [("ein satz", "x"), ("noch einer", "y")]


def test_lj_speech(tmp_path):
    (tmp_path / "wavs").mkdir()
    names = [f"LJ001-{i:04d}" for i in range(80)]
    for name in names:
        write_wav(tmp_path / "wavs" / f"{name}.wav", spoken("a"))
    rows = [f'{name}|"Dr. A|"Doctor A' for name in names]
    (tmp_path / "metadata.csv").write_text("\n".join(rows) + "\n")
    parts = {part: read_clips(tmp_path, part) for part in ("train", "val", "test")}
    found = [clip.path.stem for part in parts.values() for clip in part]
    assert sorted(found) == names
    assert len(parts["train"]) > 60
    assert parts["val"][0].text == "doctor a"


def test_libri_speech(tmp_path):
    for folder, part in (("train-clean-100", "train"), ("dev-clean", "val")):
        chapter = tmp_path / folder / "19" / "198"
        chapter.mkdir(parents=True)
        write_wav(chapter / "19-198-0000.flac", spoken("ab"))
        (chapter / "19-198.trans.txt").write_text("19-198-0000 NORTHANGER ABBEY\n")
        clips = read_clips(tmp_path, part)
        assert [(c.text, c.speaker) for c in clips] == [("northanger abbey", "19")]


def test_wrong_folders_say_what_is_expected(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        read_clips(tmp_path / "none", "train")
    with pytest.raises(UsageError, match=r"no 'train' part .*expected train\.tsv, metadata\.csv"):
        read_clips(tmp_path, "train")
    (tmp_path / "train.tsv").write_text("clips/a.wav\tab\n")
    with pytest.raises(DataError, match="names of columns"):
        read_clips(tmp_path, "train")
    (tmp_path / "train.tsv").write_text("file\ttext\nclips/a.wav\tab\n")
    with pytest.raises(DataError, match="nothing is left"):
        read_clips(tmp_path, "train")


def test_clips_that_cannot_be_trained_on_are_counted(tmp_path):
    clips = [Clip(tmp_path / "a", "ab", "s", 1.0), Clip(tmp_path / "b", "abé", "s", 1.0),
             Clip(tmp_path / "c", "ab" * 20, "s", 0.3), Clip(tmp_path / "d", "ab", "s", 30.0)]  # fmt: skip
    kept, dropped = fitting(clips, Charset(" ab"), 20.0)
    assert kept == [0]
    said = str(dropped)
    assert "dropped 1: text with characters outside the alphabet, e.g. b: 'é'" in said
    assert "dropped 1: clip too short for its text" in said
    assert "dropped 1: clip longer than 20 seconds" in said


def test_spectrograms_are_kept(tmp_path, capsys, monkeypatch):
    clips = read_clips(write_speech(tmp_path / "data"), "train")
    clips[3].path.write_bytes(b"no sound")
    first, store = spectrograms(clips, RATE, 20, tmp_path / "cache", 0)
    assert "left out" in capsys.readouterr().out
    assert len(first) == len(store) == len(clips) - 1
    monkeypatch.setattr("speech.data._compute", lambda *_: pytest.fail("computed again"))
    again, other = spectrograms(clips, RATE, 20, tmp_path / "cache", 0)
    assert again == first
    assert "left out" in capsys.readouterr().out
    np.testing.assert_array_equal(other[5], store[5])
    assert first[0].seconds == pytest.approx(len(store[0]) / 100)
    monkeypatch.undo()
    write_wav(clips[0].path, spoken("abcd"))
    third, store = spectrograms(clips, RATE, 20, tmp_path / "cache", 0)
    assert third[0].seconds > first[0].seconds
    next((tmp_path / "cache").glob("*.f16")).write_bytes(b"")
    fourth, _ = spectrograms(clips, RATE, 20, tmp_path / "cache", 0)
    assert fourth == third


def test_that_nothing_could_be_read_is_not_remembered(tmp_path, monkeypatch):
    clips = read_clips(write_speech(tmp_path / "data"), "train")
    with monkeypatch.context() as patched:
        patched.setattr("speech.data.ahead", lambda read, items, *_: [SoundError("no reader")] * len(items))
        with pytest.raises(SoundError, match="none of the"):
            spectrograms(clips, RATE, 20, tmp_path / "cache", 0)
    assert len(spectrograms(clips, RATE, 20, tmp_path / "cache", 0)[0]) == len(clips)


def test_no_readable_clip_is_an_error(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no sound")
    with pytest.raises(SoundError, match="none of the 1 clips"):
        spectrograms([Clip(tmp_path / "a.wav", "a", "s")], RATE, 20, tmp_path / "cache", 0)


def test_draws_are_repeatable_and_differ(tmp_path):
    part = dataset(tmp_path)
    plain = part[Draw((0,), -1, 0)]
    one, same, other = (part[Draw((0,), seed, 50)] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one[0], same[0])
    assert one[0].shape != other[0].shape or not np.array_equal(one[0], other[0])
    assert plain[1:] == (TEXTS[0], 0)
    assert one[0].dtype == plain[0].dtype == np.float32
    assert np.isfinite(one[0]).all()


def test_clips_are_joined_with_pauses(tmp_path):
    part = dataset(tmp_path, join=True)
    frames, text, _ = part[Draw((0, 3, 1), 5, 300)]
    assert text == f"{TEXTS[0]} {TEXTS[3]} {TEXTS[1]}"
    assert len(frames) > 0.8 * sum(len(part.store[i]) for i in (0, 3, 1))
    noise, nothing, _ = part[Draw((), 5, 80)]
    assert (nothing, noise.shape[1]) == ("", 20)
    assert len(noise) >= 80


def test_batches_draw_each_clip_once(tmp_path):
    clips = dataset(tmp_path).clips
    batches = SpeechBatches(clips, 3, 0, shuffle=True, trainer=trainer_at(1))
    rows = [draw.rows for batch in batches for draw in batch]
    assert sorted(row for draw in rows for row in draw) == list(range(len(clips)))
    assert len(batches) == len(list(batches))
    plain = SpeechBatches(clips, 3, 0, shuffle=False, trainer=None)
    assert [draw.seed for batch in plain for draw in batch] == [-1] * len(clips)


def test_joined_batches_stay_within_a_speaker():
    clips = [Clip(None, "a", f"s{i % 3}", 0.5) for i in range(60)]
    batches = SpeechBatches(clips, 4, 0, shuffle=True, trainer=trainer_at(2), join=4, repeat=3)
    draws = [draw for batch in batches for draw in batch]
    assert {len(draw.rows) for draw in draws} <= {0, 1, 2, 3, 4}
    assert all(len({clips[i].speaker for i in draw.rows}) <= 1 for draw in draws)
    assert sum(len(draw.rows) for draw in draws) == pytest.approx(180, rel=0.1)
    assert len(batches) == len(list(batches))
    other = SpeechBatches(clips, 4, 0, shuffle=True, trainer=trainer_at(3), join=4, repeat=3)
    assert len(other) == len(batches)
    assert [d.rows for b in other for d in b] != [d.rows for b in batches for d in b]


def test_short_clips_come_first_in_the_first_epoch():
    clips = [Clip(None, "a", "s", seconds) for seconds in np.linspace(0.2, 9, 40)[::-1]]
    batches = SpeechBatches(clips, 4, 0, shuffle=True, trainer=trainer_at(0))
    means = [np.mean([draw.frames for draw in batch]) for batch in batches]
    assert means == sorted(means)


def test_processes_share_each_batch(monkeypatch):
    clips = [Clip(None, "a", "s", 0.5 + i / 10) for i in range(13)]
    shares = []
    for rank in range(2):
        monkeypatch.setattr("common.batches.rank_and_world", lambda rank=rank: (rank, 2))
        batches = SpeechBatches(clips, 4, 0, shuffle=True, trainer=trainer_at(1))
        shares.append([[draw.rows for draw in batch] for batch in batches])
    assert len(shares[0]) == len(shares[1]) == 4
    assert {row for share in shares for batch in share for row in batch} == {(i,) for i in range(13)}


def test_collate_pads_and_leaves_out_unknown_characters():
    clips = np.ones((5, 20), np.float32), np.ones((9, 20), np.float32)
    batch = batches_of(Charset(" ab"))([(clips[0], "aéb", 0), (clips[1], "", 1)])
    assert batch.lengths.tolist() == [5, 9]
    assert batch.frames.shape == (2, 64, 20)
    assert (batch.frames[0, 5:] == 0).all()
    assert (batch.targets.tolist(), batch.target_lengths.tolist()) == ([2, 3], [2, 0])
    assert batch.targets.dtype == torch.long
    assert stack([np.zeros((65, 20), np.float32)])[0].shape == (1, 128, 20)


def test_alphabet():
    assert alphabet([Clip(None, "ba", "s"), Clip(None, "ca", "s")]) == " abc"


def test_augmentation_keeps_shapes_and_numbers():
    random = np.random.default_rng(0)
    frames = random.normal(-5, 3, (100, 20)).astype(np.float32)
    lengths = {len(distorted(frames, MEL, np.random.default_rng(i))) for i in range(30)}
    assert min(lengths) >= 85
    assert max(lengths) <= 117
    assert len(lengths) > 10
    for seed in range(20):
        changed = recorded(frames, MEL, np.random.default_rng(seed))
        assert changed.shape == frames.shape
        assert np.isfinite(changed).all()
    hidden = masked(frames, np.full(20, 7.0), np.random.default_rng(1))
    assert 0 < (hidden == 7).mean() < 0.8
    assert (frames != 7).all()
    assert len(joined([frames[:1]], 1, MEL, random)) >= 1
    assert len(distorted(frames[:1], MEL, random)) == 1


def test_another_vocal_tract_moves_a_tone():
    frames = np.full((30, 20), -9.0, np.float32)
    frames[:, 8] = 3.0
    peaks = {int(distorted(frames, MEL, np.random.default_rng(i)).mean(axis=0).argmax()) for i in range(40)}
    assert {7, 8, 9} <= peaks <= {6, 7, 8, 9, 10}
