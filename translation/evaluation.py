"""Score a translation model on a parallel corpus: what `visionrnn evaluate translation` calls."""

import time
from dataclasses import dataclass
from typing import Any

from common.cli import loaded, waiting
from common.errors import UsageError
from common.evaluation import EvaluationFlags, facts, show, write_report
from common.files import check_folder
from translation.data import read_pairs
from translation.metrics import bleu, by_length, scores
from translation.subwords import words_of
from translation.translator import Translation, Translator


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(EvaluationFlags):
    """Score a translation model: BLEU and chrF of sacreBLEU, by length, and with unknown words.

    visionrnn evaluate translation --data DIR --split val --source en --target de --model NAME
        --report FILE.json
    """

    source: str
    """Language to translate from, as the files are named: en."""
    target: str
    """Language to translate to."""
    model: tuple[str, ...]
    """A bundled model, a model or run folder, or hub:user/name; several are averaged."""
    beam_size: int = 5
    """Beams; 1 is greedy search."""
    length_penalty: float = 1.0
    """0 ranks translations by probability, 1 by mean log-probability a subword."""
    batch_size: int = 64
    """Sentences at a time."""


def evaluate(config: EvaluationConfig) -> None:
    """Translate, score, print and write the report."""
    for name in ("beam_size", "batch_size"):
        if getattr(config, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} {getattr(config, name)}: must be at least 1")
    check_folder("--report", config.report)
    translator = loaded(Translator.from_pretrained, config)
    for flag, name, known in zip(
        ("source", "target"), (config.source, config.target), translator.model.languages, strict=True
    ):
        if name != known:
            languages = " to ".join(translator.model.languages)
            raise UsageError(f"--{flag} {name}: {' '.join(config.model)} translates {languages}")
    pairs = read_pairs(config.data, config.split, config.source, config.target)
    pairs = pairs[: config.limit] if config.limit else pairs
    sources, references = [pair.source for pair in pairs], [pair.target for pair in pairs]
    started = time.monotonic()
    with waiting(f"translating {len(sources):,} sentences"):
        found = translator.translate(
            sources,
            batch_size=config.batch_size,
            beam_size=config.beam_size,
            length_penalty=config.length_penalty,
        )
    seconds = time.monotonic() - started
    texts = [translation.text for translation in found]
    report = {
        **scores(texts, references),
        "per_length": by_length(sources, texts, references),
        "unknown_words": _unknown(found, sources, references),
        "num_pairs": len(pairs),
        "seconds": round(seconds, 2),
        **facts(config, translator),
        "model": " ".join(config.model),
        "source": config.source,
        "target": config.target,
        "attention": translator.model.config.attention,
        "input_feeding": translator.model.config.input_feeding,
        "cell": translator.model.config.cell,
        "bidirectional": translator.model.config.bidirectional,
        "parameters": translator.parameters,
        "beam_size": config.beam_size,
        "length_penalty": config.length_penalty,
    }
    show(report)
    details = [
        {
            "source": pair.source,
            "translation": text,
            "reference": pair.target,
            "log_prob": round(t.log_prob, 4),
        }
        for pair, text, t in zip(pairs, texts, found, strict=True)
    ]
    write_report({**report, "translations": details}, config.report)


def _unknown(found: list[Translation], sources: list[str], references: list[str]) -> dict[str, Any]:
    """How many words of the sentences training never read, and BLEU of the sentences that have such words."""
    total = sum(len(words_of(source)) for source in sources)
    unknown = sum(
        word in translation.unknown_words
        for translation, source in zip(found, sources, strict=True)
        for word in words_of(source)
    )
    chosen = [i for i, translation in enumerate(found) if translation.unknown_words]
    score = bleu([found[i].text for i in chosen], [references[i] for i in chosen]) if chosen else None
    return {
        "words": unknown,
        "percent": round(100 * unknown / max(1, total), 2),
        "sentences": len(chosen),
        "bleu": None if score is None else round(score, 2),
    }
