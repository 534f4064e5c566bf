"""Small clips that the tests encode themselves: a bright square that moves."""

import csv
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from common.encoder import Encoder
from tests.conftest import TINY_ENCODER
from video.config import ClipConfig
from video.model import VideoModel

MOVES = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def moving_square(
    label: str, frames: int, seed: int = 0, size: tuple[int, int] = (64, 64)
) -> list[np.ndarray]:
    """RGB frames of a square that crosses the picture."""
    random = np.random.default_rng(seed)
    width, height = size
    side, (dx, dy) = min(size) // 4, MOVES[label]
    pictures = []
    for i in range(frames):
        part = i / max(1, frames - 1) - 0.5
        x = int((width - side) * (0.5 + dx * part * 0.9)) + int(random.integers(-1, 2))
        y = int((height - side) * (0.5 + dy * part * 0.9)) + int(random.integers(-1, 2))
        pixels = np.full((height, width, 3), 40, np.uint8)
        pixels[max(0, y) : y + side, max(0, x) : x + side] = (220, 200, 60)
        pictures.append(pixels)
    return pictures


def write_video(
    path: Path,
    pictures: list[np.ndarray],
    times: list[float] | None = None,
    rate: int = 20,
    rotation: int = 0,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
) -> Path:
    """Encode pictures; `times` in seconds make the frame rate a variable one."""
    with av.open(str(path), "w", options=options or {}) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.height, stream.width = pictures[0].shape[:2] if pictures else (64, 64)
        stream.pix_fmt = pixels
        stream.codec_context.time_base = Fraction(1, 12000)
        if rotation:
            stream.set_display_rotation(rotation)
        out.start_encoding()  # a file also where there is no picture
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = round(12000 * (times[i] if times else i / rate))
            frame.time_base = Fraction(1, 12000)
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return path


def damage(path: Path, first: int, count: int) -> None:
    """Overwrite some packets of a file with zeros."""
    with av.open(str(path)) as opened:
        packets = [(p.pos, p.size) for p in opened.demux(video=0) if p.size]
    content = bytearray(path.read_bytes())
    for position, size in packets[first : first + count]:
        content[position : position + size] = bytes(size)
    path.write_bytes(content)


def write_clips(root: Path, train: int = 6, val: int = 2, frames: int = 16) -> Path:
    """`train` and `val` clips of each move, by two people and a third one."""
    (root / "clips").mkdir(parents=True)
    for split, count in (("train", train), ("val", val)):
        rows = []
        for label in MOVES:
            for i in range(count):
                name = f"clips/{split}_{label}_{i}.mp4"
                write_video(root / name, moving_square(label, frames, seed=i + 100 * (split == "val")))
                rows.append((name, label, f"person{i % 2}" if split == "train" else "person2"))
        with (root / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("file", "label", "group"), *rows])
    return root


def tiny_classifier(
    head: str = "gru", encoder: str = TINY_ENCODER, size: int = 64, **sizes: object
) -> VideoModel:
    torch.manual_seed(0)
    values = {"streams": ("appearance", "difference"), "frames": 8, "head": head, "place_size": 8,
              "hidden_size": 16, "dropout": 0.0, **sizes}  # fmt: skip
    return VideoModel(Encoder(encoder, size).freeze(), ClipConfig(**values), list(MOVES), 0.8).eval()
