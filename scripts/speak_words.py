"""Speak words with espeak-ng's voices, as clips to train on besides recorded ones; never a score.

python scripts/speak_words.py --words zero one two --out spoken --count 300
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from common.cli import run
from common.errors import DataError, UsageError
from common.schema import Range

_ODD = ("robo", "demonic", "whisper", "croak", "announcer", "tweaky", "fast", "storm", "anxious")
_BROKEN = "mb/"  # voices that need MBROLA


@dataclass(frozen=True, kw_only=True)
class Config:
    """Write a folder with `train.tsv` and `clips/`, each word by many voices, at many pitches and speeds."""

    words: tuple[str, ...]
    """What is said, a clip each."""
    out: Path
    """Folder to write; must be new."""
    language: str = "en"
    """Of the voices, as espeak-ng names it; all its accents are used."""
    count: Annotated[int, Range(1)] = 300
    """Clips of each word."""
    seed: int = 0
    """Of voices, pitches and speeds."""


def voices(language: str) -> list[str]:
    """Files of the voices that `espeak-ng --voices` lists, without robots and whispers. Raises DataError."""
    done = subprocess.run(
        ["espeak-ng", f"--voices={language}"], capture_output=True, text=True, check=True, timeout=60
    )
    files = [line.split()[4] for line in done.stdout.splitlines()[1:]]
    kept = [f for f in files if not f.startswith(_BROKEN) and not any(odd in f.lower() for odd in _ODD)]
    if not kept:
        raise DataError(f"--language {language}: espeak-ng has no voice for it; see espeak-ng --voices")
    return kept


def main(config: Config) -> None:
    """Write the clips."""
    if shutil.which("espeak-ng") is None:
        raise UsageError("espeak-ng is not installed; apt-get install espeak-ng")
    if config.out.exists():
        raise UsageError(f"--out {config.out}: exists already; name another")
    accents, variants = voices(config.language), voices("variant")
    random = np.random.default_rng(config.seed)
    clips = config.out / "clips"
    clips.mkdir(parents=True)
    rows = ["file\ttext\tspeaker"]
    for k in range(config.count):
        accent, variant = random.choice(accents), random.choice(variants).removeprefix("!v/")
        pitch, speed = random.integers(20, 80), random.integers(110, 230)
        for i, word in enumerate(config.words):
            file = clips / f"{i}_{k}.wav"
            options = ["-v", f"{accent}+{variant}", "-p", str(pitch), "-s", str(speed), "-w", str(file)]
            subprocess.run(["espeak-ng", *options, "--", word], check=True, timeout=60)
            rows.append(f"clips/{file.name}\t{word}\t{accent} {variant} {k}")
    (config.out / "train.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main, Config, __doc__)
