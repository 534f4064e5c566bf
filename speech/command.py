"""`visionrnn transcribe`: what the command does with its flags."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from common.cli import loaded, print_error, print_json, print_row, progress
from common.errors import UsageError
from common.files import check_folder, find_files
from common.predictor import UseFlags
from speech.sound import SOUND_SUFFIXES, STDIN, SoundError
from speech.subtitles import cues, srt, vtt
from speech.transcriber import BEAM_SIZE, Transcriber, Transcript, Word


@dataclass(frozen=True, kw_only=True)
class Config(UseFlags):
    """Write down what is said in recordings and videos.

        visionrnn transcribe call.wav
        visionrnn transcribe talk.mp4 --model RUN --format srt > talk.srt
        arecord -f S16_LE -r 16000 | visionrnn transcribe - --model RUN --stream

    Prints the text, with its path before it where there are several recordings. One that cannot be read is
    reported on stderr, the others are written down all the same, and the exit code is 1.
    """

    paths: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Sound or video files, patterns or folders; - is standard input."""
    model: str = "digits"
    """A bundled model, a model or run folder, or hub:user/name."""
    beam_size: int = BEAM_SIZE
    """Texts kept by the beam search, which the model's n-grams guide; 1 is greedy decoding."""
    stream: bool = False
    """Print words as they are said, of recordings of any length in constant memory; with a unidirectional
    model. Decoding is greedy."""
    format: Literal["text", "json", "srt", "vtt"] = "text"
    """text; json, an object for each recording, with the words and their times; or subtitles."""
    json: bool = False
    """The same as --format json."""
    alignment: Path | None = None
    """Also draw the spectrogram of a single recording with the characters under it, as PNG."""
    batch_size: int = 8
    """Pieces of recordings at a time."""


def main(config: Config) -> int:
    """Write down each recording; 1 if one could not be read."""
    for name in ("beam_size", "batch_size"):
        if getattr(config, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} {getattr(config, name)}: must be at least 1")
    check_folder("--alignment", config.alignment)
    form = "json" if config.json else config.format
    paths, failed = find_files(config.paths, SOUND_SUFFIXES, "recordings")
    if config.alignment is not None and (config.stream or len(paths) != 1 or str(paths[0]) == STDIN):
        raise UsageError("--alignment draws one file: give one path, not -, and no --stream")
    if form in ("srt", "vtt") and len(paths) != 1:
        raise UsageError(f"--format {form} is for one recording, and {len(paths)} were given")
    load = _for_streams if config.stream else Transcriber.from_pretrained
    transcriber: Transcriber = loaded(load, config)
    if config.stream:
        return int(_stream(config, transcriber, paths, form) or failed)
    each = transcriber.transcribe_each(
        map(str, paths), beam_size=config.beam_size, batch_size=config.batch_size
    )
    for path, found in progress(zip(paths, each, strict=True), len(paths), "recordings"):
        if isinstance(found, SoundError):
            print_error(found)
            failed = True
            continue
        show(str(path), found, form, alone=len(paths) == 1)
        if config.alignment is not None:
            from speech.drawing import draw_alignment

            draw_alignment(transcriber.spectrogram(path), transcriber.mel.rate, found, config.alignment)
    return int(failed)


def _for_streams(name: Any, device: str, precision: Any) -> Transcriber:
    transcriber = Transcriber.from_pretrained(name, device, precision, engine="torch")
    if not transcriber.model.config.unidirectional:
        raise UsageError(
            f"--stream: {name} reads recordings from both ends; train a model with --unidirectional"
        )
    return transcriber


def show(path: str, found: Transcript, form: str, *, alone: bool) -> None:
    """Print one recording."""
    if form == "json":
        print_json(plain(path, found))
    elif form in ("srt", "vtt"):
        _subtitles(found.words, form)
    elif alone:
        print_row(found.text)
    else:
        print_row(path, found.text)


def plain(path: str, found: Transcript) -> dict[str, Any]:
    """JSON values of a recording."""
    return {
        "path": path,
        "text": found.text,
        "confidence": round(found.confidence, 4),
        "seconds": found.seconds,
        "words": [plain_word(word) for word in found.words],
    }


def plain_word(word: Word) -> dict[str, Any]:
    """JSON values of a word."""
    return {"word": word.text, "start": word.start, "end": word.end, "confidence": word.confidence}


def _subtitles(words: Iterable[Word], form: str) -> None:
    if form == "vtt":
        print("WEBVTT\n", flush=True)
    for number, cue in enumerate(cues(words), 1):
        print(srt(number, cue) if form == "srt" else vtt(cue), flush=True)


def _stream(config: Config, transcriber: Transcriber, paths: Sequence[Path], form: str) -> bool:
    """Print the words of each recording as they are said; True if one could not be read."""
    failed = False
    for path in paths:
        words = transcriber.stream(str(path))
        try:
            if form in ("srt", "vtt"):
                _subtitles(words, form)
            else:
                _print_words(str(path), words, form, alone=len(paths) == 1)
        except SoundError as error:
            print_error(error)
            failed = True
    return failed


def _print_words(path: str, words: Iterator[Word], form: str, *, alone: bool) -> None:
    if form == "json":
        for word in words:
            print_json({"path": path, **plain_word(word)})
        return
    if not alone:
        print_row(f"==> {path} <==")
    for word in words:
        print(word.text, end=" ", flush=True)
    print(flush=True)
