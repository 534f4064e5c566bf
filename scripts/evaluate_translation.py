"""Score a translation model: BLEU and chrF of sacreBLEU, BLEU by length and of sentences with unknown words.

python scripts/evaluate_translation.py --data DIR --split val --source en --target de --model NAME
    --report FILE.json
"""

from common.cli import run
from translation.evaluation import EvaluationConfig, evaluate

if __name__ == "__main__":
    run(evaluate, EvaluationConfig, __doc__)
