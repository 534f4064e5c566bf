"""Train a small language model on a text and let it write.

python examples/imitate_author.py FILE.txt RUN_FOLDER
"""

import sys
from pathlib import Path

from language import Writer
from language.training import LanguageConfig, train


def main(text: Path, run: Path) -> None:
    """A minute for a text of 100,000 characters; more units and epochs write better."""
    train(LanguageConfig(data=text, out=run, hidden_size=128, embedding_size=32, epochs=5, batch_size=16))
    print(Writer.from_pretrained(run).write(length=300, temperature=0.7, seed=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
