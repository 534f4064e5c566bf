"""A class for each pixel of an image: the class that users call."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from common.device import autocast
from common.errors import ImageError
from common.images import ImageSource, blamed_on, load_image
from common.predictor import Predictor, results
from common.threads import ahead
from segmentation.model import SegmentationModel, classes_at, upsample


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


class Segmenter(Predictor[SegmentationModel]):
    """Segments images with a trained model.

    Args:
        model: from training or `SegmentationModel.from_pretrained`.
        device: auto, cpu or cuda.
        precision: auto (bf16 where the hardware has it), bf16 or fp32.

    Example:
        >>> segmenter = Segmenter.from_pretrained("camvid")  # doctest: +SKIP
        >>> segmenter.segment("street.jpg").shares  # doctest: +SKIP
    """

    model_class = SegmentationModel

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

        def load(source: ImageSource) -> tuple[torch.Tensor, int, int]:
            image = load_image(source)
            pixels = self.model.preprocess.fitted(*image.size).batch([np.asarray(image)])[0]
            return torch.from_numpy(np.ascontiguousarray(pixels)), image.height, image.width

        for source, loaded in zip(images, ahead(load, images, workers, 2), strict=True):
            if isinstance(loaded, ImageError):
                yield loaded
                continue
            pixels, height, width = loaded
            try:
                with blamed_on("the picture" if isinstance(source, Image.Image) else source):
                    labels = self.predict(pixels[None], height, width)[0]
            except ImageError as error:
                yield error
                continue
            yield Segmentation(labels.cpu().numpy(), tuple(self.model.classes))

    def predict(
        self,
        images: torch.Tensor,
        height: int,
        width: int,
        *,
        scales: Sequence[float] = (1.0,),
        mirrored: bool = False,
    ) -> torch.Tensor:
        """Preprocessed images (N, 3, H, W) -> class ids, uint8 (N, height, width), on the model's device.

        With several `scales`, relative to H and W, or `mirrored` as well, the mean of the probabilities of
        all these views decides; it takes as many times as long, and for each class a float for each pixel.
        """
        images = images.to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode(), autocast(self.device, self.precision):
            if tuple(scales) == (1.0,) and not mirrored:
                return classes_at(self.model(images), height, width)
            total = torch.zeros((), device=self.device)
            for scale in scales:
                view = _scaled(images, scale)
                total = total + upsample(self.model(view), height, width).softmax(dim=1)
                if mirrored:
                    total = total + upsample(self.model(view.flip(3)), height, width).softmax(dim=1).flip(3)
            return total.argmax(dim=1).to(torch.uint8)


def _scaled(images: torch.Tensor, scale: float) -> torch.Tensor:
    size = [max(1, round(side * scale)) for side in images.shape[2:]]
    return F.interpolate(images.float(), size, mode="bilinear", align_corners=False, antialias=True)
