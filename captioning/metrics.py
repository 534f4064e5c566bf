"""BLEU, CIDEr-D and, through pycocoevalcap, METEOR and ROUGE-L, over tokens from `common.text.tokenize`."""

import contextlib
import importlib.util
import io
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

Tokens = Sequence[str]


def bleu(captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> list[float]:
    """BLEU-1 to BLEU-4 of the whole set (Papineni et al. 2002), between 0 and 1, as coco-caption computes it.

    NLTK's own `corpus_bleu` counts one n-gram for a caption that is too short to have any; COCO counts none.

    Args:
        captions: one an image.
        references: all references of each image.
    """
    from nltk.translate.bleu_score import closest_ref_length, modified_precision

    length = sum(map(len, captions))
    closest = sum(closest_ref_length(r, len(c)) for c, r in zip(captions, references, strict=True))
    penalty = math.exp(min(0.0, 1 - closest / length)) if length else 0.0
    scores, product = [], 1.0
    for n in range(1, 5):
        parts = [
            modified_precision(r, c, n) for c, r in zip(captions, references, strict=True) if len(c) >= n
        ]
        product *= max(sum(p.numerator for p in parts), 1e-15) / max(sum(p.denominator for p in parts), 1)
        scores.append(penalty * product ** (1 / n))
    return scores


class CiderD:
    """CIDEr-D (Vedantam, Zitnick, Parikh 2015, section 5), as pycocoevalcap computes it.

    TF-IDF vectors of 1- to 4-grams, clipped, compared by cosine, with a Gaussian penalty on the difference in
    length (sigma 6). The references' vectors are made once.

    Args:
        references: all references of each image; their document frequencies are the IDF.
    """

    def __init__(self, references: Sequence[Sequence[Tokens]], sigma: float = 6.0) -> None:
        self.sigma = sigma
        grams = [[_ngrams(reference) for reference in image] for image in references]
        self.frequency = Counter(gram for image in grams for gram in set().union(*image))
        self.log_images = math.log(len(references)) if references else 0.0
        self.references = [[self._vector(counts) for counts in image] for image in grams]

    def _vector(
        self, counts: Counter[tuple[str, ...]]
    ) -> tuple[list[dict[tuple[str, ...], float]], list[float], int]:
        """TF-IDF of each order, their norms, and the length, which pycocoevalcap counts in bigrams."""
        vector: list[dict[tuple[str, ...], float]] = [{}, {}, {}, {}]
        norms = [0.0] * 4
        for gram, count in counts.items():
            weight = count * (self.log_images - math.log(max(1, self.frequency.get(gram, 0))))
            vector[len(gram) - 1][gram] = weight
            norms[len(gram) - 1] += weight**2
        bigrams = sum(count for gram, count in counts.items() if len(gram) == 2)
        return vector, [math.sqrt(norm) for norm in norms], bigrams

    def scores(self, captions: Sequence[Tokens]) -> np.ndarray:
        """CIDEr-D of each caption against the references of the same position, between 0 and 10.

        Raises:
            ValueError: not as many captions as images.
        """
        if len(captions) != len(self.references):
            raise ValueError(f"CIDEr-D: {len(captions)} captions for {len(self.references)} images")
        return np.array([self._score(c, r) for c, r in zip(captions, self.references, strict=True)])

    def rewards(self, positions: Sequence[int], captions: Sequence[Tokens]) -> list[float]:
        """CIDEr-D of captions of any images, given by their positions among the references."""
        return [self._score(c, self.references[i]) for i, c in zip(positions, captions, strict=True)]

    def _score(self, caption: Tokens, references: list[Any]) -> float:
        vector, norms, length = self._vector(_ngrams(caption))
        total = 0.0
        for reference, reference_norms, reference_length in references:
            penalty = math.exp(-((length - reference_length) ** 2) / (2 * self.sigma**2))
            for n in range(4):
                if norms[n] and reference_norms[n]:
                    other = reference[n]
                    dot = sum(min(w, other[g]) * other[g] for g, w in vector[n].items() if g in other)
                    total += penalty * dot / (norms[n] * reference_norms[n])
        return 10.0 * total / (4 * len(references))


def _ngrams(tokens: Tokens) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for n in range(1, 5) for i in range(len(tokens) - n + 1))


def extra_metrics() -> tuple[list[str], list[str]]:
    """Which of METEOR and ROUGE-L can be had here, and a line on each that cannot. Cheap: call it first."""
    have, missing = [], []
    package = importlib.util.find_spec("pycocoevalcap") is not None
    for name, needs_java in (("meteor", True), ("rouge_l", False)):
        if not package:
            missing.append(f"{name} is left out: pip install 'visionrnn[coco-eval]'")
        elif needs_java and shutil.which("java") is None:
            missing.append(f"{name} is left out: it needs Java (java was not found on the path)")
        else:
            have.append(name)
    return have, missing


def evaluate_captions(
    captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]], extra: Sequence[str] = ()
) -> dict[str, float]:
    """Scores x 100: `bleu_1` to `bleu_4`, `cider_d`, and what `extra` names of `meteor` and `rouge_l`."""
    scores = {f"bleu_{n}": score for n, score in enumerate(bleu(captions, references), 1)}
    scores["cider_d"] = float(CiderD(references).scores(captions).mean())
    if extra:
        from pycocoevalcap.meteor.meteor import Meteor
        from pycocoevalcap.rouge.rouge import Rouge

        hypotheses = {i: [" ".join(caption)] for i, caption in enumerate(captions)}
        known = {i: [" ".join(reference) for reference in image] for i, image in enumerate(references)}
        for name in extra:
            with contextlib.redirect_stdout(io.StringIO()):
                scores[name] = float(
                    {"meteor": Meteor, "rouge_l": Rouge}[name]().compute_score(known, hypotheses)[0]
                )
    return {name: 100 * score for name, score in scores.items()}
