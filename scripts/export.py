"""Give a model the graphs by which it runs without torch: `visionrnn export`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("export")
