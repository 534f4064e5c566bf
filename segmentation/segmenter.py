"""A class for each pixel of a picture: what a user calls."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from common.device import Precision, autocast, pick_device, pick_precision
from common.errors import ImageError
from common.images import ImageSource, blamed_on, load_image
from segmentation.images import fitted
from segmentation.model import SegmentationModel, upsample


@dataclass(frozen=True)
class Segmentation:
    """The classes of one picture."""

    labels: np.ndarray
    """uint8 (H, W), class ids at the picture's own size."""
    classes: tuple[str, ...]
    """Names; the position is the id."""

    @property
    def shares(self) -> dict[str, float]:
        """Class name -> share of the picture, largest first, without those that do not occur."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.classes))
        order = np.argsort(-counts, kind="stable")
        return {self.classes[i]: float(counts[i] / self.labels.size) for i in order if counts[i]}


class Segmenter:
    """Segments pictures with a trained model.

    Args:
        model: from training or `SegmentationModel.from_pretrained`.
        device: auto, cpu or cuda.
        precision: auto (bf16 where the hardware has it), bf16 or fp32.

    Example:
        >>> segmenter = Segmenter.from_pretrained("camvid")  # doctest: +SKIP
        >>> segmenter.segment("street.jpg").shares  # doctest: +SKIP
    """

    def __init__(self, model: SegmentationModel, device: str = "auto", precision: Precision = "auto") -> None:
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        self.model = model.eval().to(self.device)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, device: str = "auto", precision: Precision = "auto", **hub: Any
    ) -> "Segmenter":
        """Load a bundled model, a model or run folder, or `user/name` from the hub. Raises ModelError."""
        return cls(SegmentationModel.from_pretrained(name, **hub), device, precision)

    def segment(self, image: ImageSource) -> Segmentation:
        """Segment one picture: a path or a Pillow image. Raises ImageError."""
        (found,) = self.segment_each([image])
        if isinstance(found, ImageError):
            raise found
        return found

    def segment_each(self, images: Sequence[ImageSource]) -> list[Segmentation | ImageError]:
        """Segment pictures of any sizes, one at a time; one that cannot be read gives its error instead."""
        found: list[Segmentation | ImageError] = []
        for image in images:
            try:
                with blamed_on("the picture" if isinstance(image, Image.Image) else image):
                    picture = load_image(image)
                    preprocess = fitted(self.model.encoder.preprocess, *picture.size)
                    labels = self.predict(preprocess(picture)[None], picture.height, picture.width)[0]
            except ImageError as error:
                found.append(error)
                continue
            found.append(Segmentation(labels.to("cpu", torch.uint8).numpy(), tuple(self.model.classes)))
        return found

    def predict(self, images: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Preprocessed pictures (N, 3, H, W) -> class ids (N, height, width) on the model's device."""
        images = images.to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode(), autocast(self.device, self.precision):
            logits = self.model(images)
            return upsample(logits, height, width).argmax(dim=1)
