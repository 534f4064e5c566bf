"""The preprocessing of an image; training and use share it."""

from dataclasses import dataclass

import numpy as np

from common.images import ImageSource, Preprocess, load_image


@dataclass(frozen=True)
class ScenePreprocess(Preprocess):
    """Keeps an image's shape and gives it the area `height` x `width`, which the model was trained at."""

    def __call__(self, source: ImageSource) -> np.ndarray:
        """An image as float32 (3, H, W), normalised. Raises ImageError."""
        image = load_image(source)
        return np.ascontiguousarray(self.fitted(*image.size).batch([np.asarray(image)])[0])

    def fitted(self, width: int, height: int) -> Preprocess:
        """The preprocessing of images of this size.

        >>> ScenePreprocess(360, 480, (0.0,) * 3, (1.0,) * 3).fitted(960, 720).width
        480
        """
        scale = (self.height * self.width / (height * width)) ** 0.5
        size = max(1, round(height * scale)), max(1, round(width * scale))
        return Preprocess(*size, self.mean, self.std, self.interpolation)
