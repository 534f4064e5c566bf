"""`visionrnn evaluate video`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("evaluate", "video")
