"""Draw the pictures of docs/how_it_works.md from the bundled models, and photograph `visionrnn demo`.

    python scripts/draw_docs.py

The photograph needs chromium, chromedriver and the package selenium; without them it is left as it is.
"""

import io
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from captioning import Captioner
from common.cli import print_note, run
from common.drawing import draw_attention
from ocr import TextReader
from segmentation import SegmentationModel
from vqa import Answerer

ROOT = Path(__file__).parent.parent
STREET = ROOT / "visionrnn" / "demo" / "examples" / "street.jpg"
QUESTION = "how many chairs are there in front of the table"
PLACE = (0.62, 0.32)  # share of height and width: a car of the street


@dataclass(frozen=True)
class Config:
    """Flags."""

    out: Path = ROOT / "docs"
    """Folder to write to."""


def attention(out: Path) -> None:
    """Where the captioner looks for each word."""
    captioner = Captioner.from_pretrained("flickr8k", precision="fp32")
    photo = ROOT / "examples" / "cat.jpg"
    caption = captioner.caption([photo])[0]
    draw_attention(photo, caption.text, caption.tokens, captioner.attention(photo, caption), out)


def ctc(out: Path) -> None:
    """A drawn word, what the network thinks of each column, and the columns' best characters."""
    line = Image.new("L", (124, 48), 255)
    ImageDraw.Draw(line).text((12, 0), "hello", 20, ImageFont.load_default(38))
    model = TextReader.from_pretrained("english", precision="fp32", engine="torch").model
    pixels = model.preprocess(np.asarray(line))
    with torch.inference_mode():
        logits = model(torch.as_tensor(pixels)[None, None].float() if pixels.ndim == 2 else pixels[None])
    shares = (logits[0] if isinstance(logits, tuple) else logits)[0].softmax(-1).numpy()
    best = shares.argmax(axis=1)
    shown = [0, *dict.fromkeys(int(k) for k in best if k)]
    names = ["blank -", *(model.charset.decode([k]) for k in shown[1:])]
    path = "".join("-" if k == 0 else model.charset.decode([int(k)]) for k in best)
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, gridspec_kw={"height_ratios": (1, 1.5)})
    above.imshow(line, cmap="gray", aspect="auto", extent=(0, len(best), 1, 0))
    above.set(yticks=[], xticks=[], title="the line, cut into the network's columns")
    for k in range(1, len(best)):
        above.axvline(k, color="tab:blue", linewidth=0.4)
    below.imshow(
        shares[:, shown].T, cmap="Blues", vmin=0, vmax=1, aspect="auto", extent=(0, len(best), len(shown), 0)
    )
    below.set_yticks(np.arange(len(shown)) + 0.5, names)
    below.set_xticks(np.arange(len(best)) + 0.5, list(path), fontfamily="monospace")
    below.set_xlabel(f"the best character of each column: {path}  ->  {model.charset.decode(_merged(best))}")
    below.set_title("probability of each character, column by column")
    figure.savefig(out, dpi=100, format="png")


def _merged(best: np.ndarray) -> list[int]:
    """Repeats merged, blanks dropped."""
    before = np.concatenate([[0], best[:-1]])
    return [int(k) for k, last in zip(best, before, strict=True) if k not in (0, last)]


def gates(out: Path) -> None:
    """The gates of the LSTM that reads a question, word by word."""
    answerer = Answerer.from_pretrained("daquar-question-only", precision="fp32", engine="torch")
    words = QUESTION.split()
    network = answerer.model.network
    lstm: Any = next(module for module in network.modules() if isinstance(module, torch.nn.LSTM))
    inputs = network.embedding(torch.tensor(answerer.model.vocabulary.encode(words)))
    hidden = memory = torch.zeros(lstm.hidden_size)
    found = []
    with torch.inference_mode():
        for x in inputs:
            sums = lstm.weight_ih_l0 @ x + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ hidden + lstm.bias_hh_l0
            let_in, forget, new, let_out = sums.chunk(4)
            let_in, forget, let_out = let_in.sigmoid(), forget.sigmoid(), let_out.sigmoid()
            memory = forget * memory + let_in * new.tanh()
            hidden = let_out * memory.tanh()
            found.append(torch.stack([let_in, forget, let_out, memory.tanh()]))
        expected = lstm(inputs[None])[0][0, -1]
    if not torch.allclose(hidden, expected, atol=1e-4):
        raise AssertionError("these gates are not those of the LSTM")
    values = torch.stack(found).numpy()  # T, 4, D
    changing = np.argsort(-values[:, 3].std(axis=0))[:40]
    changing = changing[np.argsort(np.abs(values[:, 3, changing]).argmax(axis=0), kind="stable")]
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (1, 1.8)})
    for k, name in enumerate(
        ("input gate: what is written", "forget gate: what is kept", "output gate: what is shown")
    ):
        above.plot(values[:, k].mean(axis=1), marker="o", label=name)
    above.set(ylim=(0, 1), ylabel="mean of 512 cells")
    above.grid(alpha=0.3)
    above.legend(fontsize=8, loc="lower left", ncols=3)
    image = below.imshow(values[:, 3, changing].T, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    below.set(ylabel="40 cells that change most", yticks=[])
    below.set_xticks(range(len(words)), words)
    figure.colorbar(image, ax=below, label="what a cell remembers", shrink=0.8)
    figure.savefig(out, dpi=100, format="png")


def view(out: Path) -> None:
    """How far one place of the street sees: the gradient of its logits with respect to the image."""
    model = SegmentationModel.from_pretrained("camvid")
    own = model.preprocess
    pixels = torch.from_numpy(own.fitted(own.width, own.height)(STREET))[None].requires_grad_()
    logits = model(pixels)
    row, column = (int(share * size) for share, size in zip(PLACE, logits.shape[2:], strict=True))
    logits[0, :, row, column].abs().sum().backward()
    assert pixels.grad is not None
    gradient = pixels.grad[0].abs().sum(dim=0).numpy()
    height, width = gradient.shape
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(Image.open(STREET).resize((width, height)))
    left.plot(PLACE[1] * width, PLACE[0] * height, "o", color="red", markersize=9, markerfacecolor="none")
    left.set_title("one place of the image")
    right.imshow(np.log10(gradient / gradient.max() + 1e-6), cmap="inferno", vmin=-5, vmax=0)
    right.set_title("what its class depends on (logarithmic)")
    for axis in (left, right):
        axis.set_axis_off()
    figure.savefig(out, dpi=100, format="png")


def photograph(out: Path) -> None:
    """The page of the demo with a caption and its attention; left out where there is no browser."""
    try:
        from selenium import webdriver
        from selenium.webdriver.common.by import By
        from selenium.webdriver.support import expected_conditions
        from selenium.webdriver.support.ui import WebDriverWait
    except ModuleNotFoundError:
        print_note("no photograph: selenium is not installed")
        return
    from visionrnn.demo.command import Server

    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and driver):
        print_note("no photograph: chromium and chromedriver are not installed")
        return
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--window-size=1000,740"):
        options.add_argument(flag)
    with Server(0, 50) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        try:
            chrome.get(f"http://127.0.0.1:{server.server_address[1]}/#read")
            example = (By.CSS_SELECTOR, "#panel-read .examples button")
            for _ in range(2):  # the second time the model is loaded
                WebDriverWait(chrome, 60).until(lambda b: b.find_elements(*example))[0].click()
                done = expected_conditions.text_to_be_present_in_element(
                    (By.CSS_SELECTOR, "#panel-read .status"), "done in"
                )
                WebDriverWait(chrome, 120).until(done)
            picture = Image.open(io.BytesIO(chrome.get_screenshot_as_png())).convert("RGB")
        finally:
            chrome.quit()
            server.shutdown()
    picture.quantize(96).save(out, optimize=True)


def main(config: Config) -> None:
    """Draw all of them. Raises OSError."""
    for draw in (attention, ctc, gates, view):
        file = config.out / f"{draw.__name__}.png"
        draw(file)
        Image.open(file).convert("RGB").quantize(200).save(file, optimize=True)
    photograph(config.out / "demo.png")


if __name__ == "__main__":
    run(main, Config, __doc__)
