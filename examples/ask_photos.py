"""Ask the same question about several photos, with the three most likely answers.

python examples/ask_photos.py "what is on the table?" photo1.jpg photo2.jpg
"""

import sys

from vqa import Answerer


def main(question: str, *photos: str) -> None:
    """Print photo, answers and probabilities."""
    answerer = Answerer.from_pretrained("daquar")
    for photo in photos:
        answer = answerer.answer(photo, question, top=3)
        print(photo, *(f"{text} {probability:.2f}" for text, probability in answer.top), sep="\t")


if __name__ == "__main__":
    main(*sys.argv[1:])
