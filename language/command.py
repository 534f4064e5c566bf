"""`visionrnn write`: what the command does with its flags."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from common.cli import loaded, print_note
from common.errors import UsageError
from common.files import check_folder
from common.predictor import UseFlags
from language.data import Split, read_text
from language.neurons import write_page
from language.writer import Writer

_FIT, _SCORE = 60_000, 20_000  # characters that probes are fitted and scored on
_WRITTEN = 20_000  # characters for --neurons without --data


@dataclass(frozen=True, kw_only=True)
class Config(UseFlags):
    """Go on writing a text, or show what the cells of a language model know.

        visionrnn write --prompt "ROMEO:" --temperature 0.8 --length 1000
        visionrnn write --neurons page.html --data FILE

    The text is printed as it is written. The page colours a text by the activation of any cell.
    """

    model: str = "shakespeare"
    """A bundled model, a model or run folder, or user/name on the hub."""
    prompt: str = ""
    """What the text begins with; it is printed too."""
    length: int = 500
    """Characters (or words, for a model of words) to write."""
    temperature: float = 0.8
    """Below 1 sharper, above 1 flatter; 0 takes the likeliest."""
    top_k: int = 0
    """Draw among the k likeliest only; 0 is all."""
    top_p: float = 1.0
    """Draw among the likeliest that together reach this probability (nucleus)."""
    seed: int | None = None
    """Makes the text repeatable."""
    neurons: Path | None = None
    """HTML page to write in place of a text: what each cell knows."""
    data: Path | None = None
    """Text file or folder for --neurons; without it the model's own writing is used."""


def main(config: Config) -> None:
    """Write a text or a page."""
    check_folder("--neurons", config.neurons)
    exact = config.neurons is not None and config.precision == "auto"
    writer = loaded(Writer.from_pretrained, replace(config, precision="fp32") if exact else config)
    how = {name: getattr(config, name) for name in ("temperature", "top_k", "top_p", "seed")}
    if config.neurons is not None:
        if writer.model.alphabet.unit != "characters":
            raise UsageError("--neurons: needs a model of characters; this one reads words")
        if config.data is None:
            print_note(f"--neurons without --data: shows {_WRITTEN:,} characters that the model writes")
            text = writer.write(config.prompt, _WRITTEN, **how)
            train, val = text[: -_WRITTEN // 4], text[-_WRITTEN // 4 :]
        else:
            given = read_text(config.data)
            split = Split.of(given.length, writer.model.info.get("val", 0.1))
            train = "".join(given.pieces(0, min(split.train, _FIT)))
            val = "".join(given.pieces(split.train, min(given.length, split.train + _SCORE)))
        probes = write_page(writer, train, val, config.neurons, name=config.model)
        for kind, found in probes.items():
            best = f"cell {found[0].cell}, {found[0].score:.3f}" if found else "does not vary in this text"
            print(f"{kind:16} {best}")
        return
    written = writer.write_each(config.prompt, config.length, **how)
    sys.stdout.write(config.prompt)
    for piece in written:
        sys.stdout.write(piece)
        sys.stdout.flush()
    print()
