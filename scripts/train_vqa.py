"""Train an answerer of questions about images: `visionrnn train vqa`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("train", "vqa")
