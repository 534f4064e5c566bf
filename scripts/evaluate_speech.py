"""`visionrnn evaluate speech`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("evaluate", "speech")
