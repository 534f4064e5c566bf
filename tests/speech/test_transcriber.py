import numpy as np
import pytest
import torch

from common.charset import Charset
from common.ctc import Reading
from common.errors import UsageError
from common.export import export
from common.ngrams import CharacterNgrams
from speech import Transcriber, Transcript, Word
from speech.metrics import score_clips
from speech.model import SpeechModel
from speech.sound import SoundError
from speech.subtitles import cues, srt, vtt
from speech.transcriber import _quietest, _Speller, _transcript
from tests.conftest import by_threads
from tests.speech.conftest import RATE, TEXTS, learn, spoken, tiny_speech, write_wav


def trained(root, steps, **sizes):
    model = tiny_speech(hidden_size=48, **sizes)
    assert learn(model, root, steps) < 0.2
    model.language_model = CharacterNgrams.of(TEXTS, model.charset)
    return model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("clips"), 150)


@pytest.fixture(scope="module")
def transcriber(model):
    return Transcriber(model, "cpu", "fp32")


@pytest.fixture(scope="module")
def streaming(tmp_path_factory):
    model = trained(tmp_path_factory.mktemp("one"), 250, unidirectional=True, look_ahead=6, layers=1)
    return Transcriber(model, "cpu", "fp32")


@pytest.mark.parametrize("beam_size", [1, 8])
def test_what_was_learnt_is_heard(transcriber, beam_size):
    found = transcriber.transcribe([spoken(t, i) for i, t in enumerate(TEXTS)], beam_size=beam_size)
    assert [f.text for f in found] == list(TEXTS)
    assert all(0.5 < f.confidence <= 1 for f in found)
    assert str(found[0]) == TEXTS[0]


def test_words_have_their_times(transcriber):
    (found,) = transcriber.transcribe([spoken("dab cab", 2)])
    first, second = found.words
    assert (first.text, second.text) == ("dab", "cab")
    assert first.start == pytest.approx(0.1, abs=0.25)
    assert first.end == pytest.approx(0.52, abs=0.25)
    assert second.start == pytest.approx(0.66, abs=0.25)
    assert second.end == pytest.approx(1.08, abs=0.25)
    assert found.seconds == pytest.approx(1.2, abs=0.03)
    assert "".join(c for c, _ in found.characters) == "dab cab"


def test_one_equals_many_and_paths_equal_samples(transcriber, tmp_path):
    sounds = [spoken(t, i) for i, t in enumerate(TEXTS)]
    paths = [write_wav(tmp_path / f"{i}.wav", sound) for i, sound in enumerate(sounds)]
    together = transcriber.transcribe(paths)
    for size in (1, 3):
        assert [f.text for f in transcriber.transcribe(paths, batch_size=size)] == [f.text for f in together]
    for sound, expected in zip(sounds, together, strict=True):
        (alone,) = transcriber.transcribe([sound])
        assert alone.text == expected.text
        assert [w.start for w in alone.words] == [w.start for w in expected.words]


def test_an_unreadable_recording_stops_no_other(transcriber, tmp_path):
    (tmp_path / "b.wav").write_text("no sound")
    good = write_wav(tmp_path / "a.wav", spoken(TEXTS[0], 0))
    found = list(transcriber.transcribe_each([good, tmp_path / "b.wav", good]))
    assert [isinstance(f, Transcript) for f in found] == [True, False, True]
    assert "b.wav" in str(found[1])
    with pytest.raises(SoundError, match=r"b\.wav"):
        transcriber.transcribe([good, tmp_path / "b.wav"])


@pytest.mark.parametrize("seconds", [0.001, 0.01, 0.5, 45.0])
def test_silence_has_no_words(transcriber, streaming, seconds):
    silence = np.zeros(max(1, int(seconds * RATE)), np.float32)
    (found,) = transcriber.transcribe([silence])
    assert (found.text, found.words, found.confidence) == ("", (), 1.0)
    assert found.seconds == pytest.approx(seconds, abs=0.011)


def test_ten_milliseconds_of_sound_are_no_failure(transcriber, streaming):
    sound = spoken("a")[800:880]
    assert transcriber.transcribe([sound])[0].seconds == pytest.approx(0.01, abs=0.011)
    assert len(list(streaming.stream([sound]))) <= 1


def test_no_sample_and_wrong_samples(transcriber):
    with pytest.raises(SoundError, match="not one"):
        transcriber.transcribe([np.zeros(0, np.float32)])
    with pytest.raises(UsageError, match="expected floats"):
        transcriber.transcribe([np.zeros((2, 100), np.float32)])
    with pytest.raises(UsageError, match="expected floats"):
        transcriber.transcribe([np.zeros(100, np.int16)])
    with pytest.raises(TypeError, match="takes a list"):
        transcriber.transcribe("a.wav")
    with pytest.raises(UsageError, match="beam size 0"):
        transcriber.transcribe([spoken("a")], beam_size=0)


def test_a_long_recording_is_cut_at_quiet_places(transcriber):
    texts = [TEXTS[i % len(TEXTS)] for i in range(60)]
    pause = np.zeros(RATE // 4, np.float32)
    sound = np.concatenate([part for i, t in enumerate(texts) for part in (spoken(t, i % len(TEXTS)), pause)])
    assert len(sound) / RATE > 45
    (found,) = transcriber.transcribe([sound])
    assert score_clips([found.text], [" ".join(texts)])["cer"] < 40
    starts = [word.start for word in found.words]
    assert starts == sorted(starts)
    assert starts[-1] > 40


def test_the_quietest_place_is_found():
    frames = np.zeros((2000, 4))
    frames[1200:1260] = -5
    frames[100:300] = -9
    assert 1200 <= _quietest(frames) <= 1260


def test_a_stream_hears_what_the_whole_hears(streaming, tmp_path):
    for i, text in enumerate(TEXTS):
        sound = np.concatenate([spoken(text, i), np.zeros(RATE // 5, np.float32)])
        file = write_wav(tmp_path / "a.wav", sound)
        words = list(streaming.stream(file))
        assert " ".join(word.text for word in words) == text
    first, second = list(streaming.stream([spoken("dab cab", 2)]))
    assert first.start == pytest.approx(0.1, abs=0.25)
    assert second.end == pytest.approx(1.08, abs=0.25)


def test_words_of_a_stream_come_before_its_end(streaming):
    given = 0

    def blocks():
        nonlocal given
        for _ in range(40):
            given += 1
            yield np.concatenate([spoken("dab cab", 2), np.zeros(RATE // 5, np.float32)])

    words = streaming.stream(blocks())
    next(words)
    assert given < 6
    assert sum(1 for _ in words) > 5


def test_a_pause_ends_a_word_of_a_stream():
    rows = np.full((100, 3), -9.0)
    rows[:, 0] = 0.0
    rows[[3, 90], :2] = (-9.0, 0.0)
    speller = _Speller(Charset("a "))
    early, late = list(speller.push(rows[:60])), list(speller.push(rows[60:]))
    assert ([w.text for w in early], late, [w.text for w in speller.end()]) == (["a"], [], ["a"])


def test_streams_need_a_unidirectional_model_on_torch(transcriber, tmp_path):
    with pytest.raises(UsageError, match="--unidirectional"):
        transcriber.stream([spoken("a")])
    tiny_speech(unidirectional=True).save_pretrained(tmp_path)
    export(SpeechModel, tmp_path)
    with pytest.raises(UsageError, match="engine"):
        Transcriber.from_pretrained(tmp_path).stream([spoken("a")])
    Transcriber.from_pretrained(tmp_path, engine="torch").stream([spoken("a")])


def test_graphs_hear_what_torch_hears(model, transcriber, tmp_path):
    model.save_pretrained(tmp_path)
    export(SpeechModel, tmp_path)
    engine = Transcriber.from_pretrained(tmp_path, precision="fp32")
    sounds = [spoken(t, i) for i, t in enumerate(TEXTS)]
    expected = transcriber.transcribe(sounds)
    assert [f.text for f in engine.transcribe(sounds)] == [f.text for f in expected]
    assert engine.parameters == sum(p.numel() for p in model.parameters())


def test_threads_that_share_a_transcriber_hear_what_one_hears(transcriber):
    parts = [[spoken(t, i)] for i, t in enumerate(TEXTS)]
    alone, together = by_threads(transcriber.transcribe, parts)
    assert [f[0].text for f in together] == [f[0].text for f in alone]


def test_scores():
    scores = score_clips(["a b", "a c d", ""], ["a b", "a b", "c"])
    assert scores["exact"] == pytest.approx(100 / 3)
    assert scores["wer"] == pytest.approx(100 * 3 / 5)
    assert scores["cer"] == pytest.approx(100 * 4 / 7)
    with pytest.raises(ValueError, match="no clips"):
        score_clips([], [])


def test_subtitles():
    words = [Word("one", 0.5, 0.9, 1.0), Word("two", 1.0, 1.4, 1.0), Word("three", 3000.0, 3661.5, 1.0)]
    found = list(cues(words))
    assert found == [(0.5, 1.4, "one two"), (3000.0, 3661.5, "three")]
    assert srt(1, found[0]) == "1\n00:00:00,500 --> 00:00:01,400\none two\n"
    assert vtt(found[1]) == "00:50:00.000 --> 01:01:01.500\nthree\n"
    long = [Word("word", i / 2, i / 2 + 0.4, 1.0) for i in range(100)]
    assert all(len(text) <= 80 and end - start <= 6 for start, end, text in cues(long))
    assert sum(len(text.split()) for _, _, text in cues(long)) == 100


def test_the_drawing_is_written(transcriber, tmp_path):
    from speech.drawing import draw_alignment

    sound = spoken("dab cab", 2)
    (found,) = transcriber.transcribe([sound])
    draw_alignment(transcriber.spectrogram(sound), RATE, found, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000
    silence = np.zeros(80, np.float32)
    draw_alignment(transcriber.spectrogram(silence), RATE, Transcript((), 0.01), tmp_path / "b.png")
    assert torch.get_num_threads() == 1


def test_characters_that_ctc_puts_into_the_margins_are_timed_within_the_recording():
    reading = Reading("ab", 1.0, (("a", 1.0, 0.0), ("b", 1.0, 1.0)))
    found = _transcript([(0, 50)], [reading])
    assert found.characters == (("a", 0.0), ("b", 0.5))
    assert all(type(time) is float for _, time in found.characters)
