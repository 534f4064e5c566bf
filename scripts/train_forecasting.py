"""Train an RNN to forecast a time series.

    python scripts/train_forecasting.py --data FILE.csv --date-column DATE --value-column VALUE
        --window 24 --horizon 12 --out RUN

The last rows (`--test`) are never used; scaler and base are fitted on the training part alone.
"""

from common.cli import needs_extra, run

with needs_extra("forecast"):
    from forecasting.training import ForecastingConfig, train

if __name__ == "__main__":
    run(train, ForecastingConfig, __doc__)
