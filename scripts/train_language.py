"""Train a language model: `visionrnn train language`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("train", "language")
