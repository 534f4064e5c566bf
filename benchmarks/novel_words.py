"""Words that no training picture was captioned with: does the captioner say them where they belong?

    python scripts/train_captioning.py ... --hold-out horse bicycle bike boat car umbrella snowboard --out RUN
    python benchmarks/novel_words.py --data FOLDER --model RUN --report reports/novel_words.json

The protocol of Hendricks et al. 2016 ("Deep compositional captioning"): the model was trained without the
pictures and captions that say a word, which it may know from text alone. On val a picture is positive if one
of its references says the word or its plural; F1 is that of the model's caption saying it.
"""

from dataclasses import dataclass
from pathlib import Path

from captioning.captioner import Captioner
from captioning.concepts import forms
from captioning.data import read_captions
from common.cli import command_line, run
from common.evaluation import show, write_report
from common.text import tokenize


@dataclass(frozen=True, kw_only=True)
class NovelWordsConfig:
    """Flags of this benchmark."""

    data: Path
    """Folder with pictures and captions, in any layout that training reads."""
    model: Path
    """Model or run folder, trained with --hold-out."""
    words: tuple[str, ...] = ("horse", "bicycle,bike", "boat", "car", "umbrella", "snowboard")
    """The words that were held out; those with a comma between them count as one."""
    split: str = "val"
    """Which part of the set."""
    beam_size: int = 5
    """Beams; 1 is greedy search."""
    report: Path | None = None
    """JSON file to write."""


def measure(config: NovelWordsConfig) -> int:
    """Print and write F1 of each word."""
    images = read_captions(config.data, config.split)
    captioner = Captioner.from_pretrained(config.model)
    captions = captioner.caption([image.path for image in images], beam_size=config.beam_size)
    spoken = [set(tokenize(caption.text)) for caption in captions]
    heard = [set().union(*(tokenize(c) for c in image.captions)) for image in images]
    scores: dict[str, float] = {}
    counts: dict[str, list[int]] = {}
    for word in config.words:
        wanted = forms(word.split(","))
        said, true = ([bool(wanted & words) for words in each] for each in (spoken, heard))
        hits = sum(s and t for s, t in zip(said, true, strict=True))
        counts[word] = [sum(true), sum(said), hits]
        scores[word] = round(2 * hits / max(1, sum(true) + sum(said)), 4)
    report = {
        "mean_f1": round(sum(scores.values()) / len(scores), 4),
        "f1": scores,
        "images_said_right": counts,
        "model": str(config.model.name),
        "data": config.data.resolve().name,
        "split": config.split,
        "beam_size": config.beam_size,
        "command": command_line(),
    }
    show(report)
    write_report(report, config.report)
    return 0


if __name__ == "__main__":
    run(measure, NovelWordsConfig, __doc__)
