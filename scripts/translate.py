"""Translate text: `visionrnn translate`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("translate")
