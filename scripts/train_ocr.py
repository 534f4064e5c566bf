"""Train a recognizer of text lines.

    python scripts/train_ocr.py --data DIR [DIR ...] --out RUN [--synthetic 20000]

DIR holds `labels.tsv` (file, text) or is an LMDB folder of the deep-text-recognition benchmark.
"""

from common.cli import run
from ocr.training import OcrConfig, train

if __name__ == "__main__":
    run(train, OcrConfig, __doc__)
