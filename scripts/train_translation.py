"""Train a translation model on pairs of sentences.

    python scripts/train_translation.py --data DIR --source en --target de --out RUN

DIR holds `{train,val}.en` and `{train,val}.de`, where line n of the one belongs to line n of the other, or
`train.tsv` and `val.tsv` with the names of the languages in the first line.
"""

from common.cli import run
from translation.training import TranslationTraining, train

if __name__ == "__main__":
    run(train, TranslationTraining, __doc__)
