"""Small sound that the tests make: every letter is a tone, a space is silence."""

import wave
from pathlib import Path

import numpy as np
import torch

from common.charset import Charset
from common.loss import ctc_loss
from speech.config import SpeechConfig
from speech.data import Clip, SpeechDataset, batches_of, spectrograms
from speech.model import SpeechModel

RATE = 8000
TONES = {"a": 400, "b": 900, "c": 1700, "d": 3000}
TEXTS = ("ab", "cad", "dab cab", "bad", "a cab", "dad", "bab dac", "cd")


def spoken(text: str, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """float32 (S,); 0.14 seconds for each letter."""
    random = np.random.default_rng(seed)
    parts = [np.zeros(rate // 10)]
    for letter in text:
        time = np.arange(int(0.1 * rate)) / rate
        tone = np.sin(2 * np.pi * TONES[letter] * time) if letter in TONES else 0 * time
        parts += [random.uniform(0.2, 0.5) * tone, np.zeros(int(0.04 * rate))]
    sound = np.concatenate([*parts, np.zeros(rate // 10)])
    return (sound + 0.001 * random.standard_normal(len(sound))).astype(np.float32)


def write_wav(path: Path, sound: np.ndarray, rate: int = RATE, width: int = 2) -> Path:
    """Samples (S,) or (S, channels) between -1 and 1, in `width` bytes each."""
    sound = sound[:, None] if sound.ndim == 1 else sound
    with wave.open(str(path), "wb") as file:
        file.setnchannels(sound.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        scaled = np.clip(sound, -1, 1) * (127 if width == 1 else 32767)
        whole = (scaled + 128).astype(np.uint8) if width == 1 else scaled.astype("<i2")
        file.writeframes(whole.tobytes())
    return path


def write_speech(root: Path, train: int = 24, val: int = 8) -> Path:
    """A folder with `{train,val}.tsv` and `clips/`."""
    (root / "clips").mkdir(parents=True)
    for split, count in (("train", train), ("val", val)):
        rows = ["file\ttext\tspeaker"]
        for i in range(count):
            text = TEXTS[i % len(TEXTS)]
            file = write_wav(root / "clips" / f"{split}{i}.wav", spoken(text, i))
            rows.append(f"clips/{file.name}\t{text.capitalize()}.\tspeaker{i % 2}")
        (root / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def tiny_speech(charset: str = " abcd", **sizes) -> SpeechModel:
    """An untrained model."""
    torch.manual_seed(0)
    small = {"sample_rate": RATE, "bands": 20, "channels": 8, "hidden_size": 24, "layers": 2, "dropout": 0.0}
    model = SpeechModel(SpeechConfig(**{**small, **sizes}), Charset(charset))
    model.fit_scale(torch.full((model.config.bands,), -6.0), torch.full((model.config.bands,), 3.0))
    return model.eval()


def dataset(root: Path, **options) -> SpeechDataset:
    """The clips of `TEXTS`, as they are."""
    clips = [Clip(write_wav(root / f"{i}.wav", spoken(t, i)), t, "s") for i, t in enumerate(TEXTS)]
    timed, store = spectrograms(clips, RATE, 20, root / "cache", 0)
    return SpeechDataset(timed, store, np.zeros(20, np.float32), RATE, **options)


def learn(model: SpeechModel, root: Path, steps: int, rate: float = 0.01) -> float:
    """Train on `TEXTS` at once -> the last mean loss a character."""
    from speech.data import Draw

    part = dataset(root)
    batch = batches_of(model.charset)([part[Draw((i,), -1, 0)] for i in range(len(part))])
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    model.train()
    for _ in range(steps):
        logits, lengths = model(batch.frames, batch.lengths)
        loss = ctc_loss(logits.log_softmax(-1), lengths, batch.targets, batch.target_lengths)
        loss = loss / batch.target_lengths.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    return loss.item()
