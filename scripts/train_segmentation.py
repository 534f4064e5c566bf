"""Train a segmentation model: `visionrnn train segmentation`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("train", "segmentation")
