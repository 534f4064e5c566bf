"""`visionrnn ask`: what the command does with its flags."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from common.cli import loaded, print_error, print_json, print_note, print_row
from common.errors import ImageError, UsageError, VisionError
from common.files import names_in
from common.predictor import UseFlags
from vqa import Answerer


@dataclass(frozen=True, kw_only=True)
class Config(UseFlags):
    """Ask questions about an image.

        visionrnn ask room.jpg "what is on the desk?" "how many chairs are there?"
        visionrnn ask room.jpg

    Prints question, tab, answer. Without a question, at a terminal, it prompts for one after the other,
    until Ctrl-D. A question without words that the model knows is reported on stderr, the others are answered
    all the same, and the exit code is 1.
    """

    image: Annotated[Path, tyro.conf.Positional]
    """The image."""
    questions: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """What to ask, each question in quotes."""
    model: str = "daquar"
    """A bundled model, a model or run folder, or hub:user/name."""
    top: int = 5
    """Answers with their probabilities, in JSON."""
    json: bool = False
    """Print one JSON object per question."""
    out: Path | None = None
    """Folder for a PNG of each question with the attention maps."""
    attention: Path | None = None
    """Also draw the attention maps of one question, as PNG."""


def main(config: Config) -> int:
    """Answer each question; 1 if one could not be answered, 2 if none could."""
    if not config.questions and not sys.stdin.isatty():
        raise UsageError('no question: add one in quotes, e.g. "what is on the desk?"')
    if config.attention is not None and len(config.questions) != 1:
        raise UsageError(f"--attention draws one question, and {len(config.questions)} were given")
    answerer = loaded(Answerer.from_pretrained, config)
    if config.questions:
        return answer(config, answerer, config.questions)
    for question in prompt():
        answer(config, answerer, [question])
    return 0


def answer(config: Config, answerer: Answerer, questions: Sequence[str]) -> int:
    """Print the answers; draw the attention."""
    failed = 0
    kinds = ["attention", *(f"attention{i}" for i in range(2, len(questions) + 1))]
    drawings = list(names_in(config.out, [config.image], kinds).get(config.image, {}).values())
    each = zip(questions, answerer.answer_each(config.image, questions, top=config.top), strict=True)
    for number, (question, found) in enumerate(each):
        if isinstance(found, ImageError):
            raise found
        if isinstance(found, VisionError):  # the others may be better ones
            print_error(found)
            failed += 1
            continue
        if found.unknown_words:
            print_note(f"unknown words: {', '.join(found.unknown_words)}")
        if config.json:
            top = [{"answer": text, "probability": round(p, 4)} for text, p in found.top]
            print_json(
                {
                    "path": str(config.image),
                    "question": question,
                    **top[0],
                    "top": top,
                    "unknown_words": found.unknown_words,
                }
            )
        else:
            print_row(question, found.text)
        for file in (*drawings[number : number + 1], *([config.attention] if config.attention else ())):
            from common.drawing import draw_attention

            if not len(found.attention):
                raise UsageError(
                    f"no attention to draw: the model {config.model!r} has no attention; use a san"
                )
            labels = [f"look {i + 1}" for i in range(len(found.attention))]
            title = f"{question} {found.text}"
            draw_attention(config.image, title, labels, found.attention, file)
    return 0 if not failed else 2 if failed == len(questions) else 1


def prompt() -> Iterator[str]:
    """Questions from the terminal, until the end of input; empty lines give a new prompt."""
    while True:
        try:
            question = input("question (Ctrl-D to stop): ").strip()
        except EOFError:
            return
        if question:
            yield question
