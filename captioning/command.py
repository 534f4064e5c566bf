"""`visionrnn caption`: what the command does with its flags."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypedDict

import tyro

from captioning import Caption, Captioner
from common.cli import loaded, print_error, print_json, print_row, progress
from common.errors import ImageError, UsageError
from common.files import as_text, find_files, names_in
from common.images import IMAGE_SUFFIXES
from common.scale import ScaleFlags, run_on_ray


@dataclass(frozen=True, kw_only=True)
class Config(ScaleFlags):
    """Caption pictures.

        visionrnn caption photo.jpg
        visionrnn caption FOLDER "more/*.jpg" --beam-size 5 --json
        visionrnn caption s3://bucket/photos --engine ray --out TABLE.parquet

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
    out: str | None = None
    """Folder for a PNG of each picture with where the model looked for each word; with --engine ray the
    table."""
    attention: Path | None = None
    """Also draw where the model looked for each word of one picture's caption, as PNG or animated GIF."""
    batch_size: int = 32
    """Pictures at a time."""
    workers: int = 2
    """Threads that read pictures."""


class Ranked(TypedDict):
    """JSON values of a caption."""

    caption: str
    log_prob: float
    score: float


class Row(TypedDict):
    """JSON values of a picture."""

    path: str
    caption: str
    log_prob: float
    score: float
    n_best: list[Ranked]


def main(config: Config) -> int:
    """Caption each picture; 1 if one could not be read."""
    if not 1 <= config.n_best <= config.beam_size:
        raise UsageError(f"--n-best {config.n_best}: must lie between 1 and --beam-size, {config.beam_size}")
    if config.groups < 1 or config.beam_size % config.groups:
        raise UsageError(f"--groups {config.groups}: must divide --beam-size, {config.beam_size}")
    if min(config.no_repeat_ngram, config.diversity) < 0:
        raise UsageError("--no-repeat-ngram and --diversity must be at least 0")
    if config.engine == "ray":
        return run_on_ray(__name__, config, IMAGE_SUFFIXES, "pictures", without=("attention",))
    paths, failed = find_files(config.paths, IMAGE_SUFFIXES, "pictures")
    if config.attention is not None and len(paths) != 1:
        raise UsageError(f"--attention draws one picture, and {len(paths)} were given")
    drawings = names_in(config.out, paths, ("attention",))
    captioner = load(config)
    for path, caption in progress(each(config, captioner, paths), len(paths), "pictures"):
        if isinstance(caption, ImageError):
            print_error(caption)
            failed = True
            continue
        written = drawings.get(Path(path), {})
        for file in (*written.values(), *([config.attention] if config.attention else ())):
            draw(captioner, Path(path), caption, file)
        if config.json:
            print_json({**plain(path, caption), **as_text(written)})
        else:
            for c in (caption, *caption.alternatives):
                print_row(path, c.text)
    return int(failed)


def load(config: Config) -> Captioner:
    """The captioner of the flags."""
    return loaded(Captioner.from_pretrained, config)


def each(
    config: Config, captioner: Captioner, paths: Sequence[Path]
) -> Iterator[tuple[str, Caption | ImageError]]:
    """The name of each picture with its captions."""
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
    return zip(map(str, paths), found, strict=True)


def plain(name: str, caption: Caption) -> Row:
    """JSON values of a picture."""
    best: list[Ranked] = [
        {"caption": c.text, "log_prob": round(c.log_prob, 4), "score": round(c.score, 4)}
        for c in (caption, *caption.alternatives)
    ]
    return {"path": name, **best[0], "n_best": best}


def row_type(config: Config) -> type[Row]:
    """What `plain` gives."""
    return Row


def draw(captioner: Captioner, path: Path, caption: Caption, out: Path) -> None:
    """Write the attention picture, still or moving."""
    from common.drawing import animate_attention, draw_attention

    try:
        maps = captioner.attention(path, caption)
    except ValueError as error:
        raise UsageError(f"no attention to draw: {error}") from None
    show = animate_attention if out.suffix.lower() == ".gif" else draw_attention
    show(path, caption.text, caption.tokens, maps, out)
