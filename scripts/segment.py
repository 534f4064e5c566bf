"""Name the class of each pixel of images: `visionrnn segment`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("segment")
