"""Train a language model on a text: python scripts/train_language.py --data FILE|FOLDER --out RUN."""

from common.cli import run
from language.training import LanguageConfig, train

if __name__ == "__main__":
    run(train, LanguageConfig, __doc__)
