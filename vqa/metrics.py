"""VQA accuracy."""

import re
from collections import Counter
from collections.abc import Sequence

from vqa.data import Question, normalize

_ARTICLES = frozenset({"a", "an", "the"})
_NUMBERS = {
    word: str(i)
    for i, word in enumerate("zero one two three four five six seven eight nine ten".split())  # noqa: SIM905
} | {"none": "0"}
_PUNCTUATION = re.compile(r"(?<!\d)[.,](?!\d)|[;/\[\]\"{}()=+\\_\-<>@`?!:]|(?<=\d),(?=\d)")


def plain_answer(answer: str) -> str:
    """An answer as VQA's evaluation compares it: no punctuation, no articles, digits for small numbers."""
    words = _PUNCTUATION.sub(" ", normalize(answer)).split()
    return " ".join(_NUMBERS.get(word, word) for word in words if word not in _ARTICLES)


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
