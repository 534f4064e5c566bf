"""Train a speech recognizer: `visionrnn train speech`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("train", "speech")
