"""A class for each pixel of an image: the class that users call.

Notation: N images, H x W pixels, K classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from common.errors import ImageError
from common.images import ImageSource, blamed_on, load_image
from common.predictor import Predictor, results
from common.threads import ahead
from segmentation.on_graphs import OnGraphs

if TYPE_CHECKING:
    from segmentation.model import SegmentationModel

_VALUES = 2**24  # logits of a class that are upsampled at a time


@dataclass(frozen=True)
class Segmentation:
    """The classes of one image."""

    labels: np.ndarray
    """uint8 (H, W), class ids at the image's own size."""
    classes: tuple[str, ...]
    """Names; the position is the id."""

    @property
    def shares(self) -> dict[str, float]:
        """Class name -> share of the image, largest first, without those that do not occur."""
        counts = np.zeros(len(self.classes), np.int64)
        for row in self.labels:  # of all at once NumPy makes 64-bit integers
            counts += np.bincount(row, minlength=len(self.classes))
        order = np.argsort(-counts, kind="stable")
        return {self.classes[i]: float(counts[i] / self.labels.size) for i in order if counts[i]}


class Segmenter(Predictor["SegmentationModel | OnGraphs"]):
    """Segments images with a trained model.

    Args:
        model: from training or `SegmentationModel.from_pretrained`.
        device: auto, cpu or cuda.
        precision: auto (bf16 where the hardware has it), bf16 or fp32.

    Example:
        >>> segmenter = Segmenter.from_pretrained("camvid")  # doctest: +SKIP
        >>> segmenter.segment("street.jpg").shares  # doctest: +SKIP
    """

    graph_class = OnGraphs

    @classmethod
    def torch_class(cls) -> "type[SegmentationModel]":
        """See `Predictor.torch_class`."""
        from segmentation.model import SegmentationModel

        return SegmentationModel

    def on_torch(self, model: Any) -> Any:
        """See `Predictor.on_torch`."""
        from segmentation.on_torch import OnTorch

        return OnTorch(model, self.device, self.precision)

    def segment(self, image: ImageSource) -> Segmentation:
        """Segment one image: a path or a Pillow image. Raises ImageError."""
        return results(self.segment_each([image], workers=0))[0]

    def segment_each(
        self, images: Sequence[ImageSource], *, workers: int = 2
    ) -> Iterator[Segmentation | ImageError]:
        """Segment images of any sizes in order, one at a time; one that cannot be read gives its error.

        Args:
            images: paths or Pillow images.
            workers: threads that read ahead; 0 reads in this one.
        """

        def load(source: ImageSource) -> tuple[np.ndarray, int, int]:
            image = load_image(source)
            pixels = self.model.preprocess.fitted(*image.size).batch([np.asarray(image)])
            return pixels, image.height, image.width

        for source, loaded in zip(images, ahead(load, images, workers, 2), strict=True):
            if isinstance(loaded, ImageError):
                yield loaded
                continue
            try:
                with blamed_on("the picture" if isinstance(source, Image.Image) else source):
                    labels = self.predict(*loaded)[0]
            except ImageError as error:
                yield error
                continue
            yield Segmentation(labels, tuple(self.model.classes))

    def predict(
        self,
        images: np.ndarray,
        height: int,
        width: int,
        *,
        scales: Sequence[float] = (1.0,),
        mirrored: bool = False,
    ) -> np.ndarray:
        """Preprocessed images (N, 3, H, W) -> class ids, uint8 (N, height, width).

        With several `scales`, relative to H and W, or `mirrored` as well, the mean of the probabilities of
        all these views decides; it takes as many times as long, and for each class a float for each pixel.
        """
        if tuple(scales) == (1.0,) and not mirrored:
            return np.stack([classes_at(each, height, width) for each in self.network.logits(images)])
        total = np.zeros((len(images), len(self.model.classes), height, width), np.float32)
        for scale in scales:
            view = _scaled(images, scale)
            for turn in (1, -1) if mirrored else (1,):
                logits = self.network.logits(np.ascontiguousarray(view[..., ::turn]))
                for mean, each in zip(total, logits, strict=True):
                    mean += _softmax(np.stack([_at(plane, height, width) for plane in each]))[..., ::turn]
        return total.argmax(axis=1).astype(np.uint8)


def classes_at(logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """logits (K, h, w) -> the best class at each place of the upsampled ones, uint8 (height, width).

    One class after the other and some rows at a time: all logits of a camera photo need gigabytes.
    """
    rows = max(1, _VALUES // width)
    found = np.zeros((height, width), np.uint8)
    for top in range(0, height, rows):
        strip = slice(top, min(top + rows, height))
        best = _at(logits[0], height, width, strip)
        for number, plane in enumerate(logits[1:], 1):
            values = _at(plane, height, width, strip)
            np.copyto(found[strip], number, where=values > best)
            np.maximum(best, values, out=best)
    return found


def _at(plane: np.ndarray, height: int, width: int, strip: slice | None = None) -> np.ndarray:
    """plane (h, w) -> rows of (height, width), bilinear, as torch's `interpolate` without aligned corners."""
    if strip is None or strip == slice(0, height):
        return cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)
    last = len(plane) - 1
    places = ((np.arange(strip.start, strip.stop) + 0.5) * (len(plane) / height) - 0.5).clip(0, last)
    above = places.astype(int)
    share = (places - above).astype(np.float32)[:, None]
    rows = plane[above] * (1 - share) + plane[np.minimum(above + 1, last)] * share
    return cv2.resize(rows, (width, len(rows)), interpolation=cv2.INTER_LINEAR)


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Over the classes (K, H, W), in place."""
    np.exp(np.subtract(logits, logits.max(axis=0), out=logits), out=logits)
    logits /= logits.sum(axis=0)
    return logits


def _scaled(images: np.ndarray, scale: float) -> np.ndarray:
    """Images (N, 3, H, W), each channel scaled with antialiasing."""
    if scale == 1:
        return images
    height, width = (max(1, round(side * scale)) for side in images.shape[2:])
    planes = [
        np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
        for plane in images.reshape(-1, *images.shape[2:])
    ]
    return np.stack(planes).reshape(*images.shape[:2], height, width)
