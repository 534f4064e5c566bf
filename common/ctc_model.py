"""What all models that end in CTC have in common: characters, and the n-grams in their weights."""

from typing import Any

import torch

from common.charset import Charset
from common.ngrams import NGRAMS, CharacterNgrams
from common.pretrained import PretrainedModel


class CtcModel(PretrainedModel):
    """A model whose classes are characters.

    Args:
        charset: characters that it can read.
        ngrams: number of n-grams of the language model in its weights; 0 is no language model.

    Attributes:
        language_model: n-grams of its training texts, for the beam search, or None.
    """

    def __init__(self, charset: Charset, ngrams: int = 0) -> None:
        super().__init__()
        self.charset = charset
        self.language_model: Any = CharacterNgrams(charset, size=ngrams) if ngrams else None

    def text_architecture(self) -> dict[str, Any]:
        """The part of `architecture` that is about text: `charset` and `ngrams`."""
        ngrams = 0 if self.language_model is None else len(self.language_model.keys)
        return {"charset": self.charset.characters, "ngrams": ngrams}

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if isinstance(self.language_model, CharacterNgrams):
            for name in NGRAMS:
                array = getattr(self.language_model, name)
                destination[f"{prefix}language_model.{name}"] = torch.from_numpy(array)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        given = {name: state_dict.pop(f"{prefix}language_model.{name}", None) for name in NGRAMS}
        if isinstance(self.language_model, CharacterNgrams) and None not in given.values():
            self.language_model.load(*(given[name].cpu().numpy() for name in NGRAMS))
        super()._load_from_state_dict(state_dict, prefix, *rest)
