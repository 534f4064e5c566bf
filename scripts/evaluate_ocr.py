"""Score a recognizer on labelled lines (`--data`), whole pages (`--pages`), or both.

python scripts/evaluate_ocr.py --data DIR --model NAME --report FILE.json
"""

from common.cli import run
from ocr.evaluation import EvaluationConfig, evaluate

if __name__ == "__main__":
    run(evaluate, EvaluationConfig, __doc__)
