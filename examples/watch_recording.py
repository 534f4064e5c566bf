"""Say when something happens in a long recording, window by window, as it is read.

python examples/watch_recording.py recording.mp4 surveillance-fight
"""

import sys

from video import ActionClassifier, segments


def main(recording: str, model: str = "surveillance-fight") -> None:
    """Print start, end and label of each segment when it ends."""
    classifier = ActionClassifier.from_pretrained(model)
    for segment in segments(classifier.watch(recording), classifier.model.labels):
        print(f"{segment.start:6.1f} s to {segment.end:6.1f} s: {segment.label}")


if __name__ == "__main__":
    main(*sys.argv[1:])
