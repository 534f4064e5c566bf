"""What each tab of the page answers: a file and options in, values of JSON out. Pictures are data URLs."""

import base64
import contextlib
import io
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from common.errors import DataError, UsageError, VisionError
from common.images import load_image

_SIDE = 1200  # pixels of the longer side of a picture that is sent to the page
_HISTORY = 120  # rows of a series that are drawn before its forecast

Options = Mapping[str, str]
Values = dict[str, Any]


def url(image: Image.Image, kind: str = "JPEG") -> str:
    """A picture as a data URL, scaled down to what the page shows."""
    shown = image.copy()
    shown.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    shown.save(out, format=kind, quality=88)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(out.getvalue()).decode()}"


def _grid(maps: Any) -> list[list[list[float]]]:
    """Attention maps (M, H, W), each scaled to its largest weight."""
    values = np.asarray(maps, dtype=np.float64)
    largest = values.max(axis=(1, 2), keepdims=True) if len(values) else values
    found: list[list[list[float]]] = (values / np.maximum(largest, 1e-12)).round(3).tolist()
    return found


@cache
def _captioner() -> Any:
    from captioning import Captioner

    return Captioner.from_pretrained("flickr8k")


def caption(file: Path, options: Options) -> Values:
    """Captions of a photo, best first, and where each word of the best came from."""
    captioner = _captioner()
    image = load_image(file)
    best = captioner.caption([image], beam_size=6, groups=3, n_best=3)[0]
    ranked = (best, *best.alternatives)
    return {
        "image": url(image),
        "captions": [
            {"text": c.text, "words": c.tokens, "maps": _grid(captioner.attention(image, c))} for c in ranked
        ],
    }


@cache
def _reader() -> Any:
    from ocr import TextReader

    return TextReader.from_pretrained("english")


def read(file: Path, options: Options) -> Values:
    """The text of the first page of a file, and its lines with their places as shares of the page."""
    from ocr import open_pages

    _, page = next(open_pages(file))
    if isinstance(page, VisionError):
        raise page
    image = load_image(page)
    found = _reader().read(image)
    return {
        "image": url(image),
        "size": image.size,
        "text": found.text,
        "lines": [
            {"text": line.text, "confidence": round(line.confidence, 3), "polygon": line.polygon}
            for line in found.lines
        ],
    }


@cache
def _segmenter() -> Any:
    from segmentation import Segmenter

    return Segmenter.from_pretrained("camvid")


def segment(file: Path, options: Options) -> Values:
    """The classes of an image: a picture of them, and their shares."""
    from segmentation.drawing import palette

    image = load_image(file)
    found = _segmenter().segment(image)
    colours = palette(len(found.classes))
    return {
        "image": url(image),
        "overlay": url(Image.fromarray(colours[found.labels]), "PNG"),
        "classes": [
            {"name": name, "share": round(share, 7), "colour": colours[found.classes.index(name)].tolist()}
            for name, share in found.shares.items()
        ],
    }


@cache
def _answerer() -> Any:
    from vqa import Answerer

    return Answerer.from_pretrained("daquar")


def ask(file: Path, options: Options) -> Values:
    """The answer to a question about a photo, and where the model looked."""
    question = options.get("question", "").strip()
    if not question:
        raise UsageError("no question: write one, for example: what is on the table?")
    image = load_image(file)
    answer = _answerer().answer(image, question, top=3)
    return {
        "image": url(image),
        "question": question,
        "answer": answer.text,
        "top": [{"text": text, "probability": round(p, 3)} for text, p in answer.top],
        "unknown_words": answer.unknown_words,
        "maps": _grid(answer.attention),
    }


@cache
def _classifier(model: str) -> Any:
    from video import ActionClassifier

    return ActionClassifier.from_pretrained(model)


MODELS = {
    "utd-mhad": "27 actions of one person before a depth camera",
    "surveillance-fight": "a fight before a camera, or none",
}
"""Of the tab of clips, with what they know."""


def classify(file: Path, options: Options) -> Values:
    """What happens in a clip, window by window, with thumbnails."""
    from video import segments

    model = options.get("model", next(iter(MODELS)))
    if model not in MODELS:
        raise UsageError(f"no model {model!r}: expected one of {', '.join(MODELS)}")
    classifier = _classifier(model)
    windows = list(classifier.watch(file))
    labels = classifier.model.labels
    peaks = np.array([window.probabilities for window in windows]).max(axis=0)
    likely = [int(k) for k in np.argsort(-peaks, kind="stable")[:4]]
    step = max(1, len(windows) // 8)
    return {
        "segments": [
            {"start": s.start, "end": s.end, "label": s.label, "score": round(s.score, 3)}
            for s in segments(windows, labels)
        ],
        "times": [[round(w.start, 3), round(w.end, 3)] for w in windows],
        "curves": [
            {"label": labels[k], "values": [round(w.probabilities[k], 4) for w in windows]} for k in likely
        ],
        "thumbnails": [{"time": (w.start + w.end) / 2, "image": url(w.thumbnail)} for w in windows[::step]],
    }


def forecast(file: Path, options: Options) -> Values:
    """Train a small RNN on a table and forecast its next rows, with an interval."""
    try:
        import pandas  # noqa: F401

        from forecasting import Forecaster
        from forecasting.data import read_series
        from forecasting.training import ForecastingConfig, train
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed; run: pip install '.[demo]'") from None
    columns = _columns(file)
    dates, values = options.get("date", ""), options.get("value", "")
    if not (dates and values):
        dates, values = _guess(file, columns)
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
        series = read_series(file, dates, values)
        season = series.dates.frequency.season(len(series))
        horizon = int(options.get("horizon") or 0) or max(2, min(season, len(series) // 6))
        if not 1 <= horizon <= len(series) // 3:
            raise UsageError(
                f"{horizon} rows ahead: a series of {len(series)} allows 1 to {len(series) // 3}"
            )
        window = max(2, min(2 * season, len(series) - 3 * horizon, len(series) // 3))
        run = Path(folder, "run")
        train(
            ForecastingConfig(
                data=file, date_column=dates, value_column=values, out=run, window=window, horizon=horizon,
                base="seasonal_naive" if window >= season > 1 else "ar", quantiles=(0.1, 0.5, 0.9), test=0.0,
                val=horizon, epochs=10, patience=0, batch_size=max(2, len(series) // 40), learning_rate=5e-3,
                device="cpu",
            )
        )  # fmt: skip
        found = Forecaster.from_pretrained(run).forecast(series)
    past = range(max(0, len(series) - _HISTORY), len(series))
    return {
        "columns": columns, "date": dates, "value": values, "horizon": horizon, "rows": len(series),
        "past": [[series.dates.text(i), float(series.values[i, 0])] for i in past],
        "future": [
            [found.dates.text(i), *(float(found.quantiles[q][i]) for q in (0.1, 0.5, 0.9))]
            for i in range(horizon)
        ],
    }  # fmt: skip


def _columns(file: Path) -> list[str]:
    import csv

    from common.files import read_text

    lines = read_text(file).splitlines()
    if len(lines) < 2:
        raise DataError(f"{file}: a table needs a line of names and a line for each date")
    separator = max(",;\t|", key=lines[0].count)
    return next(csv.reader([lines[0]], delimiter=separator))


def _guess(file: Path, columns: list[str]) -> tuple[str, str]:
    """The first column of dates and the first of numbers that make a series. Raises DataError."""
    from forecasting.data import read_series

    reasons = []
    for dates in columns:
        for values in columns:
            if dates == values:
                continue
            try:
                read_series(file, dates, values)
            except VisionError as error:
                reasons.append(error)
            else:
                return dates, values
    raise reasons[0] if reasons else DataError(f"{file}: one column; a series needs dates and values")


TABS: dict[str, Callable[[Path, Options], Values]] = {
    "caption": caption,
    "read": read,
    "segment": segment,
    "ask": ask,
    "classify": classify,
    "forecast": forecast,
}
"""The verb of `visionrnn.tasks` -> what answers."""
