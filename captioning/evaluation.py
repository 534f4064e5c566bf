"""Score a captioner on a captioned set: what `scripts/evaluate_captioning.py` calls."""

import time
from dataclasses import dataclass
from pathlib import Path

from captioning.captioner import Captioner
from captioning.data import read_captions
from captioning.gallery import Entry, write_gallery
from captioning.metrics import CiderD, evaluate_captions, extra_metrics
from common.cli import loaded, progress
from common.errors import ImageError, UsageError
from common.evaluation import EvaluationFlags, facts, left_out, show, write_report
from common.files import check_folder
from common.text import tokenize


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(EvaluationFlags):
    """Score a captioner: BLEU-1 to 4, CIDEr-D and, where they can be had, METEOR and ROUGE-L, all x 100.

    visionrnn evaluate captioning --data DIR --split val --model NAME --report FILE.json
    """

    data: Path
    """Folder with images and captions, in any layout that training reads."""
    model: tuple[str, ...] = ("flickr8k",)
    """A bundled model, a model or run folder, or hub:user/name; several are averaged."""
    beam_size: int = 5
    """Beams; 1 is greedy search."""
    length_penalty: float = 0.7
    """0 ranks captions by probability, 1 by mean log-probability a word."""
    no_repeat_ngram: int = 2
    """No caption says the same so many words twice; 0 allows it."""
    gallery: Path | None = None
    """HTML page to write: images, captions, references and scores, best first."""
    batch_size: int = 32
    """Images at a time."""
    workers: int = 2
    """Threads that read images."""


def evaluate(config: EvaluationConfig) -> int:
    """Caption, score, print and write the report; 1 if an image could not be read."""
    extra, missing = extra_metrics()
    if missing:
        print("\n".join(missing), flush=True)
    if config.beam_size < 1:
        raise UsageError(f"--beam-size {config.beam_size}: must be at least 1")
    check_folder("--report", config.report)
    check_folder("--gallery", config.gallery)
    captioner = loaded(Captioner.from_pretrained, config)
    images = read_captions(config.data, config.split)
    images = images[: config.limit] if config.limit else images
    started = time.monotonic()
    captioned = captioner.caption_each(
        [image.path for image in images],
        beam_size=config.beam_size,
        workers=config.workers,
        length_penalty=config.length_penalty,
        no_repeat_ngram=config.no_repeat_ngram,
        batch_size=config.batch_size,
    )
    found = list(progress(captioned, len(images), "pictures", silent=True))
    seconds = time.monotonic() - started
    errors = [item for item in found if isinstance(item, ImageError)]
    left_out(errors)
    pairs = [(i, c) for i, c in zip(images, found, strict=True) if not isinstance(c, ImageError)]
    if not pairs:
        raise ImageError("none of the pictures could be read")
    captions = [tokenize(caption.text) for _, caption in pairs]
    references = [[tokenize(c) for c in image.captions] for image, _ in pairs]
    scores = evaluate_captions(captions, references, extra)
    report = {
        **{name: round(score, 2) for name, score in scores.items()},
        "num_images": len(pairs),
        "num_unreadable": len(errors),
        "seconds": round(seconds, 2),
        **facts(config, captioner),
        "model": " ".join(config.model),
        "decoder": captioner.model.config.decoder,
        "cell": captioner.model.config.cell,
        "parameters": captioner.parameters,
        "beam_size": config.beam_size,
        "length_penalty": config.length_penalty,
        "no_repeat_ngram": config.no_repeat_ngram,
        "left_out": missing,
    }
    show(report)
    if config.gallery is not None:
        each = 100 * CiderD(references).scores(captions)
        entries = [
            Entry(image.path, caption.text, image.captions, float(score))
            for (image, caption), score in zip(pairs, each, strict=True)
        ]
        write_gallery(entries, f"{report['data']} {config.split}, {report['model']}", config.gallery)
    details = [
        {
            "image_id": image.image_id,
            "file": image.path.name,
            "caption": caption.text,
            "log_prob": round(caption.log_prob, 4),
        }
        for image, caption in pairs
    ]
    write_report({**report, "captions": details}, config.report)
    return 1 if errors else 0
