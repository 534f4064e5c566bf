"""Subwords: byte-pair encoding (Sennrich et al. 2016) by sentencepiece, kept inside the model."""

import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property

import sentencepiece

from common.errors import UsageError
from common.text import BOS, EOS, PAD, UNK

SPACE = "\u2581"
"""What sentencepiece writes for the space before a word."""

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")


def composed(text: str) -> str:
    """`text` in Unicode's NFC on one line, with one space between words."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def learnt(sentences: Iterable[str], size: int) -> bytes:
    """At most `size` subwords from sentences, as sentencepiece stores them.

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
    return written.getvalue()


class Subwords:
    """Text of one language <-> numbers of its subwords; the first four are those of `common.text`.

    Args:
        data: as `learnt` gives them.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def serialized(self) -> bytes:
        """As `learnt` gives them."""
        return self._data

    @cached_property
    def processor(self) -> sentencepiece.SentencePieceProcessor:
        """What encodes and decodes. Raises ValueError for bytes that are no model."""
        try:
            return sentencepiece.SentencePieceProcessor(model_proto=self.serialized())
        except RuntimeError as error:
            raise ValueError(f"subwords: {error}") from None

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
