"""Score an action classifier, in order and with the frames of each clip shuffled.

python scripts/evaluate_video.py --data DIR --split val --model NAME --report FILE.json
"""

from common.cli import run
from video.evaluation import EvaluationConfig, evaluate

if __name__ == "__main__":
    run(evaluate, EvaluationConfig, __doc__)
