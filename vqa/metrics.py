"""VQA accuracy, and the scores of answers that are sets."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

from vqa.data import Question, normalize

_ARTICLES = frozenset({"a", "an", "the"})
_NUMBERS = {
    word: str(i)
    for i, word in enumerate("zero one two three four five six seven eight nine ten".split())  # noqa: SIM905
} | {"none": "0"}
_CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
he'd've he's how'd how'll how's i'd've i'm i've isn't it'd it'd've it'll ma'am might've mightn't mightn't've
must've mustn't needn't not've o'clock oughtn't shan't she'd've should've shouldn't shouldn't've
somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've
something'll that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas
wasn't we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've
who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd
you'd've you'll you're you've
""".split()  # noqa: SIM905
"""Those that are hardly another word without their apostrophe, as "were" and "well" are."""
_APOSTROPHES = {
    word[:at] + word[at + 1 :]: word for word in _CONTRACTIONS for at, c in enumerate(word) if c == "'"
}
_BETWEEN_DIGITS = re.compile(r"(?<=\d),(?=\d)")
_PUNCTUATION = re.compile(r"[;/\[\]\"{}()=+\\_\-<>@`,?!]")
_PERIOD = re.compile(r"\.(?!\d)")


def plain_answer(answer: str) -> str:
    """An answer as VQA's evaluation compares it, by the rules at visualqa.org/evaluation.html.

    Lower case; periods go but before a decimal; a comma between digits goes, other punctuation becomes a
    space, apostrophes and colons stay; digits for numbers up to ten; no articles; contractions get their
    missing apostrophe.

    >>> plain_answer("The boys dont have 1,000.5 dogs.")
    "boys don't have 1000.5 dogs"
    """
    text = _PUNCTUATION.sub(" ", _BETWEEN_DIGITS.sub("", normalize(answer)))
    words = [_NUMBERS.get(word, word) for word in _PERIOD.sub("", text).split()]
    return " ".join(_APOSTROPHES.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(answer: str, given: Sequence[str]) -> float:
    """How right an answer is, 0 to 1.

    With several people's answers, the rule of VQA v2 (Antol et al. 2015, section 3): right is what three of
    the others said, min(matches / 3, 1), averaged over leaving out each person once, compared by
    `plain_answer`. With one answer, exact match but for case and spaces.
    """
    if len(given) == 1:
        return float(normalize(answer) == normalize(given[0]))
    matches = [plain_answer(answer) == plain_answer(other) for other in given]
    shares = [min(1.0, (sum(matches) - matches[left_out]) / 3) for left_out in range(len(given))]
    return sum(shares) / len(shares)


Similarity = Callable[[str, str], float]
"""Of two words, 0 to 1."""


def equal(one: str, other: str) -> float:
    """1 for the same word, else 0: with it `set_score` is the exact match of sets."""
    return float(one == other)


def things(answer: str) -> frozenset[str]:
    """What an answer names: DAQUAR writes several things with commas between them.

    >>> sorted(things("Table, chair"))
    ['chair', 'table']
    """
    return frozenset(part for piece in answer.split(",") if (part := normalize(piece)))


def set_score(answer: str, given: str, similarity: Similarity) -> float:
    """How right a set of things is (Malinowski & Fritz 2014, section 5.1), 0 to 1, in any order.

    Of the things of each set, each is compared with the most similar one of the other set and the
    similarities are multiplied; the lower of the two products counts. With `vqa.wordnet`'s similarity this is
    WUPS.
    """
    found, right = things(answer), things(given)

    def covered(these: frozenset[str], those: frozenset[str]) -> float:
        return math.prod(max((similarity(one, other) for other in those), default=0.0) for one in these)

    return min(covered(found, right), covered(right, found))


def score_sets(answers: Sequence[str], questions: Sequence[Question], similarity: Similarity) -> float:
    """The mean `set_score` x 100 over questions with one answer each.

    Raises:
        ValueError: no question, or another number of answers.
    """
    if not questions:
        raise ValueError("no questions to score")
    scores = [set_score(a, q.answers[0], similarity) for a, q in zip(answers, questions, strict=True)]
    return 100 * sum(scores) / len(scores)


def score_answers(answers: Sequence[str], questions: Sequence[Question]) -> dict[str, object]:
    """Accuracy x 100, over all questions and by type.

    Raises:
        ValueError: no question, or another number of answers.
    """
    if not questions:
        raise ValueError("no questions to score")
    right = [vqa_accuracy(a, q.answers) for a, q in zip(answers, questions, strict=True)]

    def by(kinds: list[str]) -> dict[str, dict[str, float]]:
        counts, sums = Counter(kinds), Counter[str]()
        for kind, score in zip(kinds, right, strict=True):
            sums[kind] += score  # type: ignore[assignment]
        return {
            kind: {"accuracy": round(100 * sums[kind] / count, 2), "num_questions": count}
            for kind, count in counts.most_common()
        }

    return {
        "accuracy": 100 * sum(right) / len(right),
        "by_answer_type": by([question.answer_type for question in questions]),
        "by_question_type": by([question.question_type for question in questions]),
    }
