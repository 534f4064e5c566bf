"""Ask questions about an image: `visionrnn ask`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("ask")
