"""Score a forecaster and, for comparison, naive, seasonal naive, AR and Holt-Winters by a rolling backtest.

python scripts/evaluate_forecasting.py --data FILE.csv --date-column DATE --value-column VALUE
    --model RUN --report R.json
"""

from common.cli import needs_extra, run

with needs_extra("forecast"):
    from forecasting.evaluation import EvaluationConfig, evaluate

if __name__ == "__main__":
    run(evaluate, EvaluationConfig, __doc__)
