"""Train a captioner on pictures with captions.

    python scripts/train_captioning.py --data DIR --out RUN

DIR holds `images/` and `annotations/captions_{train,val}.json` (COCO), or a Karpathy `dataset*.json`, or
`train.jsonl` and `val.jsonl` with lines of {"image": path, "captions": [...]}.
"""

from captioning.training import CaptioningConfig, train
from common.cli import run

if __name__ == "__main__":
    run(train, CaptioningConfig, __doc__)
