"""Read the text of pages and lines: `visionrnn read`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("read")
