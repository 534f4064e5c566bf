"""Score a language model: python scripts/evaluate_language.py --data FILE|FOLDER --model MODEL --report FILE.json."""

from common.cli import run
from language.evaluation import EvaluationConfig, evaluate

if __name__ == "__main__":
    run(evaluate, EvaluationConfig, __doc__)
