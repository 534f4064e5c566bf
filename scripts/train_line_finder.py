"""Train a finder of the lines of pages."""

from inspect import getdoc

from common.cli import run
from ocr.finder_training import FinderTraining, train

if __name__ == "__main__":
    run(train, FinderTraining, getdoc(FinderTraining))
