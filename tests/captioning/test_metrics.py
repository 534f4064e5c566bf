import shutil

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider

from captioning import metrics

WORDS = [
    "a",
    "man",
    "dog",
    "is",
    "on",
    "the",
    "grass",
    "red",
    "ball",
    "two",
    "people",
    "run",
    "in",
    "water",
    "with",
    "hat",
    "and",
    "big",
    "small",
]


def captions(images=60, seed=0):
    """Random captions and references that share words, lengths 0 to 12, with repeats."""
    random = np.random.default_rng(seed)

    def sentence(low):
        return list(random.choice(WORDS, random.integers(low, 13)))

    references = [[sentence(1) for _ in range(random.integers(1, 6))] for _ in range(images)]
    told = [list(r[0][: random.integers(1, 9)]) + sentence(0)[:3] for r in references]
    told[0], told[1], told[2] = [], references[1][0], ["unheard"] * 5
    return told, references


def as_coco(told, references):
    known = {i: [" ".join(r) for r in image] for i, image in enumerate(references)}
    return known, {i: [" ".join(t)] for i, t in enumerate(told)}


@pytest.mark.parametrize("seed", range(5))
def test_bleu_and_cider_equal_pycocoevalcap(seed, capsys):
    told, references = captions(seed=seed)
    known, said = as_coco(told, references)
    np.testing.assert_allclose(
        metrics.bleu(told, references), Bleu(4).compute_score(known, said)[0], atol=1e-6
    )
    mean, each = Cider().compute_score(known, said)
    ours = metrics.CiderD(references).scores(told)
    np.testing.assert_allclose(ours, each, atol=1e-9)
    assert metrics.evaluate_captions(told, references)["cider_d"] == pytest.approx(100 * mean)


def test_the_extremes():
    _, references = captions()
    perfect = [image[0] for image in references]
    assert metrics.bleu(perfect, references)[0] == pytest.approx(1.0)
    assert metrics.CiderD(references).scores([["unheard"]] * 60).max() == 0
    assert max(metrics.bleu([["unheard"]] * 60, references)) < 1e-6
    with pytest.raises(ValueError, match="1 captions for 60 images"):
        metrics.CiderD(references).scores([["a"]])


def test_extra_metrics_say_what_is_missing_and_why(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    have, missing = metrics.extra_metrics()
    assert have == ["rouge_l"]
    assert "Java" in missing[0]
    monkeypatch.setattr(metrics.importlib.util, "find_spec", lambda name: None)
    have, missing = metrics.extra_metrics()
    assert have == []
    assert all("pip install" in line for line in missing)


@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR is a Java program")
def test_meteor_and_rouge_are_computed_where_java_is():
    told, references = captions(8)
    scores = metrics.evaluate_captions(told, references, metrics.extra_metrics()[0])
    assert 0 < scores["meteor"] < 100
    assert 0 < scores["rouge_l"] < 100
