"""Name what happens in videos: `visionrnn classify`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("classify")
