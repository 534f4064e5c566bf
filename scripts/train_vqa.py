"""Train an answerer of questions about images.

    python scripts/train_vqa.py --data DIR --out RUN

DIR holds `annotations/questions_{train,val}.json`, `annotations/annotations_{train,val}.json` and `images/`.
"""

from common.cli import run
from vqa.training import VqaConfig, train

if __name__ == "__main__":
    run(train, VqaConfig, __doc__)
