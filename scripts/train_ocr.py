"""Train a recognizer of text lines: `visionrnn train ocr`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("train", "ocr")
