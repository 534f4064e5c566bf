"""Forecast what comes after a series: `visionrnn forecast`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("forecast")
