import json
import math
from pathlib import Path

import nltk.corpus
import nltk.data
import pytest
from nltk.corpus.reader import WordNetCorpusReader
from nltk.corpus.util import LazyCorpusLoader

from tests.vqa.conftest import tiny_answerer, write_questions
from vqa import wordnet
from vqa.data import Question
from vqa.metrics import equal, score_sets, set_score, things

MEANINGS = [
    (("entity",), None),
    (("object",), 0),
    (("furniture",), 1),
    (("seat",), 2),
    (("chair",), 3),
    (("armchair", "easy_chair"), 4),
    (("table",), 2),
    (("animal",), 0),
]
"""The words of each meaning, and the meaning above it."""


def write_wordnet(root: Path) -> None:
    """A WordNet of a few nouns, as Debian's package has its files."""
    root.mkdir()
    head, rows, index = "  a few nouns\n", [], {}
    sizes = [len(head)]
    for shift in (False, True):  # first for the lengths of the lines, then with their places
        places = [sum(sizes[: i + 1]) for i in range(len(MEANINGS))] if shift else [0] * len(MEANINGS)
        rows = []
        for i, (words, above) in enumerate(MEANINGS):
            named = " ".join(f"{word} 0" for word in words)
            up = "000" if above is None else f"001 @ {places[above]:08d} n 0000"
            rows.append(f"{places[i]:08d} 03 n {len(words):02x} {named} {up} | said  \n")
            index |= dict.fromkeys(words, places[i])
        sizes = [len(head), *map(len, rows)]
    (root / "data.noun").write_text(head + "".join(rows))
    lines = [f"{word} n 1 0 1 0 {place:08d}  \n" for word, place in sorted(index.items())]
    (root / "index.noun").write_text("".join(lines))
    names = ["cntlist.rev"]
    names += [f"{kind}.{part}" for kind in ("data", "index") for part in ("adj", "adv", "verb")]
    names += [f"{part}.exc" for part in ("adj", "adv", "noun", "verb")]
    for name in names:
        (root / name).touch()


@pytest.fixture
def without_nltk_data(monkeypatch):
    """NLTK finds no WordNet of its own."""
    none = LazyCorpusLoader("nothing_like_it", WordNetCorpusReader, None)
    monkeypatch.setattr(nltk.corpus, "wordnet", none)
    monkeypatch.setattr(nltk.data, "path", list(nltk.data.path))


@pytest.fixture
def debian(tmp_path, monkeypatch, without_nltk_data):
    write_wordnet(tmp_path / "wordnet")
    monkeypatch.setattr(wordnet, "DEBIAN", tmp_path / "wordnet")


def asked(*answers: str) -> list[Question]:
    return [Question(i, None, "what is it?", (answer,), "", "") for i, answer in enumerate(answers)]


def test_a_set_is_compared_in_any_order():
    assert things(" Chair, table ,,chair") == {"chair", "table"}
    assert set_score("table, chair", "chair, table", equal) == 1
    assert set_score("table", "chair, table", equal) == 0
    assert set_score("chair, table", "table", equal) == 0
    assert set_score("", "table", equal) == set_score(",", "table", equal) == 0


def test_similarities_of_a_set_are_multiplied_and_the_lower_product_counts():
    def similarity(one: str, other: str) -> float:
        return 1.0 if one == other else 0.5

    assert set_score("a", "b", similarity) == 0.5
    assert set_score("a, b", "a, c", similarity) == 0.5
    assert set_score("a", "a, b, c", similarity) == 0.25  # one way 1, the other 1 * 0.5 * 0.5
    assert score_sets(["a", "b"], asked("a", "c"), similarity) == 75
    with pytest.raises(ValueError, match="no questions"):
        score_sets([], [], similarity)


@pytest.mark.usefixtures("debian")
def test_similarity_is_wu_and_palmers():
    similarity = wordnet.find_similarity()
    assert similarity is not None
    assert similarity("chair", "chair") == similarity("zebra", "zebra") == 1
    assert similarity("armchair", "easy chair") == 1  # one meaning
    # the meaning above both is 5 deep; from it, and from the top, the two are 0 + 5 and 1 + 5 steps away
    assert similarity("chair", "armchair") == pytest.approx(2 * 5 / (5 + 6))
    assert similarity("seat", "table") == pytest.approx(0.1 * 2 * 3 / (4 + 4))
    assert 0 < similarity("chair", "animal") < 0.1
    assert similarity("chair", "zebra") == 0
    assert math.isclose(set_score("chair, table", "table, armchair", similarity), 10 / 11)


@pytest.mark.usefixtures("without_nltk_data")
def test_without_wordnet_there_is_no_similarity(monkeypatch, tmp_path):
    monkeypatch.setattr(wordnet, "DEBIAN", tmp_path / "nothing")
    assert wordnet.find_similarity() is None


@pytest.mark.parametrize("found", [True, False])
def test_a_report_has_wups_where_there_is_wordnet(found, request, script, tmp_path, monkeypatch):
    request.getfixturevalue("debian" if found else "without_nltk_data")
    if not found:
        monkeypatch.setattr(wordnet, "DEBIAN", tmp_path / "nothing")
    data, report = write_questions(tmp_path / "set"), tmp_path / "report.json"
    for name, kind in (("model", "san"), ("blind", "question_only")):
        tiny_answerer(kind).save_pretrained(tmp_path / name)
    done = script(
        "evaluate_vqa.py", "--data", data, "--model", tmp_path / "model", "--question-only",
        tmp_path / "blind", "--report", report,
    )  # fmt: skip
    assert done.code == 0, done.err
    scores = json.loads(report.read_text())
    assert scores["set_accuracy"] == scores["accuracy"]
    assert ("wups_0_9" in scores, "question_only_wups_0_9" in scores) == (found, found)
    assert ("no WordNet here" in done.out) != found


def test_answers_of_several_people_are_no_sets(script, tmp_path):
    data, report = write_questions(tmp_path / "set", people=3), tmp_path / "report.json"
    tiny_answerer().save_pretrained(tmp_path / "model")
    done = script("evaluate_vqa.py", "--data", data, "--model", tmp_path / "model", "--report", report)
    assert done.code == 0, done.err
    assert "set_accuracy" not in json.loads(report.read_text())
