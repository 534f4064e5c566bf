"""A small web service around `TextReader` and `Captioner`, and what hours of good and damaged files do to it.

    python benchmarks/service.py --minutes 60 --report FILE.json

Clients post images that the script draws, pages for the reader and scenes for the captioner, between images
of which some bytes are changed or missing. Each answer to a good image is compared with the one that the
same object gave before there were threads; a damaged one may get an answer or an error, but no crash.

- `wrong`: answers to good images that differ. Bar: 0.
- `crashes`: answers with code 500, and connections that broke. Bar: 0.
- `growth_mib`: how far the largest memory of the last tenth of the time is above that after the first ten
  minutes, or a third of the time where that is less. Bar: below 50.
"""

import io
import json
import random
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from timing import resident

from captioning import Captioner
from common.cli import command_line, run
from common.errors import ImageError
from common.images import FORMATS, blamed_on
from ocr import TextReader

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")
_WORDS = (
    "total",
    "cash",
    "change",
    "tea",
    "milk",
    "bread",
    "thank",
    "you",
    "table",
    "date",
    "number",
    "open",
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags."""

    minutes: float = 60
    """How long."""
    clients: int = 4
    """Threads that ask, one question after the other."""
    images: int = 24
    """Good images of each kind."""
    damaged: float = 0.5
    """Share of the images sent that are damaged."""
    report: Path | None = None
    """JSON file to write."""


def main(config: Config) -> None:
    """Run it and print it."""
    reader, captioner = TextReader.from_pretrained("english"), Captioner.from_pretrained("flickr8k")
    answers: dict[str, Callable[[Image.Image], str]] = {
        "/read": lambda image: reader.read(image).text,
        "/caption": lambda image: captioner.caption([image])[0].text,
    }
    drawn = {"/read": page, "/caption": scene}
    good = [
        (path, encoded(draw(seed), _FORMATS[seed % len(_FORMATS)]))
        for path, draw in drawn.items()
        for seed in range(config.images)
    ]
    expected = [answers[path](Image.open(io.BytesIO(content))) for path, content in good]
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(answers))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    outcomes: list[str] = []  # to append is safe in threads
    end = time.monotonic() + 60 * config.minutes
    clients = [
        threading.Thread(
            target=ask, args=(server.server_port, good, expected, config.damaged, seed, end, outcomes)
        )
        for seed in range(config.clients)
    ]
    for client in clients:
        client.start()
    memory = watch(end)
    for client in clients:
        client.join()
    server.shutdown()
    counts = Counter(outcomes)
    first = min(600.0, 20 * config.minutes)
    before = max(size for at, size in memory if at <= first)
    after = max(size for at, size in memory if at >= 0.9 * 60 * config.minutes)
    result: dict[str, Any] = {
        "minutes": config.minutes,
        "clients": config.clients,
        "command": command_line(),
        **{name: counts[name] for name in ("right", "wrong", "damaged_read", "damaged_refused", "crashes")},
        "first_mib": round(before / 2**20, 1),
        "last_mib": round(after / 2**20, 1),
        "growth_mib": round((after - before) / 2**20, 1),
        "memory_mib": [
            [round(at), round(size / 2**20, 1)] for at, size in memory[:: max(1, len(memory) // 60)]
        ],
    }
    print(json.dumps(result, indent=1))
    if config.report:
        config.report.write_text(json.dumps(result, indent=1), encoding="utf-8")


def handler(answers: dict[str, Callable[[Image.Image], str]]) -> type[BaseHTTPRequestHandler]:
    """A service that answers a posted image with text: 200, 422 for what is no image, 500 for a crash."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                with blamed_on("the image"):  # Pillow raises errors of every type
                    image = Image.open(io.BytesIO(content), formats=FORMATS)
                code, text = 200, answers[self.path](image)
            except ImageError as error:
                code, text = 422, str(error)
            except Exception as error:
                code, text = 500, repr(error)
            body = text.encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler


def ask(
    port: int,
    good: list[tuple[str, bytes]],
    expected: list[str],
    damaged: float,
    seed: int,
    end: float,
    outcomes: list[str],
) -> None:
    """A client: images at random until `end`."""
    chance = random.Random(seed)
    while time.monotonic() < end:
        connection = HTTPConnection("127.0.0.1", port, timeout=600)
        number = chance.randrange(len(good))
        path, content = good[number]
        spoilt = chance.random() < damaged
        try:
            connection.request("POST", path, changed(content, chance) if spoilt else content)
            answer = connection.getresponse()
            text = answer.read().decode()
        except OSError as error:
            outcome, text = "crashes", repr(error)
        else:
            if answer.status == 500:
                outcome = "crashes"
            elif spoilt:
                outcome = "damaged_read" if answer.status == 200 else "damaged_refused"
            else:
                outcome = "right" if text == expected[number] else "wrong"
        if outcome in ("crashes", "wrong"):
            print(f"{outcome}: {path} {number}: {text!r}, expected {expected[number]!r}", flush=True)
        outcomes.append(outcome)
        connection.close()


def watch(end: float) -> list[tuple[float, int]]:
    """Seconds since the start and the process's memory, every 5 seconds or more often."""
    started = time.monotonic()
    found = []
    while time.monotonic() < end:
        found.append((time.monotonic() - started, resident()))
        time.sleep(min(5.0, (end - started) / 100))
    return found


def page(seed: int) -> Image.Image:
    """Printed lines."""
    chance = random.Random(seed)
    font = ImageFont.load_default(chance.choice((20, 24, 30)))
    image = Image.new("RGB", (chance.randrange(400, 700), chance.randrange(200, 500)), (245, 245, 240))
    draw = ImageDraw.Draw(image)
    for y in range(20, image.height - 40, 45):
        text = " ".join(chance.choice(_WORDS) for _ in range(3))
        draw.text((25, y), f"{text} {chance.randrange(100)}.{chance.randrange(10, 100)}", (20, 20, 30), font)
    return image


def scene(seed: int) -> Image.Image:
    """Coloured shapes on a ground."""
    random_state = np.random.default_rng(seed)
    width, height = (int(n) for n in random_state.integers(120, 500, 2))
    image = Image.new("RGB", (width, height), tuple(int(n) for n in random_state.integers(60, 255, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(8):
        x, y, width, height = (int(n) for n in random_state.integers(5, 110, 4))
        shape = draw.ellipse if random_state.random() < 0.5 else draw.rectangle
        shape((x, y, x + width, y + height), fill=tuple(int(n) for n in random_state.integers(0, 255, 3)))
    return image


def encoded(image: Image.Image, kind: str) -> bytes:
    """The content of a file."""
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def changed(content: bytes, chance: random.Random) -> bytes:
    """A file with some bytes changed, cut out, or its end missing."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 3, 20))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.3:
        start = chance.randrange(len(data))
        del data[start : start + chance.randrange(1, 200)]
    if chance.random() < 0.3:
        del data[chance.randrange(len(data)) :]
    return bytes(data)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of Pillow, about damaged files
    run(main, Config, __doc__)
