"""Score an answerer and, for comparison, a model without the image and the most frequent answer.

python scripts/evaluate_vqa.py --data DIR --split val --model NAME --report FILE.json
"""

from common.cli import run
from vqa.evaluation import EvaluationConfig, evaluate

if __name__ == "__main__":
    run(evaluate, EvaluationConfig, __doc__)
