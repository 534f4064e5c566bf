"""Score a speech recognizer on clips with transcripts: what `visionrnn evaluate speech` calls."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from common.cli import loaded, progress
from common.engine import limit_threads
from common.errors import UsageError
from common.evaluation import EvaluationFlags, facts, left_out, show, write_report
from common.files import check_folder
from speech.data import Clip, read_clips
from speech.metrics import score_clips
from speech.sound import SoundError, read_sound
from speech.text import normalized
from speech.transcriber import BEAM_SIZE, Transcriber, Transcript

_WORST = 50
_PAUSE = (0.1, 0.5)  # seconds between joined clips
_BACKGROUND = 1e-3  # amplitude of the noise in pauses, of the loudest sample


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(EvaluationFlags):
    """Score a speech recognizer: shares of clips without an error, character and word error rates.

    visionrnn evaluate speech --data DIR --split val --model NAME --report FILE.json
    """

    model: str
    """A bundled model, a model or run folder, or hub:user/name."""
    beam_size: int = BEAM_SIZE
    """Texts kept by the beam search, which the model's n-grams guide; 1 is greedy decoding."""
    join: tuple[int, int] | None = None
    """Score strings instead: so many clips of a speaker, from the first to the second number, drawn at
    random and joined with pauses."""
    strings: int = 300
    """Of --join, for each speaker."""
    batch_size: int = 8
    """Clips at a time."""


def evaluate(config: EvaluationConfig) -> int:
    """Transcribe, score, print and write the report; 1 if a clip could not be read.

    On one thread, files and decoding included, so that `real_time_factor` compares.
    """
    for name in ("beam_size", "batch_size", "strings"):
        if getattr(config, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} {getattr(config, name)}: must be at least 1")
    if config.join is not None and not 1 <= config.join[0] <= config.join[1]:
        raise UsageError(
            f"--join {config.join[0]} {config.join[1]}: expected two numbers from 1 on, in order"
        )
    check_folder("--report", config.report)
    limit_threads(1)
    torch.set_num_threads(1)
    transcriber = loaded(Transcriber.from_pretrained, config)
    clips = read_clips(config.data, config.split, digits=True)
    clips = clips[: config.limit] if config.limit else clips
    recordings: list[Any] = [clip.path for clip in clips]
    errors: list[SoundError] = []
    if config.join is not None:
        clips, recordings, errors = _strings(config, clips, transcriber.mel.rate)
    unknown = [clip for clip in clips if transcriber.model.charset.unknown(clip.text)]
    if unknown:
        print(f"{len(unknown):,} texts have characters that the model does not know; they count as errors")
    transcriber.transcribe([np.zeros(transcriber.mel.rate, np.float32) + 0.1])  # sets kernels up
    started = time.monotonic()
    each = transcriber.transcribe_each(recordings, beam_size=config.beam_size, batch_size=config.batch_size)
    found = list(progress(each, len(recordings), "clips", silent=True))
    seconds = time.monotonic() - started
    errors += [f for f in found if isinstance(f, SoundError)]
    left_out(errors)
    pairs = [(c, f) for c, f in zip(clips, found, strict=True) if isinstance(f, Transcript)]
    if not pairs:
        raise SoundError(f"{config.data}: none of the {len(found):,} clips could be read")
    report = {
        **_rounded(pairs),
        "real_time_factor": round(seconds / sum(f.seconds for _, f in pairs), 4),
        "num_clips": len(pairs),
        "per_speaker": {
            speaker: {**_rounded(own), "num_clips": len(own)}
            for speaker in dict.fromkeys(clip.speaker for clip, _ in pairs)
            if (own := [pair for pair in pairs if pair[0].speaker == speaker])
        },
        "seconds": round(seconds, 2),
        "audio_seconds": round(sum(f.seconds for _, f in pairs), 1),
        "num_unreadable": len(errors),
        "unknown_texts": len(unknown),
        "join": list(config.join or ()),
        **facts(config, transcriber),
        "beam_size": config.beam_size,
    }
    show(report)
    write_report({**report, "worst_clips": _worst(pairs)}, config.report)
    return 1 if errors else 0


def _rounded(pairs: Sequence[tuple[Clip, Transcript]]) -> dict[str, float]:
    scores = score_clips([normalized(f.text) for _, f in pairs], [clip.text for clip, _ in pairs])
    return {name: round(score, 2) for name, score in scores.items()}


def _worst(pairs: Sequence[tuple[Clip, Transcript]]) -> list[dict[str, Any]]:
    """The clips with the most errors."""
    rated: list[dict[str, Any]] = [
        {
            "file": clip.path.name,
            "speaker": clip.speaker,
            "text": clip.text,
            "found": found.text,
            "confidence": round(found.confidence, 4),
            "cer": _rounded([(clip, found)])["cer"],
        }
        for clip, found in pairs
    ]
    return sorted(rated, key=lambda row: row["cer"], reverse=True)[:_WORST]


def _strings(
    config: EvaluationConfig, clips: Sequence[Clip], rate: int
) -> tuple[list[Clip], list[np.ndarray], list[SoundError]]:
    """Strings of clips of one speaker each, their samples, and what could not be read."""
    sounds: dict[Clip, np.ndarray] = {}
    errors: list[SoundError] = []
    for clip in clips:
        try:
            sounds[clip] = read_sound(clip.path, rate)
        except SoundError as error:
            errors.append(error)
    if not sounds:
        raise SoundError(f"{config.data}: none of the {len(clips):,} clips could be read")
    random = np.random.default_rng(0)
    texts, joined = [], []
    low, high = config.join or (1, 1)
    for speaker in dict.fromkeys(clip.speaker for clip in sounds):
        own = [clip for clip in sounds if clip.speaker == speaker]
        for _ in range(config.strings):
            chosen = [own[i] for i in random.integers(0, len(own), random.integers(low, high + 1))]
            level = max(float(np.abs(sounds[clip]).max()) for clip in chosen)
            parts = [_pause(random, rate, level)]
            for clip in chosen:
                parts += [sounds[clip], _pause(random, rate, level)]
            text = " ".join(clip.text for clip in chosen)
            texts.append(Clip(chosen[0].path, text, speaker))
            joined.append(np.concatenate(parts))
    return texts, joined, errors


def _pause(random: np.random.Generator, rate: int, level: float) -> np.ndarray:
    samples = round(rate * random.uniform(*_PAUSE))
    noise: np.ndarray = (_BACKGROUND * level * random.standard_normal(samples)).astype(np.float32)
    return noise
