"""Would an RNN be a better language model for text recognition than its n-grams of characters?

    python benchmarks/ocr_language.py --data SROIE --text receipts.txt
    visionrnn train language --data receipts.txt --val CHARACTERS --out runs/receipts --hidden-size 256 \\
        --layers 1 --embedding-size 64 --epochs 6 --batch-size 32 --steps 48 --learning-rate 5e-3 \\
        --input-dropout 0.05 --dropout 0.3 --weight-dropout 0.1
    python benchmarks/ocr_language.py --data SROIE --model runs/receipts --report reports/language/ocr.json

The first call writes the labels, in small letters, one a line, those of the last documents at the end, and
says how many characters those are. The last call compares nats a character on them, line ends left out: the
n-grams of `common.ngrams` counted over the other lines, Kneser-Ney over the same, the RNN for each line by
itself, as a recognizer would ask it, and with its state carried from line to line.
"""

from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from common.charset import Charset
from common.cli import command_line, run
from common.errors import UsageError
from common.evaluation import show, write_report
from common.files import read_text
from common.ngrams import CharacterNgrams
from language.metrics import KneserNey
from language.writer import Writer


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """Flags of this comparison."""

    data: Path
    """Folder with `labels.tsv`, files named DOCUMENT_LINE."""
    last: int = 40
    """Documents at the end that are scored."""
    text: Path | None = None
    """File to write the lines to, to train on."""
    model: str = ""
    """The RNN that was trained on it."""
    report: Path | None = None
    """JSON file to write."""


def read_lines(config: LanguageConfig) -> tuple[list[str], list[str]]:
    """The lines to learn from and those to score."""
    documents: dict[str, list[str]] = {}
    for row in read_text(config.data / "labels.tsv").splitlines()[1:]:
        name, text = row.split("\t")
        documents.setdefault(name.split("_")[0], []).append(text.lower())
    each = list(documents.values())
    return [t for d in each[: -config.last] for t in d], [t for d in each[-config.last :] for t in d]


def compare(config: LanguageConfig) -> int:
    """Write the text, or print and write the comparison."""
    train, val = read_lines(config)
    texts = ["".join(f"{line}\n" for line in lines) for lines in (train, val)]
    if config.text is not None:
        config.text.write_text("".join(texts), encoding="utf-8")
        print(f"train with --val {len(texts[1])}")
        return 0
    if not config.model:
        raise UsageError("give --text to write the lines, or --model to compare")
    ngrams = CharacterNgrams.of(train, Charset("".join(sorted(set("".join(train + val))))))
    started = process_time()
    each = [ngrams.log_prob(c, line[:i]) for line in val for i, c in enumerate(line)]
    seconds = {"ngrams": process_time() - started}
    writer = Writer.from_pretrained(config.model, "cpu", "fp32")
    alphabet = writer.model.alphabet
    codes, end = alphabet.encode(texts[1]), alphabet.encode("\n")
    inside = codes != end
    kneser_ney = KneserNey(alphabet.encode(texts[0]), len(alphabet))
    started = process_time()
    alone = [
        np.concatenate(list(writer.nats_each(np.concatenate([end, alphabet.encode(line)]))))[1:]
        for line in val
    ]
    seconds["rnn"] = process_time() - started
    report: dict[str, Any] = {
        "ngrams": -float(np.mean(each)),
        "kneser_ney_over_lines": float(np.concatenate(list(kneser_ney.nats_each(codes)))[inside].mean()),
        "rnn": float(np.concatenate(alone).mean()),
        "rnn_over_lines": float(np.concatenate(list(writer.nats_each(codes)))[inside].mean()),
        **{f"{name}_microseconds": 1e6 * spent / len(each) for name, spent in seconds.items()},
    }
    report = {name: round(value, 3) for name, value in report.items()}
    report |= {"num_characters": len(each), "data": config.data.resolve().name, "command": command_line()}
    show(report, 22)
    write_report(report, config.report)
    return 0


if __name__ == "__main__":
    run(compare, LanguageConfig, __doc__)
