"""Go on writing a text: `visionrnn write`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("write")
