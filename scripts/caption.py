"""Caption photos: `visionrnn caption`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("caption")
