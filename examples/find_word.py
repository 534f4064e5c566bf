"""Say when a word is said in recordings or videos.

python examples/find_word.py WORD RECORDING...
"""

import sys

from speech import Transcriber


def main(word: str, *recordings: str, model: str = "digits") -> None:
    """Print file and second of each place."""
    transcriber = Transcriber.from_pretrained(model)
    for recording, transcript in zip(recordings, transcriber.transcribe(recordings), strict=True):
        for said in transcript.words:
            if said.text == word.lower():
                print(f"{recording}: {said.start:.1f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
