"""Score a segmentation model over a whole part of a data set, at the labels' own size.

python scripts/evaluate_segmentation.py --data DIR --split val --model NAME --report FILE.json
"""

from common.cli import run
from segmentation.evaluation import EvaluationConfig, evaluate

if __name__ == "__main__":
    run(evaluate, EvaluationConfig, __doc__)
