"""Answers to questions about images: the class that users call."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import ImageError, UsageError, VisionError
from common.images import ImageSource
from common.predictor import Predictor, ranked, results
from common.search import reorder
from common.text import UNK, pad, tokenize
from vqa.on_graphs import OnGraphs

if TYPE_CHECKING:
    from vqa.model import VqaModel


@dataclass(frozen=True)
class Answer:
    """An answer to one question; `str(answer)` is its text."""

    text: str
    probability: float
    top: tuple[tuple[str, float], ...]
    """The most probable answers with their probabilities, this one first."""
    unknown_words: tuple[str, ...]
    """Words of the question that the model has never seen."""
    attention: np.ndarray
    """Attention weights, (hops, H, W), each map summing to 1; no hops for a model without attention."""

    def __str__(self) -> str:
        return self.text


class Answerer(Predictor["VqaModel | OnGraphs"]):
    """Answers questions about images with a trained model.

    Args:
        model: from training or `VqaModel.from_pretrained`.
        device: auto, cpu or cuda.
        precision: auto (bf16 where the hardware has it), bf16 or fp32.

    Example:
        >>> answerer = Answerer.from_pretrained("daquar")  # doctest: +SKIP
        >>> print(answerer.answer("room.jpg", "what is on the desk?"))  # doctest: +SKIP
    """

    graph_class = OnGraphs

    @classmethod
    def torch_class(cls) -> "type[VqaModel]":
        """See `Predictor.torch_class`."""
        from vqa.model import VqaModel

        return VqaModel

    def on_torch(self, model: Any) -> Any:
        """See `Predictor.on_torch`."""
        from vqa.on_torch import OnTorch

        return OnTorch(model, self.device, self.precision)

    def answer(self, image: ImageSource, question: str, *, top: int = 5) -> Answer:
        """Answer one question about one image.

        Args:
            image: path or Pillow image.
            question: in words.
            top: how many answers to give with their probabilities.

        Raises:
            ImageError: the image cannot be read.
            UsageError: no words, none that the model knows, or a top below 1.
        """
        return results(self.answer_each(image, [question], top=top))[0]

    def answer_each(
        self, image: ImageSource, questions: Sequence[str], *, top: int = 5
    ) -> Iterator[Answer | VisionError]:
        """Answer several questions about one image, which is encoded once, in order.

        A question that cannot be answered gives its UsageError and stops no other; an image that cannot be
        read gives its ImageError for each question. Raises UsageError for a top below 1.
        """
        tokenized: list[list[str] | VisionError] = []
        for question in questions:
            try:
                tokenized.append(self.tokenize(question))
            except UsageError as error:
                tokenized.append(error)
        known = [words for words in tokenized if isinstance(words, list)]
        answers: Iterator[Answer | VisionError] = iter(())
        if known:
            try:
                memory = self.remember(self.model.encoder.preprocess(image)[None])
            except ImageError as error:
                answers = repeat(error)
            else:
                answers = iter(self.answer_rows(reorder(memory, [0] * len(known)), known, top=top))
        for words in tokenized:
            yield next(answers) if isinstance(words, list) else words

    def tokenize(self, question: str) -> list[str]:
        """The words of a question. Raises UsageError where there are none or none is known."""
        words = tokenize(question)
        if not words:
            raise UsageError(f"the question {question!r} has no words")
        if all(i == UNK for i in self.model.vocabulary.encode(words)):
            raise UsageError(
                f"the model knows none of the words of {question[:80]!r}; ask in the language it was "
                "trained on, e.g. 'what is on the table?'"
            )
        return words

    def remember(self, images: np.ndarray) -> Any:
        """Preprocessed images (N, 3, H, W) -> what the network keeps of them, for `common.search.reorder`."""
        return self.network.remember(images)

    def answer_rows(self, memory: Any, questions: Sequence[Sequence[str]], *, top: int = 5) -> list[Answer]:
        """Answer questions, as words, each about the image in the same row of the memory."""
        if top < 1:
            raise UsageError(f"--top {top}: must be at least 1")
        vocabulary = self.model.vocabulary
        logits, maps = self.network.answer(memory, *pad([vocabulary.encode(words) for words in questions]))
        grids = maps.reshape(*maps.shape[:2], *self.model.encoder.grid)
        found: list[Answer] = []
        for row, words in enumerate(questions):
            best = ranked(logits[row], self.model.answers, top)
            unknown = tuple(w for w, i in zip(words, vocabulary.encode(words), strict=True) if i == UNK)
            found.append(Answer(*best[0], best, unknown, grids[row]))
        return found
