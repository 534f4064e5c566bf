"""`visionrnn export`: what the command does with its flags."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from common.cli import needs_extra


@dataclass(frozen=True, kw_only=True)
class Config:
    """Give a model the graphs by which it runs without torch.

        visionrnn export runs/mine --out DIR
        visionrnn export DIR

    The graphs are compared with torch on three inputs, and written only where they give the same values.
    Training does this by itself when it ends.
    """

    model: Annotated[str, tyro.conf.Positional]
    """A model or run folder, or a bundled model."""
    out: Path | None = None
    """Folder to write; without it the graphs are written beside the weights of the model."""


def main(config: Config) -> None:
    """Write the graphs. Raises ModelError."""
    with needs_extra("train"):
        from common.export import export
        from visionrnn.kinds import find_model

    kind, folder = find_model(config.model)
    export(kind, folder, config.out)
    print(config.out or folder)
