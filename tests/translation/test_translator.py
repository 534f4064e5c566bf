import warnings

import numpy as np
import pytest
import sacrebleu

from common.errors import UsageError, VisionWarning
from tests.conftest import by_threads, on_both_engines
from tests.translation.conftest import learn, sentence_pairs, tiny_translator
from translation import Translator
from translation.metrics import bleu, by_length, scores
from translation.translator import _words

PAIRS = sentence_pairs(48)


@pytest.fixture(scope="module")
def translator(translator_model):
    return Translator(translator_model, "cpu", "fp32")


def test_what_was_learnt_is_said(translator):
    found = translator.translate([pair.source for pair in PAIRS])
    right = sum(str(t) == pair.target for t, pair in zip(found, PAIRS, strict=True))
    assert right >= 44
    assert found[0].unknown_words == ()
    assert "".join(found[0].tokens).replace("\u2581", " ").strip() == found[0].text
    assert found[0].log_prob < 0


def test_one_equals_many(translator):
    sources = [pair.source for pair in PAIRS[:10]]
    together = translator.translate(sources, n_best=2)
    for size in (1, 3):
        for one, other in zip(
            together, translator.translate(sources, batch_size=size, n_best=2), strict=True
        ):
            assert one.text == other.text
            assert one.log_prob == pytest.approx(other.log_prob, abs=1e-3)
    alone = translator.translate(sources[4:5], n_best=2)[0]
    assert (alone.text, alone.alternatives[0].text) == (together[4].text, together[4].alternatives[0].text)


def test_n_best_are_different_and_in_order(translator):
    (found,) = translator.translate([PAIRS[0].source], n_best=4)
    ranked = [found, *found.alternatives]
    assert len({t.text for t in ranked}) == 4
    assert [t.score for t in ranked] == sorted((t.score for t in ranked), reverse=True)


@pytest.mark.parametrize("text", ["", "  ", "\u2028"])
def test_an_empty_sentence_has_an_empty_translation(translator, text):
    found = translator.translate([PAIRS[0].source, text, PAIRS[1].source])
    assert [t.text for t in found][1] == ""
    assert found[0].text == PAIRS[0].target
    assert found[2].text == PAIRS[1].target
    assert translator.translate([text])[0].tokens == ()
    assert translator.translate([]) == []


def test_a_line_of_2000_words_is_translated_in_parts(translator):
    sentences = [pair.source for pair in PAIRS]
    text = " ".join((sentences * 10)[:220])
    assert len(text.split()) > 2000 - 600
    with pytest.warns(VisionWarning, match=r"subwords, more than the 40 .* parts"):
        (found,) = translator.translate([text])
    assert found.text.split(".")[0] == PAIRS[0].target.removesuffix(".")
    assert found.text.count(".") == pytest.approx(220, abs=15)
    with pytest.warns(VisionWarning):
        (found,) = translator.translate(["a red dog sees " * 500], n_best=2)
    assert len(found.text.split()) > 500
    assert len(found.alternatives) == 1


def test_a_long_word_is_cut(translator):
    with pytest.warns(VisionWarning):
        (found,) = translator.translate(["dog" * 300])
    assert found.unknown_words == ("dog" * 300,)


@pytest.mark.parametrize("text", ["犬が走る。", "\U0001f600 \U0001f600", "\x00\x07", "Здравствуй"])
def test_a_language_that_it_does_not_know_is_no_failure(translator, text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = translator.translate([text])
    assert isinstance(found.text, str)


def test_unknown_words_are_named(translator):
    (found,) = translator.translate(["A Zebra sees a red zebra and a TREE."])
    assert found.unknown_words == ("zebra",)


def test_a_string_is_refused(translator):
    with pytest.raises(TypeError, match="takes a list"):
        translator.translate("A red dog.")


def test_an_ensemble_averages_probabilities(translator_model, translator):
    twice = Translator([translator_model, translator_model], "cpu", "fp32")
    source = [PAIRS[0].source]
    assert twice.translate(source)[0].log_prob == pytest.approx(
        translator.translate(source)[0].log_prob, abs=1e-3
    )
    other = tiny_translator(PAIRS, seed=1)
    mixed = Translator([translator_model, other], "cpu", "fp32").translate(source)[0]
    assert mixed.log_prob < translator.translate(source)[0].log_prob
    with pytest.raises(UsageError, match="same subwords"):
        Translator([translator_model, tiny_translator(sentence_pairs(3))])
    with pytest.raises(UsageError, match="no model"):
        Translator([])


def test_attention_is_on_the_word_that_is_translated(translator):
    pair = PAIRS[0]
    words, source_words, weights = translator.attention(pair.source, pair.target)
    assert words == pair.target.split()
    assert source_words == pair.source.split()
    assert weights.shape == (len(words), len(source_words))
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-4)
    with pytest.raises(ValueError, match="one is empty"):
        translator.attention("", "x")
    without = Translator(tiny_translator(attention="none"), "cpu", "fp32")
    with pytest.raises(ValueError, match="no attention"):
        without.attention(pair.source, pair.target)


def test_subwords_are_joined_to_words():
    assert _words(["\u2581a", "\u2581do", "g", "."]) == [("a", [0]), ("dog.", [1, 2, 3])]
    assert _words(["do", "g"]) == [("dog", [0, 1])]
    assert _words(["\u2581", "犬"]) == [("犬", [0, 1])]


def test_scores_equal_sacrebleu():
    found = ["ein Hund sieht einen Baum .", "eine Katze", "Vögel singen im Wald"]
    references = ["ein Hund sieht einen alten Baum.", "eine Katze", "die Vögel singen laut im Wald"]
    report = scores(found, references)
    assert report["bleu"] == pytest.approx(sacrebleu.corpus_bleu(found, [references]).score, abs=0.01)
    assert report["chrf"] == pytest.approx(sacrebleu.corpus_chrf(found, [references]).score, abs=0.01)
    assert "tok:13a" in report["signature"]["bleu"]
    assert bleu(references, references) == pytest.approx(100)


def test_scores_by_length():
    sources = ["w " * 9, "w " * 10, "w " * 20, "w " * 35]
    texts = ["das ist ein Satz", "ein Hund und eine Katze", "ein Baum", "noch ein alter Baum steht"]
    groups = by_length(sources, texts, texts)
    assert [(group["words"], group["sentences"]) for group in groups] == [
        ("1-9", 1),
        ("10-14", 1),
        ("20-", 2),
    ]
    assert groups[0]["bleu"] == pytest.approx(100)


def test_threads_that_share_a_translator_say_what_one_says(translator):
    parts = [[pair.source for pair in PAIRS[i : i + 6]] for i in range(0, 36, 6)]
    alone, together = by_threads(translator.translate, parts)
    for expected, found in zip(alone, together, strict=True):
        assert [t.text for t in found] == [t.text for t in expected]
        assert [t.log_prob for t in found] == pytest.approx([t.log_prob for t in expected], abs=1e-4)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize(
    "sizes", [{"attention": "dot"}, {"attention": "additive", "input_feeding": True}, {"attention": "none"}]
)
def test_the_engine_says_what_torch_says(tmp_path, cell, sizes):
    model = tiny_translator(PAIRS, cell=cell, **sizes)
    learn(model, PAIRS, 20)
    engine, on_torch = on_both_engines(Translator, model, tmp_path)
    sources = [pair.source for pair in PAIRS[:8]]
    for found, expected in zip(engine.translate(sources), on_torch.translate(sources), strict=True):
        assert (found.text, found.tokens) == (expected.text, expected.tokens)
        assert found.log_prob == pytest.approx(expected.log_prob, abs=1e-3)
    if sizes["attention"] != "none":
        maps = [each.attention(sources[0], PAIRS[0].target)[2] for each in (engine, on_torch)]
        np.testing.assert_allclose(*maps, atol=1e-4)
    twice = Translator.from_pretrained([tmp_path, tmp_path], "cpu", "fp32")
    assert twice.translate(sources[:1])[0].text == engine.translate(sources[:1])[0].text
    assert twice.parameters == 2 * engine.parameters
