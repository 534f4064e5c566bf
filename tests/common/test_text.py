import json
import shutil

import pytest

from common.text import BOS, EOS, PAD, UNK, Vocabulary, detokenize, tokenize

CAPTIONS = [
    "A man's dog doesn't run.",
    "Two dogs run . A cat sits, quietly; alone!",
    'He said "hello there" twice.',
    "A boy can't do it... he won't",
    "A 5-year-old's toy",
    "it's the girls' ball",
    "the U.S. flag",
    "a dog \u2019s collar",
    "100% cotton",
    "a black/white dog",
    "10,000 people",
    "I'm you're we've he'd I'll",
    "a caf\u00e9 d'or",
    "colon:word",
    "\u201cquoted\u201d text",
    "man-made \u2013 thing",
    "x - y",
    "dog running.Cat sitting",
]


def test_lower_case_no_punctuation():
    assert tokenize("A man, in a HAT: 'yes' (really)!") == ["a", "man", "in", "a", "hat", "yes", "really"]
    assert tokenize("One dog. Another dog.") == ["one", "dog", "another", "dog"]
    assert tokenize(" \t ") == tokenize("...") == []


@pytest.mark.skipif(shutil.which("java") is None, reason="the reference tokeniser is a Java program")
def test_tokens_equal_those_of_coco():
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    told = PTBTokenizer().tokenize({i: [{"caption": c}] for i, c in enumerate(CAPTIONS)})
    assert [tokenize(c) for c in CAPTIONS] == [told[i][0].split() for i in range(len(CAPTIONS))]


@pytest.mark.parametrize("text", CAPTIONS)
def test_a_detokenized_caption_has_the_same_tokens(text):
    assert tokenize(detokenize(tokenize(text))) == tokenize(text)


def test_detokenize_closes_contractions():
    assert detokenize(["a", "man", "'s", "dog", "does", "n't", "run"]) == "a man's dog doesn't run"


def test_vocabulary_counts_encodes_and_survives_json():
    vocabulary = Vocabulary.build([["a", "dog", "a"], ["a", "cat"], ["dog"]], min_count=2)
    assert vocabulary.words[4:] == ("a", "dog")
    assert vocabulary.encode(["a", "cat", "dog"]) == [4, UNK, 5]
    assert vocabulary.decode([BOS, 4, 5, EOS, 4, PAD]) == ["a", "dog"]
    assert Vocabulary(json.loads(json.dumps(vocabulary.to_list()))).words == vocabulary.words
    assert len(vocabulary) == 6


def test_vocabulary_refuses_a_word_twice():
    with pytest.raises(ValueError, match="'dog' stands there more than once"):
        Vocabulary(["dog", "cat", "dog"])
    with pytest.raises(ValueError, match="<pad>"):
        Vocabulary(["<pad>"])
