"""Train a captioner: `visionrnn train captioning`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("train", "captioning")
