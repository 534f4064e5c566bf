"""Grey out one class of a photo, for example the cars of a street.

python examples/hide_class.py street.jpg car hidden.png
"""

import sys

import numpy as np
from PIL import Image

from common.images import load_image
from segmentation import Segmenter


def main(photo: str, name: str, out: str) -> None:
    """Write the photo without the pixels of the class `name`."""
    segmenter = Segmenter.from_pretrained("camvid")
    found = segmenter.segment(photo)
    pixels = np.array(load_image(photo))
    pixels[found.labels == found.classes.index(name)] = 128
    Image.fromarray(pixels).save(out)
    print(f"{found.shares.get(name, 0):.1%} of {photo} is {name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
