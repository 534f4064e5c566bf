"""Writing and scoring text with a trained model: the class that users call. Notation: N units, V codes."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import UsageError
from common.predictor import Predictor
from common.search import truncate
from language.data import BEGIN, UNKNOWN, warn_of_unknown
from language.on_graphs import OnGraphs, State

if TYPE_CHECKING:
    from language.model import LanguageModel

_STEPS = 2048  # units that are read at once


class Writer(Predictor["LanguageModel | OnGraphs"]):
    """Goes on writing a text, or says how surprising one is.

    Args:
        model: from training or `from_pretrained`.
        device: auto, cpu or cuda; where texts are read. One unit after the other is written on the CPU.
        precision: auto (bf16 where the hardware has it), bf16 or fp32. With bf16 on torch, the writing has
            weights of 8 bits, as its speed is that of fetching them from memory.
    """

    graph_class = OnGraphs

    @classmethod
    def torch_class(cls) -> "type[LanguageModel]":
        """See `Predictor.torch_class`."""
        from language.model import LanguageModel

        return LanguageModel

    def on_torch(self, model: Any) -> Any:
        """See `Predictor.on_torch`."""
        from language.on_torch import OnTorch

        return OnTorch(model, self.device, self.precision)

    def write(self, prompt: str = "", length: int = 500, **how: Any) -> str:
        """What comes after the prompt, in one piece; see `write_each`."""
        return "".join(self.write_each(prompt, length, **how))

    def write_each(
        self,
        prompt: str = "",
        length: int = 500,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> Iterator[str]:
        """What comes after the prompt, a character or word at a time. Warns of what the model does not know.

        Args:
            prompt: is read first; without one the model begins where texts begin.
            length: characters or words to write.
            temperature: divides the logits; below 1 sharper, above 1 flatter; 0 takes the likeliest.
            top_k: draw among the k likeliest only; 0 is all.
            top_p: draw among the likeliest that together reach this probability (Holtzman et al. 2020).
            seed: makes the draws repeatable.

        Raises:
            UsageError: a value out of range.
        """
        if not 0 <= temperature < float("inf") or top_k < 0 or not 0 < top_p <= 1 or length < 0:
            raise UsageError(
                f"temperature {temperature}, top-k {top_k} and length {length} must be at least 0, "
                f"top-p {top_p} in (0, 1]"
            )
        prompt = prompt.replace("\r\n", "\n").replace("\r", "\n")
        warn_of_unknown(self.model.alphabet, prompt, "prompt")
        return self._write(prompt, length, _drawer(temperature, top_k, top_p, seed))

    def _write(self, prompt: str, length: int, draw: Callable[[np.ndarray], int]) -> Iterator[str]:
        codes = np.concatenate([[BEGIN], self.model.alphabet.encode(prompt)])
        state, code = self._read(codes[:-1]), int(codes[-1])
        for _ in range(length):
            logits, state = self.network.step(np.array([code]), state)
            logits[0, [BEGIN, UNKNOWN]] = -np.inf
            code = draw(logits[0])
            yield self.model.alphabet.decode(code)

    def _read(self, codes: np.ndarray) -> State:
        """The state after codes (N,)."""
        state: State = self.network.start(1)
        for first in range(0, len(codes), _STEPS):
            _, state = self.network.advance(codes[None, first : first + _STEPS].astype(np.int64), state)
        return state

    def nats_each(self, codes: np.ndarray) -> Iterator[np.ndarray]:
        """Negative log-likelihood of each unit after all those before it, the first after nothing, in pieces.

        Args:
            codes: of a text (N,), as `model.alphabet` encodes it; may be mapped from a file.
        """
        state, before = self.network.start(1), np.array([BEGIN])
        for first in range(0, len(codes), _STEPS):
            piece = np.asarray(codes[first : first + _STEPS], np.int64)
            given = np.concatenate([before, piece[:-1]])
            (logits,), state = self.network.advance(given[None], state)
            before = piece[-1:]
            yield np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(piece)), piece]


def _drawer(temperature: float, top_k: int, top_p: float, seed: int | None) -> Callable[[np.ndarray], int]:
    """logits (V,) -> a code."""
    if temperature == 0:
        return lambda logits: int(logits.argmax())
    random = np.random.default_rng(seed)

    def draw(logits: np.ndarray) -> int:
        scaled = (logits - logits.max()) / temperature
        if top_k or top_p < 1:
            scaled = truncate(scaled[None], top_k, top_p)[0]
        reached = np.exp(scaled, dtype=np.float64).cumsum()
        return int(np.searchsorted(reached, random.random() * reached[-1], side="right"))

    return draw
