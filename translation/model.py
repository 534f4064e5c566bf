"""The translation model: an encoder RNN, attention over what it read, and a decoder RNN.

Notation: N sentences, K translations or beams of each, R = N * K rows, S subwords of a source sentence,
T of a translation, D hidden size, E embedding size, A attention size, V subwords of the target language.
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from common.attention import AdditiveAttention, DotAttention
from common.loss import output_loss
from common.pretrained import PretrainedModel
from common.recurrent import CellState, Layer, RecurrentEncoder
from common.schema import checked
from common.search import reorder
from common.text import PAD
from translation.config import Architecture, TranslationConfig
from translation.subwords import Subwords, learnt


class Memory(NamedTuple):
    """What the decoder keeps of N source sentences; the same at every step."""

    places: torch.Tensor
    """(N, S, D), what was read at each subword, or (N, S, 0) without attention"""
    keys: torch.Tensor
    """(N, S, A), or (N, S, 0)"""
    real: torch.Tensor
    """(N, S), False at padding"""
    summary: torch.Tensor
    """(N, D), the sentence as one vector, which the state starts from"""


class DecoderState(NamedTuple):
    """What the decoder's two RNNs remember, and what is fed into the next step."""

    looking: CellState
    speaking: CellState
    fed: torch.Tensor
    """(R, E), or (R, 0) without input feeding"""


class TranslationNetwork(nn.Module):
    """Source subwords are read by an encoder RNN, the decoder attends to them and writes the translation.

    The decoder's first RNN reads the translation so far, its state asks the attention, the second RNN reads
    what was attended to (as in Wu et al. 2016, "Google's neural machine translation system", section 3).
    Its output and the context give the attentional vector (Luong et al. 2015, eq. 5), which the embedding of
    the target subwords, whose weights are also the output layer's (Press and Wolf 2017), turns into logits.
    With nothing fed back, each RNN runs over all steps at once in training. With input feeding (Luong et al.
    2015, section 3.3) the attentional vector also enters the first RNN's next step. Without attention the
    last state of the encoder takes the context's place at each step (Cho et al. 2014).

    Args:
        config: the sizes.
        source_size: subwords of the source language.
        target_size: V.
    """

    project: Any
    attention: Any

    def __init__(self, config: TranslationConfig, source_size: int, target_size: int) -> None:
        super().__init__()
        hidden, size = config.hidden_size, config.embedding_size
        self.source_embedding = nn.Embedding(source_size, size)
        self.embedding = nn.Embedding(target_size, size)
        for embedding in (self.source_embedding, self.embedding):
            nn.init.normal_(embedding.weight, std=size**-0.5)
        self.output_bias = nn.Parameter(torch.zeros(target_size))
        self.reader = RecurrentEncoder(config.cell, size, hidden, bidirectional=config.bidirectional)
        self.summarize = nn.Linear(self.reader.output_size, hidden)
        self.start = nn.Linear(hidden, 4 * hidden)
        self.project = self.attention = None
        if config.attention != "none":
            self.project = nn.Linear(self.reader.output_size, hidden)
            kind = {"dot": DotAttention, "additive": AdditiveAttention}[config.attention]
            self.attention = kind(hidden, hidden, config.attention_size)
        self.fed_size = size if config.input_feeding else 0
        self.looking = Layer(config.cell, size + self.fed_size, hidden)
        self.speaking = Layer(config.cell, 2 * hidden, hidden)
        self.attend = nn.Linear(2 * hidden, size)
        self.dropout = nn.Dropout(config.dropout)

    def embed(self, embedding: nn.Embedding, tokens: torch.Tensor) -> torch.Tensor:
        """tokens (...) -> embeddings (..., E), of unit variance at the start of training."""
        return self.dropout(embedding(tokens) * embedding.embedding_dim**0.5)

    def remember(self, source: torch.Tensor) -> Memory:
        """Read source sentences (N, S), padded at their ends."""
        real = source != PAD
        read, last = self.reader(self.embed(self.source_embedding, source), real.sum(dim=1))
        summary = self.dropout(torch.tanh(self.summarize(last)))
        if self.attention is None:
            return Memory(read[..., :0], read[..., :0], real, summary)
        places = self.dropout(self.project(read))  # N, S, B*D -> N, S, D
        return Memory(places, self.attention.keys(places), real, summary)

    def init_state(self, memory: Memory) -> DecoderState:
        """The first state, one row a sentence."""
        states = torch.tanh(self.start(memory.summary)).to(self.start.weight.dtype).chunk(4, dim=-1)
        size = self.looking.memory_size
        looking, speaking = (
            CellState(states[0], states[1][:, :size]),
            CellState(states[2], states[3][:, :size]),
        )
        return DecoderState(looking, speaking, states[0].new_zeros(states[0].shape[0], self.fed_size))

    def run(
        self, embedded: torch.Tensor, state: DecoderState, memory: Memory
    ) -> tuple[torch.Tensor, DecoderState, torch.Tensor]:
        """All steps at once, or one by one with input feeding.

        embedded (R, T, E) -> attentional vectors (R, T, E), last state, attention (R, T, S), which is
        (R, T, 0) in a model without.
        """
        if not self.fed_size:
            return self._advance(embedded, state, memory)
        outputs, weights = [], []
        for word in embedded.split(1, dim=1):
            output, state, attention = self._advance(
                torch.cat([word, state.fed[:, None].to(word.dtype)], dim=-1), state, memory
            )
            outputs.append(output)
            weights.append(attention)
        return torch.cat(outputs, dim=1), state, torch.cat(weights, dim=1)

    def _advance(
        self, inputs: torch.Tensor, state: DecoderState, memory: Memory
    ) -> tuple[torch.Tensor, DecoderState, torch.Tensor]:
        rows, steps = inputs.shape[:2]
        looking, first = self.looking(inputs, state.looking)  # R, T, D
        if self.attention is None:
            each = rows // memory.summary.shape[0]  # of a sentence
            context = memory.summary[:, None].expand(-1, each, -1).flatten(0, 1)[:, None]
            context, weights = context.expand(-1, steps, -1), looking[..., :0]
        else:
            found = self.attention(looking.flatten(0, 1), memory.places, memory.keys, memory.real)
            context, weights = (each.unflatten(0, (rows, steps)) for each in found)
        inputs = torch.cat([context.to(looking.dtype), self.dropout(looking)], dim=-1)
        speaking, second = self.speaking(inputs, state.speaking)
        output = torch.tanh(self.attend(torch.cat([speaking, context.to(speaking.dtype)], dim=-1)))
        fed = output[:, -1] if self.fed_size else state.fed
        return self.dropout(output), DecoderState(first, second, fed), weights

    def logits(self, output: torch.Tensor) -> torch.Tensor:
        """Attentional vectors (..., E) -> logits (..., V)."""
        return F.linear(output, self.embedding.weight, self.output_bias)

    def step(
        self, tokens: torch.Tensor, state: DecoderState, memory: Memory
    ) -> tuple[torch.Tensor, DecoderState]:
        """tokens (R,), the state after the tokens before -> logits (R, V) of the next token, state.

        Rows of the same sentence stand together; `memory` holds each sentence once.
        """
        logits, _, state = self.look_and_step(tokens, state, memory)
        return logits, state

    def look_and_step(
        self, tokens: torch.Tensor, state: DecoderState, memory: Memory
    ) -> tuple[torch.Tensor, torch.Tensor, DecoderState]:
        """As `step`, with the attention: logits (R, V), attention (R, S), or (R, 0) without, state."""
        embedded = self.embed(self.embedding, tokens)
        if self.fed_size:
            embedded = torch.cat([embedded, state.fed.to(embedded.dtype)], dim=-1)
        output, state, weights = self._advance(embedded[:, None], state, memory)
        return self.logits(output[:, 0]), weights[:, 0], state

    def unroll(self, memory: Memory, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Teacher forcing: tokens (R, T) -> attentional vectors (R, T, E), attention (R, T, S)."""
        rows = torch.arange(len(memory.places), device=tokens.device)
        state = reorder(self.init_state(memory), rows.repeat_interleave(len(tokens) // len(rows)))
        output, _, weights = self.run(self.embed(self.embedding, tokens), state, memory)
        return output, weights

    def forward(self, source: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """source (N, S), tokens (N, T) -> logits (N, T, V) of the token after each, attention (N, T, S).

        Equal to the loop over `step`.
        """
        output, weights = self.unroll(self.remember(source), tokens)
        return self.logits(output), weights

    def loss(
        self, source: torch.Tensor, tokens: torch.Tensor, smoothing: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """source (N, S), tokens (N, 1 + T) with begin and end -> cross entropy summed, number of tokens."""
        output, _ = self.unroll(self.remember(source), tokens[:, :-1])
        targets = tokens[:, 1:]
        real = targets != PAD
        weights = self.embedding.weight, self.output_bias
        return output_loss(output[real], *weights, targets[real], smoothing=smoothing), real.sum()


M = TypeVar("M", bound="TranslationModel")


class StoredSubwords(Subwords, nn.Module):
    """Subwords that are a tensor of a model, so that they are stored with it.

    Args:
        size: bytes of the serialized model; `load_state_dict` or `build` fills them.
    """

    data: torch.Tensor

    def __init__(self, size: int) -> None:
        nn.Module.__init__(self)
        self.register_buffer("data", torch.zeros(size, dtype=torch.uint8))

    @classmethod
    def build(cls, sentences: Iterable[str], size: int) -> "StoredSubwords":
        """See `translation.subwords.learnt`. Raises UsageError."""
        data = torch.frombuffer(bytearray(learnt(sentences, size)), dtype=torch.uint8)
        found = cls(len(data))
        found.data = data
        return found

    def serialized(self) -> bytes:
        """See `Subwords.serialized`."""
        return self.data.cpu().numpy().tobytes()

    def _load_from_state_dict(self, *arguments: Any) -> None:
        """Also checks what was loaded. Raises ValueError."""
        super()._load_from_state_dict(*arguments)
        self.__dict__.pop("processor", None)
        _ = self.processor


class TranslationModel(PretrainedModel):
    """A network with the subwords of its two languages.

    Args:
        config: the sizes.
        subwords: of the source and the target language.
        languages: their names.
        max_length: most subwords of a sentence that it was trained on.
        words: those of the source language that it was trained on, the frequent ones first.
        sizes: of both vocabularies; None is those of `subwords`, which have none before they are loaded.
    """

    task = "translation"
    pipeline_tag = "translation"
    has_graphs = True

    def __init__(
        self,
        config: TranslationConfig,
        subwords: tuple[StoredSubwords, StoredSubwords],
        languages: tuple[str, str],
        max_length: int,
        words: tuple[str, ...] = (),
        sizes: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.sizes = sizes or (len(subwords[0]), len(subwords[1]))
        self.network = TranslationNetwork(config, *self.sizes)
        self.source, self.target = subwords
        self.config, self.languages, self.max_length = config, languages, max_length
        self.words = words

    def forward(self, source: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """source (N, S), tokens (N, T) -> logits (N, T, V) of the token after each."""
        return self.network(source, tokens)[0]

    def architecture(self) -> dict[str, Any]:
        """See `PretrainedModel.architecture`."""
        return {
            "network": asdict(self.config),
            "languages": list(self.languages),
            "subwords": list(self.sizes),
            "subword_bytes": [len(self.source.data), len(self.target.data)],
            "max_length": self.max_length,
            "words": list(self.words),
        }

    @classmethod
    def from_architecture(cls: type[M], values: dict[str, Any]) -> M:
        """See `PretrainedModel.from_architecture`."""
        built: Architecture = checked(Architecture, values, "architecture")
        source, target = (StoredSubwords(size) for size in built.subword_bytes)
        return cls(
            built.network, (source, target), built.languages, built.max_length, built.words, built.subwords
        )

    def graphs(self) -> dict[str, Any]:
        """See `PretrainedModel.graphs`."""
        from translation.export import graphs

        return graphs(self)
