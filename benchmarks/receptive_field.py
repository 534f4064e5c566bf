"""The receptive field of a place: the gradient of one output with respect to the image (Luo et al. 2016).

    python benchmarks/receptive_field.py --models none=RUN conv=RUN renet=RUN --data DIR --out FILE.png

For each model the absolute gradient of the centre's logits, summed over classes and colours, is averaged
over images and shown on a logarithmic scale; `far` is its share further than a quarter of the diagonal.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from common.cli import command_line, run
from common.errors import UsageError
from common.files import find_files
from common.images import IMAGE_SUFFIXES
from segmentation import Segmenter


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags."""

    models: tuple[str, ...]
    """NAME=MODEL of each panel; models or run folders."""
    data: Path
    """Folder of images."""
    out: Path
    """PNG to write."""
    pictures: int = 16
    """How many are averaged."""
    report: Path | None = None
    """JSON file to write."""


def main(config: Config) -> None:
    """Draw it and print the share of distant pixels."""
    paths = find_files([config.data], IMAGE_SUFFIXES, "pictures")[0][: config.pictures]
    fields = {}
    for given in config.models:
        name, _, model = given.partition("=")
        if not model:
            raise UsageError(f"--models {given}: expected NAME=MODEL")
        fields[name] = field(Segmenter.from_pretrained(model, precision="fp32", engine="torch"), paths)
    figure = Figure(figsize=(3.6 * len(fields), 3.0), layout="constrained")
    axes = figure.subplots(1, len(fields), squeeze=False)[0]
    result: dict[str, object] = {"command": command_line(), "pictures": len(paths)}
    for axis, (name, values) in zip(axes, fields.items(), strict=True):
        result[name] = {"far": round(far(values), 4)}
        axis.imshow(np.log10(values / values.max() + 1e-6), cmap="inferno", vmin=-6, vmax=0)
        axis.set_title(f"{name}: {far(values):.1%} from afar")
        axis.set_axis_off()
    figure.savefig(config.out, dpi=110, format="png")
    print(json.dumps(result, indent=1))
    if config.report:
        config.report.write_text(json.dumps(result, indent=1), encoding="utf-8")


def field(segmenter: Segmenter, paths: list[Path]) -> np.ndarray:
    """Mean absolute gradient (H, W) of the centre's logits."""
    own = segmenter.model.preprocess
    preprocess = own.fitted(own.width, own.height)  # all of one shape
    total = np.zeros((preprocess.height, preprocess.width))
    for path in paths:
        image = torch.from_numpy(preprocess(path))[None].requires_grad_()
        logits = segmenter.model(image)  # 1, K, H / 4, W / 4
        centre = logits[0, :, logits.shape[2] // 2, logits.shape[3] // 2]
        for logit in centre:
            (gradient,) = torch.autograd.grad(logit, image, retain_graph=True)
            total += gradient[0].abs().sum(dim=0).double().numpy()
    return total


def far(values: np.ndarray) -> float:
    """Share of the gradient further from the centre than a quarter of the diagonal."""
    rows, columns = np.indices(values.shape)
    height, width = values.shape
    distance = np.hypot(rows - height / 2, columns - width / 2)
    return float(values[distance > np.hypot(height, width) / 4].sum() / values.sum())


if __name__ == "__main__":
    run(main, Config, __doc__)
