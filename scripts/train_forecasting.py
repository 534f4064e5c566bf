"""Train an RNN to forecast a time series: `visionrnn train forecasting`."""

from visionrnn.cli import main

if __name__ == "__main__":
    main("train", "forecasting")
