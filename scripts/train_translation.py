"""Train a translation model: `visionrnn train translation`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("train", "translation")
