"""Train an action classifier over frame features.

    python scripts/train_video.py --data DIR --out RUN
    python scripts/train_video.py --data DIR --out RUN --folds group

DIR holds `train.csv` and `val.csv` (columns file, label, group) and the clips. No group may occur in both.
"""

from common.cli import run
from video.training import VideoConfig, train

if __name__ == "__main__":
    run(train, VideoConfig, __doc__)
