import random
from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from captioning.augmentation import (
    FUNCTION_WORDS,
    Concepts,
    Pairs,
    draw_pairs,
    numbered,
    read_sentences,
    vary,
)
from captioning.concepts import Recognised, Seen
from captioning.system import CaptioningSystem
from common.errors import DataError
from common.text import BOS, EOS, PAD, UNK, Vocabulary

WORDS = Vocabulary(
    ["a", "an", "the", "dog", "dogs", "cat", "cats", "elephant", "elephants", "guitar", "on", "sits", "two"]
)
NO_TAGS = torch.zeros(0, dtype=torch.long)
DOG, DOGS, CAT, CATS, ELEPHANT, GUITAR = WORDS.encode(["dog", "dogs", "cat", "cats", "elephant", "guitar"])


def ids(text, length=8):
    found = [BOS, *WORDS.encode(text.split()), EOS]
    return found + [PAD] * (length - len(found))


def tokens(*captions):
    """One caption an image: (N, 1, T)."""
    return torch.tensor([[ids(caption)] for caption in captions])


@pytest.fixture
def concepts():
    """A dog at 0.9 where captions say so, cats at 0.2 where none says so, a guitar that none ever names."""
    seen = Recognised(
        torch.zeros(3, 1000, dtype=torch.half),
        torch.tensor([[DOG, CAT, GUITAR], [DOG, CAT, PAD], [PAD, PAD, PAD]]),
        torch.tensor([[0.9, 0.2, 0.2], [0.9, 0.2, 0.0], [0.0, 0.0, 0.0]]),
    )
    captions = [[ids("a dog sits")], [ids("two dogs"), ids("a dog")], [ids("a cat sits")]]
    return Concepts(WORDS, NO_TAGS, seen, captions)


def test_what_the_classifier_finds_is_told_apart(concepts):
    assert concepts.hits.tolist() == pytest.approx([0.9, 0.9])
    assert CAT in concepts.other.tolist()
    assert DOG not in concepts.other.tolist()
    assert GUITAR not in concepts.other.tolist()
    assert concepts.singular[[DOG, DOGS, CATS]].tolist() == [DOG, DOG, CAT]
    assert not concepts.singular[WORDS.encode(["on", "sits", "two"])].any()
    assert concepts.kinds[DOG] == concepts.kinds[ELEPHANT] == "animal"


def test_imagined_concepts_are_those_of_the_sentence_and_doubts(concepts):
    torch.manual_seed(0)
    sentences = torch.tensor([ids("the elephant sits on two cats"), ids("a guitar"), ids("the two")] * 50)
    words, scores = concepts.imagine(sentences)
    assert words.shape == scores.shape == (150, 3)
    assert (scores.diff(dim=1) <= 0).all()
    assert ((words == PAD) == (scores == 0)).all()
    named = [{ELEPHANT, CAT}, {GUITAR}, set()] * 50
    found = 0
    for row, mentioned in enumerate(named):
        sure = {w for w, s in zip(words[row].tolist(), scores[row].tolist(), strict=True) if s > 0.5}
        assert sure <= mentioned  # as its plural or not, a thing is named once
        found += len(sure)
        doubts = set(words[row].tolist()) - sure - {PAD}
        assert doubts <= {CAT} - mentioned
    assert 60 < found < 150  # 150 are named, and most are found
    assert (words[2::3] == CAT).any()


def test_tags_are_imagined_too():
    sits, two = WORDS.encode(["sits", "two"])
    seen = Recognised(
        torch.zeros(2, 1002), torch.tensor([[sits, two], [two, PAD]]), torch.tensor([[0.7, 0.3], [0.6, 0.0]])
    )
    captions = [[ids("the dog sits")], [ids("two on a dog")]]
    concepts = Concepts(WORDS, torch.tensor([sits, two, PAD]), seen, captions)
    assert concepts.hits.tolist() == pytest.approx([0.7, 0.6])
    assert concepts.other.tolist() == [two, PAD]
    torch.manual_seed(0)
    words, scores = concepts.imagine(torch.tensor([ids("the dogs sits")] * 40))
    sure = [
        {w for w, s in zip(*row, strict=True) if s > 0.5}
        for row in zip(words.tolist(), scores.tolist(), strict=True)
    ]
    assert set().union(*sure) == {DOG, sits}


def test_a_repeated_thing_is_imagined_once(concepts):
    words, scores = concepts.imagine(torch.tensor([ids("a dog on the dog on dogs", 9)] * 30))
    assert ((words == DOG).sum(dim=1) <= 1).all()
    assert (words == DOG).any()
    assert scores.isfinite().all()


def test_an_exchange_changes_captions_and_what_is_seen_alike(concepts):
    before = tokens("a dog sits on the dog", "two dogs")
    words = torch.tensor([[DOG, CAT, PAD], [DOG, PAD, PAD]])
    scores = torch.tensor([[0.9, 0.2, 0.0], [0.8, 0.0, 0.0]])
    seen = Seen(torch.rand(2, 4, 3), words, scores)
    others = set()
    for seed in range(12):
        after, said = concepts.exchange(seen, before, 1.0, random.Random(seed))
        assert torch.equal(after.grid, seen.grid)
        new = int(after.words[0, 0])
        others.add(new)
        assert new not in (DOG, PAD)
        assert concepts.kinds[new] == "animal"
        assert after.words[0].tolist().count(new) == 1
        article = "an" if new == ELEPHANT else "a"
        assert said[0, 0].tolist()[1:3] == [WORDS.index(article), new]
        assert DOG not in said[0]
        assert said[0, 0, 6] == new
        assert said[0, 0, 5] == WORDS.index("the")  # only a and an change
        assert int(said[1, 0, 2]) == int(concepts.plurals[after.words[1, 0]])
        assert DOG not in after.words
        assert after.scores[:, 0].tolist() == pytest.approx([0.9, 0.8])
    assert others == {CAT, ELEPHANT}
    assert torch.equal(before, tokens("a dog sits on the dog", "two dogs"))  # in copies
    assert seen.words.tolist() == words.tolist()


def test_what_is_not_recognised_is_exchanged_too(concepts):
    seen = Seen(torch.rand(1, 4, 3), torch.tensor([[CAT, PAD, PAD]]), torch.tensor([[0.2, 0.0, 0.0]]))
    after, said = concepts.exchange(seen, tokens("a dog sits"), 1.0, random.Random(1))
    new = int(said[0, 0, 2])
    assert new in (CAT, ELEPHANT)
    assert new in after.words[0].tolist()
    assert float(after.scores[after.words == new].max()) == pytest.approx(0.9)  # as one that is found


def test_things_of_which_more_is_said_are_exchanged_in_more_often():
    words = Vocabulary(["a", "dog", "cat", "sits", *(f"word{i}" for i in range(50)), "elephant"])
    dog, cat, elephant = words.encode(["dog", "cat", "elephant"])
    seen = Recognised(torch.zeros(1, 1000), torch.tensor([[dog]]), torch.tensor([[0.9]]))
    text = [words.encode(["a", "dog", "sits"])]
    concepts = Concepts(words, NO_TAGS, seen, [text])
    counts = Counter(
        int(
            concepts.exchange(Seen(torch.rand(1, 4, 3), *seen[1:]), torch.tensor([text]), 1.0, chance)[
                0
            ].words[0]
        )
        for chance in map(random.Random, range(200))
    )
    assert set(counts) == {cat, elephant}
    assert counts[cat] > 2 * counts[elephant]


def test_concepts_that_no_caption_names_are_kept_from_the_images(concepts):
    seen = Seen(torch.rand(1, 4, 3), torch.tensor([[GUITAR, DOG, CAT]]), torch.tensor([[0.9, 0.5, 0.2]]))
    known = concepts.known(seen)
    assert known.words.tolist() == [[PAD, DOG, CAT]]
    assert known.scores[0].tolist() == pytest.approx([0.0, 0.5, 0.2])
    assert torch.equal(known.grid, seen.grid)


@pytest.mark.parametrize("sentences", [None, torch.tensor([ids("a guitar")])])
def test_only_sentences_take_unnamed_concepts_from_the_images(concepts, sentences):
    seen = Seen(torch.rand(1, 4, 3), torch.tensor([[GUITAR, DOG]]), torch.tensor([[0.9, 0.5]]))
    system = SimpleNamespace(see=lambda _: seen, concepts=concepts, sentences=sentences)
    words = CaptioningSystem.learnt(system, seen.grid).words
    assert words.tolist() == [[GUITAR if sentences is None else PAD, DOG]]


def test_nothing_of_the_kind_nothing_exchanged(concepts):
    before = tokens("a guitar sits", "the two", "a dog")
    seen = Seen(torch.rand(3, 4, 3), torch.zeros(3, 3, dtype=torch.long), torch.zeros(3, 3))
    after, said = concepts.exchange(seen, before, 1.0, random.Random(0))
    assert torch.equal(said[:2], before[:2])
    assert torch.equal(after.words[:2], seen.words[:2])
    assert not torch.equal(said[2], before[2])
    after, said = concepts.exchange(seen, before, 0.0, random.Random(0))
    assert torch.equal(said, before)


def test_a_vocabulary_without_the_classifiers_words():
    words = Vocabulary(["on", "sits"])
    none = Recognised(torch.zeros(1, 1000), torch.zeros(1, 3, dtype=torch.long), torch.zeros(1, 3))
    concepts = Concepts(words, NO_TAGS, none, [[[BOS, 4, 5, EOS]]])
    text = torch.tensor([[BOS, 4, 5, EOS]])
    found, scores = concepts.imagine(text)
    assert not found.any()
    assert not scores.any()
    seen = Seen(torch.rand(1, 4, 3), none.words, none.scores)
    after, said = concepts.exchange(seen, text[:, None], 1.0, random.Random(0))
    assert torch.equal(said, text[:, None])
    assert torch.equal(after.words, seen.words)


def test_sentences_and_what_is_left_out(tmp_path, capsys):
    file = tmp_path / "text.txt"
    file.write_bytes("\ufeffA dog sits.\r\n\n1234\nUn caf\u00e9\n".encode() + b"word " * 3000 + b"\nThe end")
    assert read_sentences(file) == [["a", "dog", "sits"], ["un", "caf\u00e9"], ["the", "end"]]
    said = capsys.readouterr().out
    assert "3 sentences from" in said
    assert "left out 1 lines of more than 10,000 characters, 2 without words" in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no sentence"),
        (b"\n\n12 34\n", "holds no sentence"),
        (b"a dog\nun caf\xe9\n", r"not UTF-8 \(byte 12\)"),
        ("a dog".encode("utf-16"), "not UTF-8"),
        (b"a dog sits " * 1_000_000, "holds no sentence"),
    ],
    ids=["empty", "no letters", "Latin-1", "UTF-16", "one line of 11 MB"],
)
def test_a_file_of_no_sentences_is_an_error_that_names_it(tmp_path, content, message):
    file = tmp_path / "text.txt"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_sentences(file)
    assert "text.txt" in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "gone.txt", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read_sentences(path)


def test_sentences_are_numbered_and_cut():
    found = numbered([["a", "dog"], ["the", "wug", "sits", "on", "a", "dog"]], WORDS, 4)
    the, sits, on = WORDS.encode(["the", "sits", "on"])
    assert found.tolist() == [
        [BOS, WORDS.index("a"), DOG, EOS, PAD, PAD],
        [BOS, the, UNK, sits, on, EOS],
    ]


@pytest.mark.parametrize("width", [4, 5])
def test_pairs_stand_half_and_half(width):
    maps = torch.arange(1.0, 4.0)[:, None, None, None].expand(3, 2, 3, width)
    pairs = Pairs(torch.tensor([0, 2]), torch.tensor([1, 0]), torch.tensor([True, False]))
    beside = pairs.beside(maps)
    assert beside.shape == maps.shape
    half = width // 2
    assert (beside[1] == 2).all()  # alone as before
    assert (beside[0, :, :, :half] == 1).all()
    assert (beside[0, :, :, half:] == 2).all()
    assert (beside[2, :, :, :half] == 1).all()
    assert (beside[2, :, :, half:] == 3).all()
    own = pairs.own((3, width)).view(2, 3, width)
    torch.testing.assert_close(own[0] + own[1], torch.ones(3, width))
    assert own[0, :, :half].eq(1).all()
    assert own[0, :, -half:].eq(0).all()
    assert own.sum().item() == 3 * width


def test_drawn_pairs_are_of_two():
    torch.manual_seed(0)
    pairs = draw_pairs(10, 0.5, torch.device("cpu"))
    assert len(set(pairs.rows.tolist())) == len(pairs.rows) == 5
    assert (pairs.rows != pairs.partners).all()
    assert pairs.partners.max() < 10
    assert len(draw_pairs(1, 1.0, torch.device("cpu")).rows) == 0
    assert len(draw_pairs(10, 0.0, torch.device("cpu")).rows) == 0


def test_varied_pictures_have_windows_mirrors_and_colours_of_their_own():
    torch.manual_seed(0)
    steady = torch.linspace(-1, 1, 30).expand(16, 3, 20, 30)
    found = vary(steady)
    assert found.shape == steady.shape
    slopes = found.diff(dim=3)[:, 0, 0, 10]
    assert {bool(slope > 0) for slope in slopes} == {True, False}  # some are mirrored
    assert len(slopes.abs().unique()) == 16  # each window is another
    assert found.abs().max() < 1.6
    grey = torch.zeros(16, 3, 20, 30)
    assert vary(grey).flatten(1).std(dim=1).max() < 1e-6  # nothing but brightness changes it
    assert vary(grey)[:, 0, 0, 0].unique().numel() == 16
    red = torch.tensor([1.0, 0, 0])[:, None, None].expand(16, 3, 20, 30)
    saturation = vary(red)[:, 0] - vary(red)[:, 1]
    assert 0.4 < saturation.min() < 0.9 < 1.1 < saturation.max() < 1.8


def test_function_words_name_nothing():
    assert {"a", "with", "two", "n't"} <= FUNCTION_WORDS
    assert not {"dog", "red", "runs"} & FUNCTION_WORDS
