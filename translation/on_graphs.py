"""A translator on the engine.

Notation: N sentences, S subwords of a sentence, R rows (beams), V subwords of the target language.
"""

from collections.abc import Mapping
from typing import Any

from common.engine import DecoderGraphs
from common.model_folder import tensor_positions
from common.schema import checked
from translation.config import Architecture
from translation.subwords import Subwords


class OnGraphs(DecoderGraphs):
    """The graphs of a translator, and what its config says of it."""

    task = "translation"
    names = ("remember", "step")
    fields = 4  # of `translation.model.Memory`

    def describe(self, facts: Mapping[str, Any], weights: bytes) -> None:
        """See `GraphModel.describe`."""
        built: Architecture = checked(Architecture, self.architecture, "architecture")
        self.config, self.languages = built.network, built.languages
        self.max_length, self.words = built.max_length, built.words
        positions = tensor_positions(weights)
        places = [positions[f"{side}.data"][2:] for side in ("source", "target")]
        self.source, self.target = (Subwords(weights[start : start + size]) for start, size in places)
        _ = self.source.processor, self.target.processor  # raise where they are none
