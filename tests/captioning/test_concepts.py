import math

import pytest
import torch

from captioning.concepts import CLASSES, Classifier, concept_table, plural, plurals
from common.encoder import Encoder
from common.text import PAD, UNK, Vocabulary, tokenize

WORDS = Vocabulary(["dog", "dogs", "elephant", "cat", "run", "terrier"])
GRID = (2, 3)


def number(word: str) -> int:
    """Of the first class that stands for the word."""
    return next(i for i, (words, _) in enumerate(concept_table()) if words[:1] == (word,))


def classifier(concepts=3, vocabulary=WORDS, channels=8):
    """Channel i of a place says class i of "dog", "elephant", "cat", in this order; nothing else is said."""
    found = Classifier(vocabulary, channels, concepts)
    weight = torch.zeros(CLASSES, channels)
    for channel, word in enumerate(("dog", "elephant", "cat")):
        weight[number(word), channel] = 1.0
    found.fill(weight, torch.zeros(CLASSES))
    return found


def features(*channels, images=1, strength=60.0):
    grid = torch.zeros(images, GRID[0] * GRID[1], 8)
    grid[..., list(channels)] = strength
    return grid


def test_every_class_has_words_that_the_tokenizer_would_make():
    table = concept_table()
    assert len(table) == CLASSES
    for words, kind in table:
        assert len(set(words)) == len(words)
        assert all(tokenize(word) == [word] for word in words), words
        assert kind
    assert sum(not words for words, _ in table) < 50
    assert table[207][0][0] == "dog"  # golden retriever
    assert table[967][0][0] in ("coffee", "espresso")


@pytest.mark.parametrize(
    ("word", "expected"),
    [("dog", "dogs"), ("bus", "buses"), ("berry", "berries"), ("monkey", "monkeys"), ("knife", "knives"),
     ("box", "boxes"), ("couch", "couches"), ("sheep", "sheep"), ("mouse", "mice")],
)  # fmt: skip
def test_plural(word, expected):
    assert plural(word) == expected


def test_plurals_of_concepts_alone():
    dog, dogs, elephant = WORDS.encode(["dog", "dogs", "elephant"])
    found = plurals(WORDS)
    assert int(found[dog]) == dogs
    assert not found[[i for i in range(len(WORDS)) if i != dog]].any()
    assert int(found[elephant]) == PAD  # the plural is no word of the vocabulary


def test_the_surest_word_comes_first():
    seen = classifier()(torch.cat([features(1), features(2)]), GRID)
    assert seen.grid.shape == (2, 6, 8)
    assert seen.words.shape == seen.scores.shape == (2, 3)
    assert WORDS.decode(seen.words[:, 0].tolist()) == ["elephant", "cat"]
    torch.testing.assert_close(seen.scores[:, 0], torch.ones(2))
    assert (seen.scores.diff(dim=1) <= 0).all()


def test_a_small_thing_in_one_place_is_found():
    grid = features(1)  # an elephant everywhere, and in the corner also a cat that hides it
    grid[0, 0] = features(2)[0, 0] * 2
    seen = classifier()(grid, GRID)
    assert WORDS.decode(seen.words[0, :2].tolist()) == ["elephant", "cat"]


def test_a_words_score_is_the_sum_over_its_classes():
    found = Classifier(WORDS, 8, 6)
    found.fill(torch.zeros(CLASSES, 8), torch.zeros(CLASSES))  # each class has 1 / 1,000
    seen = found(torch.rand(1, 6, 8), GRID)
    for word in ("dog", "elephant", "terrier"):
        classes = sum(word in words[:3] for words, _ in concept_table())
        score = seen.scores[seen.words == WORDS.index(word)]
        torch.testing.assert_close(score, torch.tensor([classes / CLASSES]), rtol=1e-3, atol=1e-5)
    assert WORDS.index("run") not in seen.words.tolist()[0]  # the classifier has no class for it


def test_a_vocabulary_without_the_classifiers_words():
    seen = classifier(vocabulary=Vocabulary(["run", "jumps", "quickly", "very"]))(features(1), GRID)
    assert seen.words.tolist() == [[PAD] * 3]
    assert not seen.scores.any()


def test_a_vocabulary_of_fewer_words_than_concepts():
    words = Vocabulary(["elephant"])
    seen = classifier(8, words)(features(1, images=2), GRID)
    assert seen.words.tolist() == [[words.index("elephant"), *[PAD] * 7]] * 2
    assert seen.scores[:, 0].tolist() == pytest.approx([1.0, 1.0])


def test_a_picture_where_nothing_is_recognised():
    """Another class, which no word stands for, is certain: every word's score is 0 or next to it."""
    found = classifier()
    nameless = next(i for i, (words, _) in enumerate(concept_table()) if WORDS.encode(words) == [UNK])
    found.bias[nameless] = 500.0
    seen = found(torch.zeros(1, 6, 8), GRID)
    assert not seen.scores.any()
    assert seen.words.tolist() == [[PAD] * 3]


def test_without_concepts_only_the_grid_passes():
    grid = features(1, images=2)
    seen = Classifier(WORDS, 8, 0)(grid, GRID)
    assert seen.grid is grid
    assert seen.words.shape == seen.scores.shape == (2, 0)
    assert seen.words.dtype == torch.long


def test_half_precision_says_the_same():
    found, grid = classifier(), torch.rand(3, 6, 8) * 20
    full, half = found(grid, GRID), found(grid.bfloat16(), GRID)
    torch.testing.assert_close(full.scores, half.scores, rtol=0.1, atol=0.05)
    assert half.grid.dtype == torch.bfloat16


def test_batches_are_recognised_as_one():
    found, grid = classifier(), torch.rand(5, 6, 8) * 20
    together = found.recognise([grid], GRID)
    apart = found.recognise(grid.split(2), GRID)
    assert together.classes.shape == (5, CLASSES)  # and no tags
    torch.testing.assert_close(together.classes.float().sum(1), torch.ones(5), rtol=0.01, atol=0.01)
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other)
    seen = found(grid, GRID)
    assert torch.equal(together.words, seen.words)
    assert math.isclose(float(together.scores.sum()), float(seen.scores.sum()), rel_tol=1e-5)


def test_the_package_brings_the_classifier_of_its_encoder():
    encoder = Encoder.pretrained("tf_efficientnet_lite0")
    found = encoder.classifier()
    assert found is not None
    weight, bias = found
    assert weight.shape == (CLASSES, encoder.out_channels)
    assert bias.shape == (CLASSES,)
    assert Encoder("resnet18").classifier() is None


def test_tags_are_learnt_from_captions():
    """Channel 4 is high where captions say "run"; half of a picture's captions may leave it out."""
    found = Classifier(WORDS, 8, 3, tags=3)
    run, dog = WORDS.encode(["run", "dog"])
    torch.manual_seed(0)
    means = torch.rand(400, 8)
    runs = means[:, 4] > 0.5
    captions = [[[run, dog], [run]] if yes else [[dog], []] for yes in runs.tolist()]
    found.learn(means, captions, [dog, run, PAD])
    assert found.tags.tolist() == [dog, run, PAD]
    strong, weak = torch.rand(2, 1, 6, 8)
    strong[..., 4], weak[..., 4] = 1.0, 0.0
    scores = found.scores(torch.cat([strong, weak]), GRID)
    assert scores[0, run] > scores[1, run] + 0.02  # few steps: it is not to know train by heart
    assert scores[:, dog].min() > 0.3
    assert not scores[:, PAD].any()
    again = Classifier(WORDS, 8, 3, tags=3)
    again.learn(means, captions, [dog, run, PAD])
    assert torch.equal(again.tag_weight, found.tag_weight)  # a resumed run learns the same
    recognised = found.recognise([strong], GRID)
    assert recognised.classes.shape == (1, CLASSES + 3)
    assert run in recognised.words


def test_change_is_nothing_for_what_was_recognised():
    found = Classifier(WORDS, 8, 3, tags=2)
    found.fill(0.1 * torch.randn(CLASSES, 8), torch.zeros(CLASSES))
    found.tag_weight.copy_(torch.randn(2, 8))
    grid = torch.rand(4, 6, 8)
    before = found.recognise([grid], GRID).classes.float()
    other = (2 * grid).requires_grad_()
    change = found.change(other, before)
    assert abs(found.change(grid, before).item()) < 0.01 < change.item()
    change.backward()
    assert other.grad.abs().sum() > 0


def test_tags_of_a_single_image_are_numbers():
    classifier = Classifier(Vocabulary(["a", "dog", "runs"]), 5, 2, 2)
    classifier.learn(torch.rand(1, 5), [[[4, 5, 6]]], [5, 6])
    assert classifier.tag_weight.isfinite().all()
    assert classifier.tag_bias.isfinite().all()
