"""`visionrnn caption`: what the command does with its flags."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from captioning import Caption, Captioner
from common.cli import loaded, print_error, print_json, print_row, progress
from common.errors import ImageError, UsageError
from common.files import as_text, find_files, names_in
from common.images import IMAGE_SUFFIXES
from common.predictor import UseFlags


@dataclass(frozen=True, kw_only=True)
class Config(UseFlags):
    """Caption pictures.

        visionrnn caption photo.jpg
        visionrnn caption FOLDER "more/*.jpg" --beam-size 5 --json

    Prints one line a picture, its path, a tab and the caption. A picture that cannot be read is reported on
    stderr, the others are captioned all the same, and the exit code is 1.
    """

    paths: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Pictures, patterns or folders."""
    model: tuple[str, ...] = ("flickr8k",)
    """A bundled model, a model or run folder, or hub:user/name; several are averaged."""
    beam_size: int = 3
    """Beams; 1 is greedy search."""
    n_best: int = 1
    """Captions a picture, best first; at most --beam-size."""
    length_penalty: float = 0.7
    """0 ranks captions by probability, 1 by mean log-probability a word."""
    no_repeat_ngram: int = 2
    """No caption says the same so many words twice; 0 allows it."""
    groups: int = 1
    """More than 1 makes the beams, and with --n-best the captions, differ (diverse beam search)."""
    diversity: float = 0.5
    """With --groups: how strongly they avoid each other's words."""
    json: bool = False
    """Print one JSON object a line, with log-probabilities."""
    out: Path | None = None
    """Folder for a PNG of each picture with where the model looked for each word."""
    attention: Path | None = None
    """Also draw where the model looked for each word of one picture's caption, as PNG or animated GIF."""
    batch_size: int = 32
    """Pictures at a time."""
    workers: int = 2
    """Threads that read pictures."""


def main(config: Config) -> int:
    """Caption each picture; 1 if one could not be read."""
    if not 1 <= config.n_best <= config.beam_size:
        raise UsageError(f"--n-best {config.n_best}: must lie between 1 and --beam-size, {config.beam_size}")
    if config.groups < 1 or config.beam_size % config.groups:
        raise UsageError(f"--groups {config.groups}: must divide --beam-size, {config.beam_size}")
    if min(config.no_repeat_ngram, config.diversity) < 0:
        raise UsageError("--no-repeat-ngram and --diversity must be at least 0")
    paths, failed = find_files(config.paths, IMAGE_SUFFIXES, "pictures")
    if config.attention is not None and len(paths) != 1:
        raise UsageError(f"--attention draws one picture, and {len(paths)} were given")
    drawings = names_in(config.out, paths, ("attention",))
    captioner = loaded(Captioner.from_pretrained, config)
    found = captioner.caption_each(
        list(paths),
        beam_size=config.beam_size,
        n_best=config.n_best,
        batch_size=config.batch_size,
        length_penalty=config.length_penalty,
        no_repeat_ngram=config.no_repeat_ngram,
        groups=config.groups,
        diversity=config.diversity,
        workers=config.workers,
    )
    for path, caption in progress(zip(paths, found, strict=True), len(paths), "pictures"):
        if isinstance(caption, ImageError):
            print_error(caption)
            failed = True
            continue
        ranked = (caption, *caption.alternatives)
        written = drawings.get(path, {})
        for file in (*written.values(), *([config.attention] if config.attention else ())):
            draw(captioner, path, caption, file)
        if config.json:
            best = [
                {"caption": c.text, "log_prob": round(c.log_prob, 4), "score": round(c.score, 4)}
                for c in ranked
            ]
            print_json({"path": str(path), **best[0], "n_best": best, **as_text(written)})
        else:
            for c in ranked:
                print_row(path, c.text)
    return int(failed)


def draw(captioner: Captioner, path: Path, caption: Caption, out: Path) -> None:
    """Write the attention picture, still or moving."""
    from common.drawing import animate_attention, draw_attention

    try:
        maps = captioner.attention(path, caption)
    except ValueError as error:
        raise UsageError(f"no attention to draw: {error}") from None
    show = animate_attention if out.suffix.lower() == ".gif" else draw_attention
    show(path, caption.text, caption.tokens, maps, out)
