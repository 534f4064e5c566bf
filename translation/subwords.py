"""Subwords: byte-pair encoding (Sennrich et al. 2016) by sentencepiece, kept inside the model as a tensor."""

import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import sentencepiece
import torch
from torch import nn

from common.errors import UsageError
from common.text import BOS, EOS, PAD, UNK

SPACE = "\u2581"
"""What sentencepiece writes for the space before a word."""

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")


def composed(text: str) -> str:
    """`text` in Unicode's NFC on one line, with one space between words."""
    return " ".join(unicodedata.normalize("NFC", text).split())


class Subwords(nn.Module):
    """Text of one language <-> numbers of its subwords; the first four are those of `common.text`.

    Args:
        size: bytes of the serialized model; `load_state_dict` or `build` fills them.
    """

    data: torch.Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("data", torch.zeros(size, dtype=torch.uint8))

    @classmethod
    def build(cls, sentences: Iterable[str], size: int) -> "Subwords":
        """Learn at most `size` subwords from sentences.

        Raises:
            UsageError: `size` is smaller than the number of different characters.
        """
        written = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=map(composed, sentences),
                model_writer=written,
                vocab_size=size,
                model_type="bpe",
                character_coverage=1.0,
                hard_vocab_limit=False,
                normalization_rule_name="identity",
                pad_id=PAD,
                bos_id=BOS,
                eos_id=EOS,
                unk_id=UNK,
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as error:
            reason = str(error).rpartition("] ")[2] or str(error)
            raise UsageError(f"--subwords {size}: {reason}") from None
        found = cls(len(written.getvalue()))
        found.data = torch.from_numpy(np.frombuffer(written.getvalue(), dtype=np.uint8).copy())
        return found

    @cached_property
    def processor(self) -> sentencepiece.SentencePieceProcessor:
        """What encodes and decodes. Raises ValueError for bytes that are no model."""
        try:
            return sentencepiece.SentencePieceProcessor(model_proto=self.data.cpu().numpy().tobytes())
        except RuntimeError as error:
            raise ValueError(f"subwords: {error}") from None

    def _load_from_state_dict(self, *arguments: Any) -> None:
        """Also checks what was loaded. Raises ValueError."""
        super()._load_from_state_dict(*arguments)
        self.__dict__.pop("processor", None)
        _ = self.processor

    def __len__(self) -> int:
        return int(self.processor.get_piece_size())

    def encode(self, text: str) -> list[int]:
        """Numbers of the subwords of `text`, without begin and end; `UNK` for what no subword spells."""
        ids: list[int] = self.processor.encode(composed(text))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text that subwords spell."""
        text: str = self.processor.decode(list(ids))
        return text

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Each subword as it is written; `SPACE` begins a word."""
        pieces: list[str] = self.processor.id_to_piece(list(ids))
        return pieces


def words_of(text: str) -> list[str]:
    """Words of a text in lower case, without punctuation and digits."""
    return _WORD.findall(text.casefold())
