"""Drawing of a spectrogram with the characters under it."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from common.drawing import plain
from speech.features import HOP
from speech.transcriber import Transcript

_INCHES = 1.6  # of width for a second
_WIDEST = 60.0  # inches


def draw_alignment(frames: np.ndarray, rate: int, transcript: Transcript, out: Path) -> None:
    """Write a PNG: the spectrogram over the seconds, under it each character where CTC puts it.

    Args:
        frames: (F, B), log-mel.
        rate: samples a second, for the axis of frequencies.
        transcript: of the recording.
        out: file to write.

    Raises:
        OSError: `out` cannot be written.
    """
    seconds = len(frames) * HOP
    width = min(_WIDEST, max(4.0, _INCHES * seconds))
    figure = Figure(figsize=(width, 3.2), layout="constrained")
    axis = figure.subplots()
    low, high = np.quantile(frames, (0.05, 0.995))
    axis.imshow(
        frames.T, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high,
        extent=(0, seconds, 0, frames.shape[1]),
    )  # fmt: skip
    axis.set_ylabel(f"mel band, up to {rate / 2000:g} kHz")
    size = max(4, min(11, 60 * width / max(1, len(transcript.characters))))
    for character, time in transcript.characters:
        if character != " ":
            axis.text(time, -0.04, plain(character), ha="center", va="top", fontsize=size,
                      transform=axis.get_xaxis_transform())  # fmt: skip
    for word in transcript.words:
        axis.axvline(word.start, color="white", linewidth=0.5, alpha=0.6)
    axis.tick_params(axis="x", top=True, bottom=False, labeltop=True, labelbottom=False)
    figure.savefig(out, dpi=110, format="png")
