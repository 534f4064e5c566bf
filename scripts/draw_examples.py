"""Draw the example files of `visionrnn demo` that are no photos: a street, a clip, a table.

    python scripts/draw_examples.py

All are drawn, so that nothing of a data set comes along.
"""

import csv
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from common.cli import run

FOLDER = Path(__file__).parent.parent / "visionrnn" / "demo" / "examples"


@dataclass(frozen=True)
class Config:
    """Flags."""

    out: Path = FOLDER
    """Folder to write to."""


def street(random: np.random.Generator) -> Image.Image:
    """A street that runs to a point on the horizon, 960 x 720."""
    width, height, horizon, middle = 960, 720, 330, 500
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    for y in range(horizon + 20):  # sky, brighter near the horizon
        grey = 190 + 55 * y / horizon
        draw.line([(0, y), (width, y)], fill=(int(grey - 12), int(grey - 4), int(min(grey + 8, 255))))

    draw.rectangle([0, horizon, width, height], fill=(140, 132, 122))

    def line(x: float, y: float, share: float) -> tuple[float, float]:
        """A point, moved towards the vanishing point."""
        return x + (middle - x) * share, y + (horizon - y) * share

    for x0, depth, roof, colour in (
        (-160, 0.78, -260, (128, 92, 78)), (1120, 0.72, -180, (150, 134, 112)),
        (150, 0.62, 60, (158, 142, 124)), (880, 0.6, 90, (120, 88, 74)),
    ):  # fmt: skip
        near, far = line(x0, 560, 0.0), line(x0, 560, depth)
        top, end = line(x0, roof, 0.0), line(x0, roof, depth)
        draw.polygon([near, far, end, top], fill=colour)
        for floor in range(6):
            for k in range(9):
                a, b = 0.08 + 0.1 * k * depth, 0.13 + 0.1 * k * depth
                top_of_window = roof + 40 + floor * (520 - roof) / 6
                window = [(a, 0), (b, 0), (b, 55), (a, 55)]
                corners = [line(x0, top_of_window + below, share) for share, below in window]
                draw.polygon(corners, fill=(58, 62, 70), outline=(205, 200, 190))
    draw.polygon(
        [(-500, height), (middle - 12, horizon), (middle + 12, horizon), (1500, height)], fill=(152, 146, 140)
    )
    draw.polygon(
        [(60, height), (middle - 6, horizon), (middle + 6, horizon), (900, height)], fill=(84, 86, 90)
    )
    for k in range(7):  # dashes of the lane
        a, b = 1 - 0.62**k, 1 - 0.62 ** (k + 0.45)
        draw.polygon([line(478, height, a), line(490, height, a), line(490, height, b), line(478, height, b)],
                     fill=(220, 220, 214))  # fmt: skip
    for x, y, size in ((120, 330, 150), (170, 290, 110), (300, 330, 70), (835, 320, 95)):  # trees
        draw.rectangle([x - size * 0.06, y, x + size * 0.06, y + size * 1.15], fill=(70, 56, 44))
        for _ in range(260):
            angle, reach = random.uniform(0, 2 * math.pi), size * 0.62 * math.sqrt(random.uniform())
            cx, cy, r = x + reach * math.cos(angle), y - size * 0.3 + reach * math.sin(angle), size * 0.1
            green = int(random.integers(50, 105))
            draw.ellipse([cx - r, cy - r, cx + r, cy + r], fill=(green - 22, green, green - 32))
    for car in (
        (300, 455, 150, (150, 32, 36)),
        (640, 440, 125, (38, 58, 110)),
        (560, 385, 55, (200, 202, 206)),
    ):
        _car(draw, *car)
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(1.1)), dtype=np.float32)
    coarse = np.kron(random.normal(0, 5, (height // 8, width // 8, 1)), np.ones((8, 8, 1)))
    fine = random.normal(0, 5, (height, width, 1))
    return Image.fromarray(np.clip(pixels + coarse + fine, 0, 255).astype(np.uint8))


def _car(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, colour: tuple[int, int, int]) -> None:
    """A car from behind, `size` wide and a fifth more; (x, y) is the middle of its boot's upper edge."""

    def box(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        return x + size * x0, y + size * y0, x + size * x1, y + size * y1

    def roof(low: float, high: float, height: float) -> list[tuple[float, float]]:
        top, bottom = y - size * height, y
        return [
            (x - size * low, bottom),
            (x - size * high, top),
            (x + size * high, top),
            (x + size * low, bottom),
        ]

    draw.ellipse(box(-0.62, 0.36, 0.62, 0.52), fill=(40, 40, 42))
    draw.rounded_rectangle(box(-0.6, -0.05, 0.6, 0.4), size * 0.1, fill=colour)
    draw.polygon(roof(0.5, 0.36, 0.32), fill=colour)
    draw.polygon(roof(0.42, 0.32, 0.27), fill=(46, 54, 62))
    for side in (-0.46, 0.46):
        draw.rectangle(box(side - 0.1, 0.36, side + 0.1, 0.5), fill=(22, 22, 24))
        draw.ellipse(box(side - 0.07, 0.08, side + 0.07, 0.18), fill=(235, 70, 60))


def figure(time: float, random: np.random.Generator) -> Image.Image:
    """A person who squats before a depth camera, at a time from 0 to 1; 320 x 240, near is bright."""
    image = Image.new("L", (320, 240))
    draw = ImageDraw.Draw(image)
    low = math.sin(math.pi * time) ** 2  # how deep: 1 is the lowest
    down, grey = 45 * low, 118

    def limb(points: list[tuple[float, float]], width: int, shade: float) -> None:
        draw.line(points, fill=int(shade), width=width, joint="curve")
        for x, y in points:
            draw.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=int(shade))

    draw.ellipse([147, 52 + down, 173, 86 + down], fill=grey)
    draw.rounded_rectangle([138, 84 + down, 182, 150 + down], 12, fill=grey)
    for side in (-1, 1):  # knees bend outwards and hands come forward
        knee = (160 + side * (12 + 16 * low), 185 + 20 * low)
        limb([(160 + side * 10, 148 + down), knee, (160 + side * 13, 224)], 17, grey - 2 + 13 * low)
        elbow = (160 + side * (33 - 6 * low), 122 + down - 5 * low)
        hand = (160 + side * (35 - 9 * low), 150 + down - 40 * low)
        limb([(160 + side * 20, 93 + down), elbow, hand], 12, grey + 1 + 25 * low)
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(0.7)), dtype=np.float32)
    noise = random.normal(0, 1.5, pixels.shape) * (pixels > 20)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)).convert("RGB")


def clip(file: Path, random: np.random.Generator, seconds: float = 3.2, rate: int = 15) -> None:
    """Write `figure` as a clip."""
    with av.open(str(file), "w") as out:
        stream = out.add_stream("libx264", rate=Fraction(rate), options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for k in range(int(seconds * rate)):
            frame = av.VideoFrame.from_image(figure(k / rate / seconds, random))
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def sales(file: Path, random: np.random.Generator, months: int = 96) -> None:
    """Write a monthly table of a shop that does not exist: growth, a summer, chance."""
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["month", "ice creams sold"])
        for k in range(months):
            season = 1 + 0.45 * math.sin(2 * math.pi * (k % 12 - 3.5) / 12) + 0.12 * (k % 12 in (6, 7))
            value = 820 * 1.007**k * season * float(random.normal(1, 0.035))
            writer.writerow([f"{2018 + k // 12}-{k % 12 + 1:02d}", round(value)])


def main(config: Config) -> None:
    """Draw all of them. Raises OSError."""
    random = np.random.default_rng(0)
    config.out.mkdir(parents=True, exist_ok=True)
    street(random).save(config.out / "street.jpg", quality=85)
    clip(config.out / "clip.mp4", random)
    sales(config.out / "sales.csv", random)


if __name__ == "__main__":
    run(main, Config, __doc__)
