"""Images with a class for each pixel: the folder reader, joint augmentation, batches.

Notation: N images, H x W pixels, K classes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import ExifTags, Image
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from common.errors import DataError, ImageError, UsageError
from common.files import Dropped, read_text
from common.images import FORMATS, IMAGE_SUFFIXES, load_image
from segmentation.images import ScenePreprocess

CLASSES = "classes.txt"
_TURNED = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientations that exchange width and height, and what makes such an image upright."""


@dataclass(frozen=True)
class Scene:
    """An image and its label."""

    image: Path
    label: Path
    size: tuple[int, int]
    """Width and height of both, upright."""
    counts: tuple[int, ...]
    """Pixels of each class."""
    turn: Image.Transpose | None = None
    """Rotates the label upright, where it has the orientation in which the camera stored its image."""


def read_classes(data: Path) -> list[str]:
    """Names in `classes.txt`, one per line; the first is class 0. Raises UsageError, DataError."""
    if not data.is_dir():
        raise UsageError(f"--data {data}: no such folder")
    file = data / CLASSES
    if not file.is_file():
        raise UsageError(f"--data {data}: no {CLASSES} in it (a class name a line, the first is class 0)")
    names = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    if len(names) < 2 or len(names) > 256:
        raise DataError(f"{file}: {len(names)} names; expected 2 to 256, one a line")
    return names


def read_scenes(data: Path, split: str, classes: int, ignore_label: int) -> list[Scene]:
    """Read `SPLIT/images` and `SPLIT/labels` (PNG of class ids), and print what was dropped and why.

    Args:
        data: the folder.
        split: train, val, ...
        classes: K.
        ignore_label: class id that counts for nothing.

    Raises:
        UsageError: no such folder or part.
        DataError: nothing is left of it.
    """
    image_folder, label_folder = data / split / "images", data / split / "labels"
    if not image_folder.is_dir() or not label_folder.is_dir():
        raise UsageError(
            f"--data {data}: holds no {split!r} part; expected {split}/images and {split}/labels"
        )
    dropped = Dropped()
    images = [p for p in sorted(image_folder.iterdir()) if p.suffix.lower() in IMAGE_SUFFIXES]
    lonely = {p.stem for p in label_folder.glob("*.png")} - {p.stem for p in images}
    for stem in sorted(lonely):
        dropped.add("label without a picture", f"{stem}.png")
    stems = Counter(image.stem for image in images)
    scenes: list[Scene] = []
    for image in images:
        label = label_folder / f"{image.stem}.png"
        try:
            if stems[image.stem] > 1:
                raise DataError("several pictures for one label, ")
            with Image.open(image, formats=FORMATS) as opened:
                size, orientation = opened.size, _orientation(opened)
            if orientation != 1:
                size = load_image(image).size
            stored = size[::-1] if orientation in _TURNED else size
            ids = read_label(label)
            if ids.shape[::-1] not in (size, stored):
                raise DataError(f"label has another size than its picture, {ids.shape[::-1]} and {size}")
            if orientation != 1 and size == stored:
                raise DataError(
                    "EXIF turns or mirrors the picture and its label fits either way; save both upright, "
                    f"(orientation {orientation})"
                )
            turn = None if ids.shape[::-1] == size else _TURNED[orientation]
            counts = np.bincount(ids.ravel(), minlength=classes)
            unknown = [i for i in np.flatnonzero(counts) if i >= classes and i != ignore_label]
            if unknown:
                raise DataError(
                    f"class ids that {CLASSES} does not name, {unknown[0]} (--ignore-label {ignore_label})"
                )
            if ignore_label < classes:
                counts[ignore_label] = 0
            if not counts[:classes].any():
                raise DataError("nothing but the ignored label")
            scenes.append(Scene(image, label, size, tuple(counts[:classes].tolist()), turn))
        except DataError as error:
            reason, _, detail = str(error).partition(", ")
            dropped.add(reason, f"{image.name} {detail}".strip())
        except Exception:  # decoders meet damage with exceptions of every type
            dropped.add("damaged picture", image.name)
    summary = f"{split}: {len(scenes):,} pictures\n{dropped}"
    if not scenes:
        raise DataError(f"{data}: nothing is left to use\n{summary}")
    print(summary, flush=True)
    turned = [scene.label.name for scene in scenes if scene.turn is not None]
    if turned:
        print(
            f"  {len(turned):,} labels are turned upright with their pictures (EXIF), e.g. {turned[0]}",
            flush=True,
        )
    return scenes


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 is upright. A PNG with nothing ahead of its pixels is not decoded."""
    if image.format == "PNG" and not {"exif", "xmp", "XML:com.adobe.xmp"} & image.info.keys():
        return 1
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation if orientation in range(1, 9) else 1


def read_label(file: Path, turn: Image.Transpose | None = None) -> np.ndarray:
    """Class ids (H, W) of a grey or palette PNG, rotated by `turn` if given. Raises DataError."""
    if not file.is_file():
        raise DataError("label is missing")
    try:
        with Image.open(file, formats=FORMATS) as opened:
            if opened.mode not in ("L", "P", "1", "I;16", "I"):
                raise DataError(
                    f"label is a colour picture; save class ids as 8-bit grey or palette, mode {opened.mode}"
                )
            return np.asarray(opened if turn is None else opened.transpose(turn)).astype(np.int64)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"label is damaged, {error}") from None


def class_weights(scenes: Sequence[Scene], power: float) -> torch.Tensor:
    """(K,) weights of the loss: (median frequency / frequency)^power, 0 for a class that never occurs.

    Power 1 is median frequency balancing (Eigen & Fergus 2015, section 6.3.2), 0 weighs all pixels alike. A
    frequency is a class's pixels over all pixels of the images in which it occurs.
    """
    counts = np.array([scene.counts for scene in scenes], dtype=np.float64)
    pixels_of_images = ((counts > 0) * counts.sum(axis=1, keepdims=True)).sum(axis=0)
    frequency = counts.sum(axis=0) / np.maximum(pixels_of_images, 1)
    present = frequency > 0
    weights = np.zeros(len(frequency))
    weights[present] = (np.median(frequency[present]) / frequency[present]) ** power
    return torch.tensor(weights, dtype=torch.float32)


class SceneBatch(NamedTuple):
    """What the model trains on, or is scored on."""

    images: torch.Tensor
    """(N, 3, H, W), preprocessed"""
    labels: torch.Tensor
    """(N, H, W) class ids; for val at the labels' own size"""
    indices: list[int]


class Tint(v2.Transform):
    """Another white balance: red, green and blue each brighter or darker at random.

    Args:
        strength: largest change, relative.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw a factor for each channel."""
        return {"factors": 1 + self.strength * (2 * torch.rand(3, 1, 1) - 1)}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """An image (3, H, W) of bytes, tinted; anything else as it is."""
        if not isinstance(inpt, tv_tensors.Image):
            return inpt
        tinted = (inpt.as_subclass(torch.Tensor) * params["factors"]).round().clamp(0, 255).to(torch.uint8)
        return tv_tensors.wrap(tinted, like=inpt)


class SceneDataset(Dataset[tuple[torch.Tensor, torch.Tensor, int]]):
    """Scenes as tensors; those of train are scaled, cropped, mirrored and recoloured at random.

    Args:
        scenes: images with labels.
        preprocess: as the model sees.
        ignore_label: class id of pixels outside an image.
        crop: height and width of a crop; None leaves everything as it is.
        scales: smallest and largest size, relative to the model's own.
        rare: share of the crops that lie around a pixel of a class drawn from those of the image, each as
            likely as the others, and not anywhere.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        preprocess: ScenePreprocess,
        ignore_label: int,
        crop: tuple[int, int] | None = None,
        scales: tuple[float, float] = (0.5, 2.0),
        rare: float = 0.0,
    ) -> None:
        self.scenes, self.preprocess, self.ignore_label, self.crop = scenes, preprocess, ignore_label, crop
        self.scales, self.rare = scales, rare
        self.augment: Any = v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                v2.RandomApply([v2.ColorJitter(0.5, 0.5, 0.5, 0.08)], 0.9),
                v2.RandomApply([Tint(0.3)], 0.5),
                v2.RandomGrayscale(0.05),
                v2.RandomApply([v2.GaussianBlur(5, (0.1, 1.5))], 0.2),
            ]
        )

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, draw: "tuple[int, int]") -> tuple[torch.Tensor, torch.Tensor, int]:
        """draw: position and seed -> image (3, H, W), ids (H, W), position. Raises ImageError."""
        index, seed = draw
        scene = self.scenes[index]
        image = load_image(scene.image)
        if image.size != scene.size:  # EXIF data behind the pixels, or the file was changed
            raise ImageError(f"{scene.image}: turned by its EXIF data; save it upright")
        label = torch.from_numpy(read_label(scene.label, scene.turn))
        preprocess = self.preprocess.fitted(*image.size)
        if not self.crop:
            return torch.from_numpy(preprocess(image)), label, index
        torch.manual_seed(seed)
        low, high = self.scales
        scale = low * (high / low) ** float(torch.rand(()))
        size = [max(1, round(side * scale)) for side in (preprocess.height, preprocess.width)]
        top, left, height, width = self._window(label, size, self.crop)
        shown = (min(size[0], self.crop[0]), min(size[1], self.crop[1]))
        # cut and recolour first: most crops become larger
        pixels, ids = self.augment(
            tv_tensors.Image(image.crop((left, top, left + width, top + height))),
            tv_tensors.Mask(label[top : top + height, left : left + width]),
        )
        pixels = v2.functional.resize(pixels, shown, antialias=True)
        ids = v2.functional.resize(ids, shown)  # a mask takes the nearest pixel
        pad = [0, 0, self.crop[1] - shown[1], self.crop[0] - shown[0]]
        mean = [round(255 * value) for value in preprocess.mean]
        pixels = v2.functional.pad(pixels, pad, fill=mean)
        ids = v2.functional.pad(ids, pad, fill=self.ignore_label)
        pixels = v2.functional.to_dtype(pixels, torch.float32, scale=True)
        pixels = v2.functional.normalize(pixels, list(preprocess.mean), list(preprocess.std))
        return pixels.as_subclass(torch.Tensor), ids.as_subclass(torch.Tensor), index

    def _window(self, ids: torch.Tensor, size: list[int], crop: tuple[int, int]) -> tuple[int, int, int, int]:
        """Where a crop lies in a scene, anywhere or around a pixel of a class.

        Args:
            ids: (H, W) of the scene as it is.
            size: height and width that the whole of it would be scaled to.
            crop: height and width of the crop, thus scaled.

        Returns:
            top, left, height, width in the scene; at most all of it.
        """
        window = [
            min(side, max(1, round(wanted * side / scaled)))
            for side, wanted, scaled in zip(ids.shape, crop, size, strict=True)
        ]
        room = [side - wanted for side, wanted in zip(ids.shape, window, strict=True)]
        start = [int(torch.randint(free + 1, ())) for free in room]
        if float(torch.rand(())) < self.rare:
            classes = ids.unique()
            classes = classes[classes != self.ignore_label]
            if len(classes):
                places = (ids == classes[torch.randint(len(classes), ())]).nonzero()
                middle = places[torch.randint(len(places), ())].tolist()
                around = zip(middle, window, room, strict=True)
                start = [min(max(0, m - int(torch.randint(w, ()))), free) for m, w, free in around]
        return start[0], start[1], window[0], window[1]


def collate(items: Sequence[tuple[torch.Tensor, torch.Tensor, int]]) -> SceneBatch:
    """Stack scenes that are equally large."""
    images, labels, indices = zip(*items, strict=True)
    pixels = torch.stack(images).contiguous(memory_format=torch.channels_last)
    return SceneBatch(pixels, torch.stack(labels), list(indices))
