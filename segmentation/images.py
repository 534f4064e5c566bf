"""What a picture goes through before the network sees it; training and use share it."""

from dataclasses import replace

from common.images import Preprocess


def fitted(preprocess: Preprocess, width: int, height: int) -> Preprocess:
    """The preprocessing of a picture of this size: its shape is kept, its area becomes the model's own.

    >>> own = Preprocess(360, 480, (0.0,) * 3, (1.0,) * 3)
    >>> fitted(own, 960, 720).width
    480
    """
    scale = (preprocess.height * preprocess.width / (height * width)) ** 0.5
    return replace(preprocess, height=max(1, round(height * scale)), width=max(1, round(width * scale)))
