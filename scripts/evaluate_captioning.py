"""Score a captioner: BLEU-1 to 4, CIDEr-D and, where they can be had, METEOR and ROUGE-L, all x 100.

python scripts/evaluate_captioning.py --data DIR --split val --model NAME --report FILE.json
"""

from captioning.evaluation import EvaluationConfig, evaluate
from common.cli import run

if __name__ == "__main__":
    run(evaluate, EvaluationConfig, __doc__)
