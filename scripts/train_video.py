"""Train an action classifier over frame features: `visionrnn train video`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("train", "video")
