"""Score a recognizer on labelled lines and pages: what `scripts/evaluate_ocr.py` calls."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch
from torchmetrics.functional.text import char_error_rate

from common.charset import composed
from common.cli import command_line, loaded, progress
from common.engine import limit_threads
from common.errors import DataError, ImageError, UsageError
from common.evaluation import ReportFlags, left_out, show, write_report
from common.files import check_folder, load_json
from ocr.found import AUTO, FINDER, NONE
from ocr.labels import LABELS, LmdbRecord, TextLine, read_lines
from ocr.metrics import bag_of_words_f1, score_lines
from ocr.reader import BEAM_SIZE, TextReader

_WORST = 50  # of each folder
_COUNTS = ("num_lines", "unknown_labels")  # of several folders these are added up


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(ReportFlags):
    """Score a recognizer on labelled lines (`--data`), whole pages (`--pages`), or both.

    visionrnn evaluate ocr --data DIR --model NAME --report FILE.json
    """

    model: str = "english"
    """A bundled model, a model or run folder, or hub:user/name."""
    finder: str = AUTO
    """Model that finds the lines of pages: auto (the bundled one), none (their ink alone), or a name."""
    data: tuple[Path, ...] = ()
    """Folders with labels.tsv, or LMDB folders. Of several each is scored, and the scores are their means."""
    last: tuple[str, ...] = ()
    """Only the last rows or groups of each folder, as 300rows or 40groups, or a fold of its groups, as
    2of5groups; all by default."""
    pages: Path | None = None
    """Folder of whole pages, NNN.jpg, each with its text lines in NNN.json."""
    beam_size: int = BEAM_SIZE
    """Texts kept by the beam search with the model's language model; 1 is greedy decoding."""
    batch_size: int = 32
    """Lines at a time."""


def evaluate(config: EvaluationConfig) -> int:
    """Read, score, print and write the report; 1 if an image could not be read.

    Lines are read on one thread, files and decoding included, so that `lines_per_second` compares.
    """
    if not config.data and config.pages is None:
        raise UsageError("nothing to evaluate: give --data DIR with labels.tsv, or --pages DIR")
    if config.last and len(config.last) != len(config.data):
        raise UsageError(f"--last: {len(config.last)} values for {len(config.data)} folders of --data")
    check_folder("--report", config.report)
    limit_threads(1)
    finder = NONE if config.pages is None else config.finder
    reader = loaded(partial(TextReader.from_pretrained, finder=finder), config)
    report: dict[str, Any] = {}
    worst: list[dict[str, Any]] = []
    errors: list[ImageError] = []
    parts: dict[str, dict[str, Any]] = {}
    for folder, last in zip(config.data, config.last or [""] * len(config.data), strict=True):
        parts[folder.resolve().name], failed, unreadable = _lines(config, folder, last, reader)
        worst += failed
        errors += unreadable
    if parts:
        report = _together(parts)
    pages: list[dict[str, Any]] = []
    if config.pages is not None:
        pages, unreadable = _pages(config, config.pages, reader)
        errors += unreadable
        for name in ("bag_of_words_f1", "cer"):
            report[f"page_{name}"] = round(sum(page[name] for page in pages) / len(pages), 4)
        report |= {"num_pages": len(pages), "finder": FINDER if config.finder == AUTO else config.finder}
    left_out(errors)
    report |= {
        "num_unreadable": len(errors),
        "model": config.model,
        "encoder": reader.model.config.encoder,
        "parameters": reader.parameters,
        "data": " ".join(folder.resolve().name for folder in (*config.data, config.pages) if folder),
        "last": " ".join(config.last),
        "beam_size": config.beam_size,
        "precision": reader.precision,
        "command": command_line(),
    }
    show(report)
    write_report({**report, "worst_lines": worst, "pages": pages}, config.report)
    return 1 if errors else 0


def _together(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The scores of one folder, or the means over several with those of each."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    columns = {name: [part[name] for part in parts.values()] for name in next(iter(parts.values()))}
    report: dict[str, Any] = {
        name: sum(values) if name in _COUNTS else round(sum(values) / len(values), 2)
        for name, values in columns.items()
    }
    return {**report, "folders": parts}


def _lines(
    config: EvaluationConfig, data: Path, last: str, reader: TextReader
) -> tuple[dict[str, Any], list[dict[str, Any]], list[ImageError]]:
    lines = read_lines(data, last)
    lines = lines[: config.limit] if config.limit else lines
    unknown = sum(bool(reader.model.charset.unknown(line.text)) for line in lines)
    if unknown == len(lines):
        raise DataError(f"{data}: every label has characters that the model does not know; use another model")
    if unknown:
        print(f"{unknown:,} labels have characters that the model does not know; they count as they are read")
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    sources = [_image_source(line) for line in lines]
    reader.read_lines(sources[:8])  # the first batch sets kernels up
    started = time.monotonic()
    each = reader.read_lines_each(sources, beam_size=config.beam_size, batch_size=config.batch_size)
    found = list(progress(each, len(lines), "lines", silent=True))
    seconds = time.monotonic() - started
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])
    readings = [(line, r) for line, r in zip(lines, found, strict=True) if not isinstance(r, ImageError)]
    if not readings:
        raise ImageError(f"{data}: none of the {len(lines):,} pictures could be read")
    scores = score_lines([r.text for _, r in readings], [line.text for line, _ in readings])
    rated = [
        {
            "file": line.source.name,
            "label": line.text,
            "read": r.text,
            "confidence": round(r.confidence, 4),
            "cer": round(100 * float(char_error_rate([r.text.lower()], [line.text.lower()])), 1),
        }
        for line, r in readings
    ]
    report = {
        **{name: round(score, 2) for name, score in scores.items()},
        "num_lines": len(readings),
        "lines_per_second": round(len(lines) / seconds, 1),
        "unknown_labels": unknown,
    }
    worst = sorted(rated, key=lambda row: float(str(row["cer"])), reverse=True)[:_WORST]
    return report, worst, [r for r in found if isinstance(r, ImageError)]


def _image_source(line: TextLine) -> Any:
    return line.grey() if isinstance(line.source, LmdbRecord) else line.source


def _pages(
    config: EvaluationConfig, folder: Path, reader: TextReader
) -> tuple[list[dict[str, Any]], list[ImageError]]:
    """Scores of each page. Its text is that of its labelled lines in the order of the file."""
    files = sorted(folder.glob("*.json"))
    files = files[: config.limit] if config.limit else files
    if not files:
        raise DataError(f"--pages {folder}: no NNN.json in it (for single lines with {LABELS} use --data)")
    pages: list[dict[str, Any]] = []
    errors: list[ImageError] = []
    for file in files:
        try:
            labels = [composed(str(line["text"])) for line in load_json(file)]
        except (KeyError, TypeError) as error:
            raise DataError(f"{file}: expected a list of {{'box': ..., 'text': ...}} ({error!r})") from None
        started = time.monotonic()
        try:
            page = reader.read(
                file.with_suffix(".jpg"), beam_size=config.beam_size, batch_size=config.batch_size
            )
        except ImageError as error:
            errors.append(error)
            continue
        predicted, label = page.text, "\n".join(labels)
        words = [" ".join(text.lower().split()) for text in (predicted, label)]
        pages.append(
            {
                "page": file.stem,
                "bag_of_words_f1": round(bag_of_words_f1(predicted, label), 4),
                "cer": round(100 * float(char_error_rate([words[0]], [words[1]])), 2),
                "lines": len(page.lines),
                "seconds": round(time.monotonic() - started, 3),
            }
        )
    if not pages:
        raise ImageError(f"--pages {folder}: none of the {len(files)} pages could be read")
    return pages, errors
