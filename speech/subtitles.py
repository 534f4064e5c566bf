"""Subtitles: words with their times as SubRip (SRT) or WebVTT."""

from collections.abc import Iterable, Iterator, Sequence

from speech.transcriber import Word

_CHARACTERS, _SECONDS, _PAUSE = 80, 6.0, 1.0  # of a subtitle at most, and between words of one


def cues(words: Iterable[Word]) -> Iterator[tuple[float, float, str]]:
    """Start, end and text of each subtitle: at most 80 characters and 6 seconds, ended by a pause of one."""
    some: list[Word] = []
    for word in words:
        if some and (
            word.start - some[-1].end > _PAUSE
            or word.end - some[0].start > _SECONDS
            or sum(len(w.text) + 1 for w in some) + len(word.text) > _CHARACTERS
        ):
            yield _cue(some)
            some = []
        some.append(word)
    if some:
        yield _cue(some)


def srt(number: int, cue: tuple[float, float, str]) -> str:
    """A subtitle of a SubRip file, counted from 1."""
    return f"{number}\n{_time(cue[0], ',')} --> {_time(cue[1], ',')}\n{cue[2]}\n"


def vtt(cue: tuple[float, float, str]) -> str:
    """A subtitle of a WebVTT file, which begins with a line `WEBVTT` and an empty one."""
    return f"{_time(cue[0], '.')} --> {_time(cue[1], '.')}\n{cue[2]}\n"


def _cue(words: Sequence[Word]) -> tuple[float, float, str]:
    return words[0].start, words[-1].end, " ".join(word.text for word in words)


def _time(seconds: float, point: str) -> str:
    """00:00:00.000"""
    rest, thousandths = divmod(round(1000 * seconds), 1000)
    minutes, second = divmod(rest, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}{point}{thousandths:03d}"
