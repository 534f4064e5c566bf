"""Ask questions about a picture.

    python scripts/ask.py room.jpg "what is on the desk?" "how many chairs are there?"
    python scripts/ask.py room.jpg

Prints question, tab, answer. Without a question, at a terminal, it prompts for one after the other.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from common.cli import run
from common.device import Precision
from common.errors import UsageError
from vqa import Answerer


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags."""

    image: Annotated[Path, tyro.conf.Positional]
    """The picture."""
    questions: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """What to ask, each question in quotes."""
    model: str = "daquar"
    """A bundled model, a model or run folder, or user/name on the hub."""
    top: int = 5
    """Answers with their probabilities, in JSON."""
    json: bool = False
    """Print one JSON object a question."""
    attention: Path | None = None
    """Also draw where the model looked for one question, as PNG."""
    device: str = "auto"
    """auto, cpu or cuda."""
    precision: Precision = "auto"
    """auto (bf16 where the hardware has it), bf16 or fp32."""


def main(config: Config) -> None:
    """Answer each question."""
    if not config.questions and not sys.stdin.isatty():
        raise UsageError('no question: add one in quotes, e.g. "what is on the desk?"')
    if config.attention is not None and len(config.questions) != 1:
        raise UsageError(f"--attention draws one question, and {len(config.questions)} were given")
    answerer = Answerer.from_pretrained(config.model, config.device, config.precision)
    if config.questions:
        answer(config, answerer, config.questions)
        return
    for question in prompt():
        try:
            answer(config, answerer, [question])
        except UsageError as error:  # the next question may be a better one
            print(error, file=sys.stderr)


def answer(config: Config, answerer: Answerer, questions: tuple[str, ...] | list[str]) -> None:
    """Print the answers; draw the attention."""
    for question, found in zip(
        questions, answerer.answer_each(config.image, questions, top=config.top), strict=True
    ):
        if found.unknown_words:
            print(f"unknown words: {', '.join(found.unknown_words)}", file=sys.stderr)
        if config.json:
            top = [{"answer": text, "probability": round(p, 4)} for text, p in found.top]
            values = {"question": question, **top[0], "top": top, "unknown_words": found.unknown_words}
            print(json.dumps(values, ensure_ascii=False), flush=True)
        else:
            print(f"{question}\t{found.text}", flush=True)
        if config.attention is not None:
            from common.drawing import draw_attention

            if not len(found.attention):
                raise UsageError(f"--attention: the model {config.model!r} has no attention; use a san")
            labels = [f"look {i + 1}" for i in range(len(found.attention))]
            title = f"{question} {found.text}"
            draw_attention(config.image, title, labels, found.attention, config.attention)


def prompt() -> Iterator[str]:
    """Questions from the terminal, until an empty one or the end of input."""
    while True:
        try:
            question = input("question (empty to stop): ").strip()
        except EOFError:
            return
        if not question:
            return
        yield question


if __name__ == "__main__":
    run(main, Config, __doc__)
