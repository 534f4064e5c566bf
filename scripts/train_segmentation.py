"""Train a segmentation model.

    python scripts/train_segmentation.py --data DIR --out RUN [--context renet] [--stride 32]

DIR holds `classes.txt` (a name a line), `{train,val}/images` and `{train,val}/labels` (PNG of class ids).
"""

from common.cli import run
from segmentation.training import SegmentationConfig, train

if __name__ == "__main__":
    run(train, SegmentationConfig, __doc__)
