"""Captioning models: `show_tell`, `show_attend_tell`, `att2in` and `updown`.

Notation: N images, K captions or beams an image, R = N * K rows, T time steps, L = H * W grid places,
C encoder channels, G grid size, D hidden size, E embedding size, V words.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import torch
from torch import nn

from common.attention import AdditiveAttention
from common.encoder import Encoder
from common.pretrained import PretrainedModel
from common.recurrent import CellKind, CellState, RecurrentCell
from common.search import reorder
from common.text import BOS, Vocabulary

DecoderKind = Literal["show_attend_tell", "show_tell", "att2in", "updown"]


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of a decoder."""

    kind: DecoderKind = "show_attend_tell"
    cell: CellKind = "lstm"
    hidden_size: int = 512
    embedding_size: int = 256
    grid_size: int = 512
    attention_size: int = 256
    dropout: float = 0.5


class Memory(NamedTuple):
    """What a decoder keeps of the picture; computed once an image and the same at every step."""

    grid: torch.Tensor
    """(N, L, G)"""
    keys: torch.Tensor
    """(N, L, A), or (N, L, 0) for a decoder without attention"""


class Decoder(nn.Module):
    """What the decoders share: embedding, start from the picture, the loop over time, the output layer.

    Subclasses set `attention` where they have one and define `advance`.

    Args:
        config: the sizes.
        channels: C.
        words: V.
    """

    def __init__(self, config: DecoderConfig, channels: int, words: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, config.embedding_size)
        self.project = nn.Linear(channels, config.grid_size)
        self.start = nn.Linear(config.grid_size, 2 * config.hidden_size)
        self.cell: Any = self.build_cell(config)
        self.output = nn.Linear(config.embedding_size, words)
        self.dropout = nn.Dropout(config.dropout)

    @staticmethod
    def build_cell(config: DecoderConfig) -> nn.Module:
        """The cell that is started from the picture."""
        return RecurrentCell(config.cell, config.embedding_size, config.hidden_size)

    def remember(self, features: torch.Tensor) -> Memory:
        """features (N, L, C) -> what every step looks at."""
        grid = self.dropout(torch.relu(self.project(features)))
        return Memory(grid, self.keys(grid))

    def keys(self, grid: torch.Tensor) -> torch.Tensor:
        """grid (N, L, G) -> (N, L, A); without attention A is 0."""
        return grid[..., :0]

    def init_state(self, memory: Memory) -> Any:
        """The picture starts the state (Xu et al. 2015, section 3.1.2): one row an image."""
        hidden, cell = torch.tanh(self.start(memory.grid.mean(dim=1))).chunk(2, dim=-1)
        state = CellState(hidden, cell[:, : self.cell.memory_size])
        return CellState(*(field.to(self.start.weight.dtype) for field in state))  # fp32 under autocast too

    def advance(
        self, embedded: torch.Tensor, state: Any, memory: Memory
    ) -> tuple[torch.Tensor, Any, torch.Tensor]:
        """One step: embedded (R, E) -> features for the output layer (R, E), state, attention (R, L)."""
        raise NotImplementedError

    def step(self, tokens: torch.Tensor, state: Any, memory: Memory) -> tuple[torch.Tensor, Any]:
        """tokens (R,), the state after the tokens before -> logits (R, V) of the next token, state.

        Rows of the same image stand together; `memory` holds each image once.
        """
        output, state, _ = self.advance(self.dropout(self.embedding(tokens)), state, memory)
        return self.output(self.dropout(output)), state

    def forward(
        self, features: torch.Tensor, tokens: torch.Tensor, own_words: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Teacher forcing: features (N, L, C), tokens (N, K, T) -> logits (N, K, T, V), weights (N, K, T, L).

        Logits at t are for the token after t. Equal to the loop over `step`. Without attention the weights
        have L = 0. With `own_words` above 0, so many of the tokens after the first are replaced by draws from
        the decoder's own last logits (scheduled sampling, Bengio et al. 2015).
        """
        images, captions, steps = tokens.shape
        memory = self.remember(features)
        state = reorder(
            self.init_state(memory), torch.arange(images, device=tokens.device).repeat_interleave(captions)
        )
        embedded = self.dropout(self.embedding(tokens.flatten(0, 1)))  # N, K, T -> R, T, E
        outputs: list[torch.Tensor] = []
        weights: list[torch.Tensor] = []
        for t in range(steps):
            told = embedded[:, t]
            if own_words and t:
                told = self._own_words(outputs[-1].detach(), told, own_words)
            output, state, attention = self.advance(told, state, memory)
            outputs.append(output)
            weights.append(attention)
        logits = self.output(self.dropout(torch.stack(outputs, dim=1)))  # R, T, E -> R, T, V
        shape = (images, captions, steps, -1)
        return logits.view(shape), torch.stack(weights, dim=1).view(
            images, captions, steps, weights[0].shape[-1]
        )

    def _own_words(self, output: torch.Tensor, told: torch.Tensor, share: float) -> torch.Tensor:
        """output (R, E) of the step before, told (R, E) -> told, `share` of its rows drawn anew."""
        own = torch.distributions.Categorical(logits=self.output(output).float()).sample()
        chosen = torch.rand(len(told), 1, device=told.device) < share
        return torch.where(chosen, self.dropout(self.embedding(own)), told)


class ShowTell(Decoder):
    """The picture starts the state, then the RNN speaks alone (after Vinyals et al. 2015)."""

    def __init__(self, config: DecoderConfig, channels: int, words: int) -> None:
        super().__init__(config, channels, words)
        self.deep_output = nn.Linear(config.hidden_size, config.embedding_size)

    def advance(
        self, embedded: torch.Tensor, state: CellState, memory: Memory
    ) -> tuple[torch.Tensor, CellState, torch.Tensor]:
        """See `Decoder.advance`."""
        state = self.cell(embedded, state)
        return self.deep_output(state.hidden), state, embedded[:, :0]


class AttendingDecoder(Decoder):
    """What the decoders with soft attention over the grid share."""

    def __init__(self, config: DecoderConfig, channels: int, words: int) -> None:
        super().__init__(config, channels, words)
        self.attention = AdditiveAttention(config.grid_size, config.hidden_size, config.attention_size)

    def keys(self, grid: torch.Tensor) -> torch.Tensor:
        """See `Decoder.keys`."""
        return self.attention.keys(grid)


class ShowAttendTell(AttendingDecoder):
    """Soft attention over the grid, gated, with deep output (Xu et al. 2015, eqs. 1 to 9, section 4.2.1)."""

    def __init__(self, config: DecoderConfig, channels: int, words: int) -> None:
        super().__init__(config, channels, words)
        self.gate = nn.Linear(config.hidden_size, config.grid_size)
        self.deep_output = nn.Linear(config.hidden_size + config.grid_size, config.embedding_size)

    @staticmethod
    def build_cell(config: DecoderConfig) -> nn.Module:
        """See `Decoder.build_cell`."""
        return RecurrentCell(config.cell, config.embedding_size + config.grid_size, config.hidden_size)

    def advance(
        self, embedded: torch.Tensor, state: CellState, memory: Memory
    ) -> tuple[torch.Tensor, CellState, torch.Tensor]:
        """See `Decoder.advance`."""
        context, weights = self.attention(state.hidden, memory.grid, memory.keys)
        context = torch.sigmoid(self.gate(state.hidden)) * context  # beta of section 4.2.1
        state = self.cell(torch.cat([embedded, context], dim=-1), state)
        output = embedded + self.deep_output(torch.cat([state.hidden, context], dim=-1))  # eq. 7
        return output, state, weights


class Att2inCell(nn.Module):
    """An LSTM whose picture enters the written value alone, a maxout of two (Rennie et al. 2017, eq. 4).

    Args:
        input_size: E.
        context_size: G.
        hidden_size: D.
    """

    def __init__(self, input_size: int, context_size: int, hidden_size: int) -> None:
        super().__init__()
        self.memory_size = hidden_size
        self.inputs = nn.Linear(input_size, 5 * hidden_size)
        self.states = nn.Linear(hidden_size, 5 * hidden_size, bias=False)
        self.context = nn.Linear(context_size, 2 * hidden_size, bias=False)
        with torch.no_grad():  # an open forget gate at the start (Jozefowicz et al. 2015, section 2)
            self.inputs.bias[hidden_size : 2 * hidden_size].fill_(1.0)

    def forward(self, inputs: torch.Tensor, context: torch.Tensor, state: CellState) -> CellState:
        """inputs (R, E), context (R, G), state -> the next state."""
        size = self.memory_size
        gates, written = (self.inputs(inputs) + self.states(state.hidden)).split([3 * size, 2 * size], dim=-1)
        entered, forgotten, shown = torch.sigmoid(gates).chunk(3, dim=-1)
        first, second = (written + self.context(context)).chunk(2, dim=-1)
        memory = forgotten * state.memory + entered * torch.maximum(first, second)
        return CellState(shown * torch.tanh(memory), memory)


class Att2in(AttendingDecoder):
    """Attention that enters the cell's written value alone (Rennie et al. 2017, section 2.1, "Att2in").

    It has its own cell, an LSTM. As all decoders here it starts from the picture and has a deep output.
    """

    def __init__(self, config: DecoderConfig, channels: int, words: int) -> None:
        super().__init__(config, channels, words)
        self.deep_output = nn.Linear(config.hidden_size, config.embedding_size)

    @staticmethod
    def build_cell(config: DecoderConfig) -> nn.Module:
        """See `Decoder.build_cell`. Raises ValueError for a cell that is no LSTM."""
        if config.cell != "lstm":
            raise ValueError(f"decoder 'att2in' is an LSTM; cell {config.cell!r} does not go with it")
        return Att2inCell(config.embedding_size, config.grid_size, config.hidden_size)

    def advance(
        self, embedded: torch.Tensor, state: CellState, memory: Memory
    ) -> tuple[torch.Tensor, CellState, torch.Tensor]:
        """See `Decoder.advance`."""
        context, weights = self.attention(state.hidden, memory.grid, memory.keys)
        state = self.cell(embedded, context, state)
        return self.deep_output(state.hidden), state, weights


class UpDownState(NamedTuple):
    """What the two RNNs of `updown` remember."""

    looking: CellState
    speaking: CellState


class UpDown(AttendingDecoder):
    """One RNN looks, a second one speaks (Anderson et al. 2018, section 3.2), over the grid.

    The first reads the second's last state, the mean of the grid and the word before; its state asks the
    attention; the second reads what was seen and the first's state. Both start from the picture.
    """

    def __init__(self, config: DecoderConfig, channels: int, words: int) -> None:
        super().__init__(config, channels, words)
        self.speaker = RecurrentCell(config.cell, config.grid_size + config.hidden_size, config.hidden_size)
        self.deep_output = nn.Linear(config.hidden_size, config.embedding_size)

    @staticmethod
    def build_cell(config: DecoderConfig) -> nn.Module:
        """See `Decoder.build_cell`."""
        size = config.hidden_size + config.grid_size + config.embedding_size
        return RecurrentCell(config.cell, size, config.hidden_size)

    def init_state(self, memory: Memory) -> UpDownState:
        """See `Decoder.init_state`."""
        state = super().init_state(memory)
        return UpDownState(state, state)

    def advance(
        self, embedded: torch.Tensor, state: UpDownState, memory: Memory
    ) -> tuple[torch.Tensor, UpDownState, torch.Tensor]:
        """See `Decoder.advance`."""
        rows = len(embedded) // len(memory.grid)
        mean = memory.grid.mean(dim=1).repeat_interleave(rows, dim=0)  # N, G -> R, G
        looking = self.cell(torch.cat([state.speaking.hidden, mean, embedded], dim=-1), state.looking)
        context, weights = self.attention(looking.hidden, memory.grid, memory.keys)
        speaking = self.speaker(torch.cat([context, looking.hidden], dim=-1), state.speaking)
        return self.deep_output(speaking.hidden), UpDownState(looking, speaking), weights


DECODERS: dict[str, type[Decoder]] = {
    "show_tell": ShowTell,
    "show_attend_tell": ShowAttendTell,
    "att2in": Att2in,
    "updown": UpDown,
}
M = TypeVar("M", bound="CaptionModel")


class CaptionModel(PretrainedModel):
    """A frozen encoder, a decoder and the vocabulary between them.

    Args:
        encoder: pictures -> grid.
        config: the decoder's kind and sizes.
        vocabulary: its words.
        max_length: most words of a caption.

    Raises:
        ValueError: an unknown kind of decoder.
    """

    task = "captioning"

    def __init__(
        self, encoder: Encoder, config: DecoderConfig, vocabulary: Vocabulary, max_length: int
    ) -> None:
        super().__init__()
        if config.kind not in DECODERS:
            raise ValueError(f"decoder {config.kind!r}: expected one of {', '.join(get_args(DecoderKind))}")
        self.encoder: Encoder = encoder
        self.decoder = DECODERS[config.kind](config, encoder.out_channels, len(vocabulary))
        self.config, self.vocabulary, self.max_length = config, vocabulary, max_length

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """images (N, 3, H, W) -> features (N, L, C)."""
        return self.encoder.places(images)

    def forward(self, images: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        """images (N, 3, H, W), tokens (N, K, T) -> logits (N, K, T, V) of the token after each.

        Without tokens, those of the caption of each image that greedy search says, K = 1.
        """
        features = self.encode(images)
        if tokens is not None:
            return self.decoder(features, tokens)[0]
        memory = self.decoder.remember(features)
        state = self.decoder.init_state(memory)
        token = torch.full((len(images),), BOS, device=images.device)
        each = []
        for _ in range(self.max_length + 1):
            logits, state = self.decoder.step(token, state, memory)
            token = logits.argmax(dim=-1)
            each.append(logits)
        return torch.stack(each, dim=1).unsqueeze(1)

    def architecture(self) -> dict[str, Any]:
        """See `PretrainedModel.architecture`."""
        return {
            "encoder": self.encoder.name,
            "preprocess": self.encoder.preprocess.to_dict(),
            "decoder": asdict(self.config),
            "max_length": self.max_length,
            "vocabulary": self.vocabulary.to_list(),
        }

    @classmethod
    def from_architecture(cls: type[M], values: dict[str, Any]) -> M:
        """See `PretrainedModel.from_architecture`."""
        encoder = Encoder(values["encoder"]).with_preprocess(values["preprocess"]).freeze()
        config = DecoderConfig(**values["decoder"])
        return cls(encoder, config, Vocabulary(values["vocabulary"]), int(values["max_length"]))
