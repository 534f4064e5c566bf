"""Captioning models: `show_tell`, `show_attend_tell`, `att2in`, `updown` and `between`.

Notation: N images, K captions or beams an image, R = N * K rows, T time steps, L = H * W grid places,
M concepts an image, C encoder channels, G grid size, D hidden size, E embedding size, V words.
"""

from dataclasses import asdict
from typing import Any, NamedTuple, TypeVar, get_args

import torch
from torch import nn
from torch.nn import functional as F

from captioning.concepts import Classifier, Seen, plurals
from captioning.config import Architecture, DecoderConfig, DecoderKind
from common.attention import AdditiveAttention, DotAttention
from common.encoder import Encoder
from common.loss import output_loss
from common.pretrained import PretrainedModel
from common.recurrent import CellState, Layer, RecurrentCell, open_forget_gate
from common.schema import checked
from common.search import BANNED, reorder
from common.text import BOS, PAD, Vocabulary

_NEVER = -1e4  # of a word's logit: its probability is 0, in half precision too


class Memory(NamedTuple):
    """What a decoder keeps of the image; computed once an image and the same at every step."""

    grid: torch.Tensor
    """(N, L + M, G), the places of the image and behind them its concepts"""
    keys: torch.Tensor
    """(N, L + M, A), or (N, L + M, 0) for a decoder without attention"""
    start: torch.Tensor
    """(N, G), or (N, 2 G) with concepts: what the state starts from"""
    copies: torch.Tensor
    """(N, 2 M, E), what the output is compared with to say a concept or its plural"""
    words: torch.Tensor
    """(N, 2 M), the numbers of both in the vocabulary"""


class Decoder(nn.Module):
    """What the decoders share: embedding, start from the image, the loop over time, the output layer.

    The output layer has the weights of the embedding (Press and Wolf 2017, "Using the output embedding to
    improve language models"). With concepts, the words that a classifier sees in the image are M further
    places to attend to, and each may be copied: its score is added to the word's logit (after Gu et al. 2016,
    "CopyNet", and Yao et al. 2017, "Incorporating copying mechanism in image captioning").

    Subclasses set `attention` where they have one and define `advance`.

    Args:
        config: the sizes.
        channels: C.
        words: V.
    """

    plurals: torch.Tensor

    def __init__(self, config: DecoderConfig, channels: int, words: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, config.embedding_size)
        self.register_buffer("plurals", torch.zeros(words, dtype=torch.long), persistent=False)
        nn.init.normal_(self.embedding.weight, std=config.embedding_size**-0.5)
        self.output_bias = nn.Parameter(torch.zeros(words))
        self.project = nn.Linear(channels, config.grid_size)
        self.norm = nn.LayerNorm(config.grid_size)
        self.concepts = config.concepts
        if self.concepts:
            self.concept = nn.Linear(config.embedding_size + 2, config.grid_size)
            self.concept_norm = nn.LayerNorm(config.grid_size)
            self.copy = nn.Linear(config.grid_size, 2 * config.embedding_size)
        self.start = nn.Linear((1 + bool(self.concepts)) * config.grid_size, 2 * config.hidden_size)
        self.cell: Any = self.build_cell(config)
        self.dropout = nn.Dropout(config.dropout)

    @staticmethod
    def build_cell(config: DecoderConfig) -> nn.Module:
        """The cell that is started from the image."""
        return RecurrentCell(config.cell, config.embedding_size, config.hidden_size)

    def remember(self, seen: Seen) -> Memory:
        """What every step looks at, from what was seen of N images."""
        grid = torch.relu(self.norm(self.project(seen.grid)))  # N, L, C -> N, L, G
        start = grid.mean(dim=1)
        copies = grid.new_zeros(grid.shape[0], 0, self.embedding.embedding_dim)
        words = torch.cat([seen.words, self.plurals[seen.words]], dim=1)
        if self.concepts:
            scores = seen.scores.to(grid.dtype)[..., None]  # N, M, 1
            known = [self.embed(seen.words), scores, torch.log(scores + 1e-3)]
            concepts = torch.relu(self.concept_norm(self.concept(torch.cat(known, dim=-1))))  # N, M, G
            copies = torch.cat(self.copy(concepts).chunk(2, dim=-1), dim=1)  # N, M, 2 E -> N, 2 M, E
            start = torch.cat([start, concepts.mean(dim=1)], dim=-1)
            grid = torch.cat([grid, concepts], dim=1)
        grid = self.dropout(grid)
        return Memory(grid, self.keys(grid), self.dropout(start), copies, words)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """tokens (...) -> embeddings (..., E), scaled by sqrt(E) because their weights are also the output's.

        See Vaswani et al. 2017, "Attention is all you need", section 3.4.
        """
        return self.dropout(self.embedding(tokens) * self.embedding.embedding_dim**0.5)

    def keys(self, grid: torch.Tensor) -> torch.Tensor:
        """grid (N, L + M, G) -> (N, L + M, A); without attention A is 0."""
        return grid[..., :0]

    def init_state(self, memory: Memory) -> Any:
        """The image starts the state (Xu et al. 2015, section 3.1.2): one row an image."""
        hidden, cell = torch.tanh(self.start(memory.start)).chunk(2, dim=-1)
        state = CellState(hidden, cell[:, : self.cell.memory_size])
        return CellState(*(field.to(self.start.weight.dtype) for field in state))  # fp32 under autocast too

    def advance(
        self, embedded: torch.Tensor, state: Any, memory: Memory
    ) -> tuple[torch.Tensor, Any, torch.Tensor]:
        """One step: embedded (R, E) -> features for the output layer (R, E), state, attention (R, L + M)."""
        raise NotImplementedError

    def logits(self, output: torch.Tensor, memory: Memory) -> torch.Tensor:
        """output (N, J, E), J rows an image in any order -> logits (N * J, V) of the next token."""
        logits = F.linear(output, self.embedding.weight, self.output_bias)  # N, J, V
        if self.concepts:
            copied, words = self.copied(output, memory)
            logits.scatter_add_(2, words, copied.to(logits.dtype))
        return logits.flatten(0, 1)

    def copied(self, output: torch.Tensor, memory: Memory) -> tuple[torch.Tensor, torch.Tensor]:
        """output (N, J, E) -> what the logits of its concepts gain (N, J, 2 M), and their words."""
        copied = torch.bmm(output, memory.copies.transpose(1, 2).to(output.dtype))
        words = memory.words[:, None].expand_as(copied)
        # padding stands for a concept without a plural, and where fewer than M concepts were seen
        return copied.masked_fill(words == PAD, 0), words

    def loss(
        self,
        output: torch.Tensor,
        memory: Memory,
        targets: torch.Tensor,
        smoothing: float = 0.0,
        advantage: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Cross entropy of targets (N, J), padding left out, summed; see `common.loss.output_loss`.

        Where words have an `advantage` they were drawn, and their probabilities are those of drawing: the
        words that no search says have none.
        """
        real = targets != PAD
        copied, words = self.copied(output, memory)  # S is 0 without concepts
        bias: torch.Tensor = self.output_bias
        if advantage is not None:
            bias = bias.index_fill(0, torch.tensor(BANNED, device=bias.device), _NEVER)
        return output_loss(
            output[real],
            self.embedding.weight,
            bias,
            targets[real],
            copied=copied[real],
            words=words[real],
            smoothing=smoothing,
            advantage=None if advantage is None else advantage[real],
        )

    def step(self, tokens: torch.Tensor, state: Any, memory: Memory) -> tuple[torch.Tensor, Any]:
        """tokens (R,), the state after the tokens before -> logits (R, V) of the next token, state.

        Rows of the same image stand together; `memory` holds each image once.
        """
        logits, _, state = self.look_and_step(tokens, state, memory)
        return logits, state

    def look_and_step(
        self, tokens: torch.Tensor, state: Any, memory: Memory
    ) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """As `step`, with the attention: tokens (R,) -> logits (R, V), attention (R, L + M), state."""
        output, state, weights = self.advance(self.embed(tokens), state, memory)
        output = self.dropout(output).unflatten(0, (memory.grid.shape[0], -1))  # R, E -> N, K, E
        return self.logits(output, memory), weights, state

    def forward(
        self, seen: Seen, tokens: torch.Tensor, sampled: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Teacher forcing: N images, tokens (N, K, T) -> logits (N, K, T, V), weights (N, K, T, L + M).

        Logits at t are for the token after t. Equal to the loop over `step`. Without attention the weights
        have no places. With `sampled` above 0, so many of the tokens after the first are replaced by draws
        from the decoder's own last logits (scheduled sampling, Bengio et al. 2015).
        """
        memory = self.remember(seen)
        output, weights = self.unroll(memory, tokens, sampled)
        return self.logits(output.flatten(1, 2), memory).view(*tokens.shape, -1), weights

    def unroll(
        self, memory: Memory, tokens: torch.Tensor, sampled: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loop over tokens (N, K, T) -> features for the output layer (N, K, T, E), attention weights."""
        images, captions, steps = tokens.shape
        state = self._first_states(memory, captions)
        embedded = self.embed(tokens.flatten(0, 1))  # N, K, T -> R, T, E
        outputs: list[torch.Tensor] = []
        weights: list[torch.Tensor] = []
        for t in range(steps):
            word = embedded[:, t]
            if sampled and t:
                word = self._draw_words(outputs[-1].detach(), word, memory, sampled)
            output, state, attention = self.advance(word, state, memory)
            outputs.append(output)
            weights.append(attention)
        output = self.dropout(torch.stack(outputs, dim=1)).unflatten(0, (images, captions))
        return output, torch.stack(weights, dim=1).unflatten(0, (images, captions))

    def _first_states(self, memory: Memory, captions: int) -> Any:
        """The first state of each image, once for each of its K captions."""
        images = torch.arange(len(memory.grid), device=memory.grid.device)
        return reorder(self.init_state(memory), images.repeat_interleave(captions))

    def _draw_words(
        self, output: torch.Tensor, word: torch.Tensor, memory: Memory, share: float
    ) -> torch.Tensor:
        """output (R, E) of the step before, word (R, E) -> word, `share` of its rows drawn anew."""
        logits = self.logits(output.unflatten(0, (len(memory.grid), -1)), memory)
        own = torch.distributions.Categorical(logits=logits.float()).sample()
        chosen = torch.rand(len(word), 1, device=word.device) < share
        return torch.where(chosen, self.embed(own), word)


class ShowTell(Decoder):
    """The image starts the state, then the RNN speaks alone (after Vinyals et al. 2015)."""

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
        kind = {"additive": AdditiveAttention, "dot": DotAttention}[config.score]
        self.attention: Any = kind(config.grid_size, config.hidden_size, config.attention_size)

    def keys(self, grid: torch.Tensor) -> torch.Tensor:
        """See `Decoder.keys`."""
        return self.attention.keys(grid)


class ShowAttendTell(AttendingDecoder):
    """Soft attention over the grid, gated, with deep output (Xu et al. 2015, eqs. 1 to 9, section 4.2.1)."""

    def __init__(self, config: DecoderConfig, channels: int, words: int) -> None:
        super().__init__(config, channels, words)
        self.gate = nn.Linear(config.hidden_size, config.grid_size)
        size = config.hidden_size + config.grid_size + config.embedding_size
        self.deep_output = nn.Linear(size, config.embedding_size)

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
        output = self.deep_output(torch.cat([state.hidden, context, embedded], dim=-1))  # after eq. 7
        return output, state, weights


class Att2inCell(nn.Module):
    """An LSTM whose image enters the written value alone, a maxout of two (Rennie et al. 2017, eq. 4).

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
        open_forget_gate(self.inputs.bias, hidden_size)

    def forward(self, inputs: torch.Tensor, context: torch.Tensor, state: CellState) -> CellState:
        """inputs (R, E), context (R, G), state -> the next state."""
        size = self.memory_size
        gates, written = (self.inputs(inputs) + self.states(state.hidden)).split([3 * size, 2 * size], dim=-1)
        input_gate, forget_gate, output_gate = torch.sigmoid(gates).chunk(3, dim=-1)
        first, second = (written + self.context(context)).chunk(2, dim=-1)
        memory = forget_gate * state.memory + input_gate * torch.maximum(first, second)
        return CellState(output_gate * torch.tanh(memory), memory)


class Att2in(AttendingDecoder):
    """Attention that enters the cell's written value alone (Rennie et al. 2017, section 2.1, "Att2in").

    It has its own cell, an LSTM. As all decoders here it starts from the image and has a deep output.
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
    """What the two RNNs of `updown` and `between` remember."""

    looking: CellState
    speaking: CellState


class TwoLayers(AttendingDecoder):
    """What the decoders with a looking and a speaking RNN share: both start from the image."""

    def init_state(self, memory: Memory) -> UpDownState:
        """See `Decoder.init_state`."""
        state = super().init_state(memory)
        return UpDownState(state, state)


class UpDown(TwoLayers):
    """One RNN looks, a second one speaks (Anderson et al. 2018, section 3.2), over the grid.

    The first reads the second's last state, the mean of the grid and the word before; its state asks the
    attention; the second reads what was seen and the first's state. Both start from the image.
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

    def advance(
        self, embedded: torch.Tensor, state: UpDownState, memory: Memory
    ) -> tuple[torch.Tensor, UpDownState, torch.Tensor]:
        """See `Decoder.advance`."""
        mean = memory.start[:, : memory.grid.shape[-1]]
        rows = embedded.shape[0] // mean.shape[0]
        mean = mean[:, None].expand(-1, rows, -1).flatten(0, 1)  # N, G -> R, G
        looking = self.cell(torch.cat([state.speaking.hidden, mean, embedded], dim=-1), state.looking)
        context, weights = self.attention(looking.hidden, memory.grid, memory.keys)
        speaking = self.speaker(torch.cat([context, looking.hidden], dim=-1), state.speaking)
        return self.deep_output(speaking.hidden), UpDownState(looking, speaking), weights


class Between(TwoLayers):
    """Two RNN layers and the attention between them, with nothing fed back from the second to the first.

    The first layer reads the words, its state asks the attention, the second reads what was seen and the
    first's state, as the decoder of Wu et al. 2016 ("Google's neural machine translation system", section 3)
    without input feeding. Each layer then runs over all steps at once in training, which is several times as
    fast as `updown`, whose layers they otherwise are.
    """

    def __init__(self, config: DecoderConfig, channels: int, words: int) -> None:
        super().__init__(config, channels, words)
        self.mean = nn.Linear(config.grid_size, config.embedding_size, bias=False)
        self.speaker = Layer(config.cell, config.grid_size + config.hidden_size, config.hidden_size)
        self.deep_output = nn.Linear(config.hidden_size + config.grid_size, config.embedding_size)

    @staticmethod
    def build_cell(config: DecoderConfig) -> nn.Module:
        """See `Decoder.build_cell`."""
        return Layer(config.cell, config.embedding_size, config.hidden_size)

    def advance(
        self, embedded: torch.Tensor, state: UpDownState, memory: Memory
    ) -> tuple[torch.Tensor, UpDownState, torch.Tensor]:
        """See `Decoder.advance`."""
        output, state, weights = self.run(embedded[:, None], state, memory)
        return output[:, 0], state, weights[:, 0]

    def run(
        self, embedded: torch.Tensor, state: UpDownState, memory: Memory
    ) -> tuple[torch.Tensor, UpDownState, torch.Tensor]:
        """All steps at once: embedded (R, T, E) -> output (R, T, E), last state, attention (R, T, L + M)."""
        rows, steps = embedded.shape[:2]
        mean = self.mean(memory.start[:, : memory.grid.shape[-1]])  # N, E
        embedded = (embedded.unflatten(0, (mean.shape[0], -1)) + mean[:, None, None]).flatten(0, 1)
        looking, first = self.cell(embedded, state.looking)
        context, weights = self.attention(looking.flatten(0, 1), memory.grid, memory.keys)
        context, weights = (x.unflatten(0, (rows, steps)) for x in (context, weights))
        speaking, second = self.speaker(torch.cat([context, looking], dim=-1), state.speaking)
        output = self.deep_output(torch.cat([speaking, context], dim=-1))
        return output, UpDownState(first, second), weights

    def unroll(
        self, memory: Memory, tokens: torch.Tensor, sampled: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Decoder.unroll`."""
        if sampled:
            return super().unroll(memory, tokens, sampled)
        images, captions = tokens.shape[:2]
        state = self._first_states(memory, captions)
        output, _, weights = self.run(self.embed(tokens.flatten(0, 1)), state, memory)
        return self.dropout(output).unflatten(0, (images, captions)), weights.unflatten(0, (images, captions))


DECODERS: dict[str, type[Decoder]] = {
    "show_tell": ShowTell,
    "show_attend_tell": ShowAttendTell,
    "att2in": Att2in,
    "updown": UpDown,
    "between": Between,
}
M = TypeVar("M", bound="CaptionModel")


class CaptionModel(PretrainedModel):
    """An encoder, a decoder and the vocabulary between them; with concepts, the encoder's classifier too.

    Args:
        encoder: images -> grid.
        config: the decoder's kind and sizes.
        vocabulary: its words.
        max_length: most words of a caption.

    Raises:
        ValueError: an unknown kind of decoder.
    """

    task = "captioning"
    pipeline_tag = "image-to-text"
    has_graphs = True

    def __init__(
        self, encoder: Encoder, config: DecoderConfig, vocabulary: Vocabulary, max_length: int
    ) -> None:
        super().__init__()
        if config.decoder not in DECODERS:
            raise ValueError(
                f"decoder {config.decoder!r}: expected one of {', '.join(get_args(DecoderKind))}"
            )
        self.encoder: Encoder = encoder
        self.decoder = DECODERS[config.decoder](config, encoder.out_channels, len(vocabulary))
        self.decoder.plurals = plurals(vocabulary)
        self.classifier = Classifier(
            vocabulary, encoder.out_channels, config.concepts, config.tags if config.concepts else 0
        )
        self.config, self.vocabulary, self.max_length = config, vocabulary, max_length

    def forward(self, images: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        """images (N, 3, H, W), tokens (N, K, T) -> logits (N, K, T, V) of the token after each.

        Without tokens, those of the caption of each image that greedy search says, K = 1.
        """
        seen = self.encode(images)
        if tokens is not None:
            return self.decoder(seen, tokens)[0]
        memory = self.decoder.remember(seen)
        state = self.decoder.init_state(memory)
        token = torch.full((len(images),), BOS, device=images.device)
        each = []
        for _ in range(self.max_length + 1):
            logits, state = self.decoder.step(token, state, memory)
            token = logits.argmax(dim=-1)
            each.append(logits)
        return torch.stack(each, dim=1).unsqueeze(1)

    def with_vocabulary(self, vocabulary: Vocabulary) -> "CaptionModel":
        """This model with other words: what it learnt of those that both know is kept, the rest is new.

        A new word starts near the mean of the known ones, and as rarely said as the rarest of them.
        """
        model = CaptionModel(self.encoder, self.config, vocabulary, self.max_length)
        both = [i for i in range(len(vocabulary)) if vocabulary.words[i] in self.vocabulary]
        old = [self.vocabulary.index(vocabulary.words[i]) for i in both]
        tensors = self.state_dict()
        rows = model.decoder.embedding.weight.detach() + tensors["decoder.embedding.weight"].mean(dim=0)
        biases = torch.full_like(model.decoder.output_bias, float(tensors["decoder.output_bias"].min()))
        rows[both] = tensors["decoder.embedding.weight"][old]
        biases[both] = tensors["decoder.output_bias"][old]
        own = {"decoder.embedding.weight": rows, "decoder.output_bias": biases}
        if self.config.concepts:
            own["classifier.words"] = model.classifier.words
            known = [self.vocabulary.words[i] for i in self.classifier.tags.tolist()]
            own["classifier.tags"] = torch.tensor(
                [vocabulary.index(word) if word in vocabulary else PAD for word in known], dtype=torch.long
            )
        model.load_state_dict(tensors | own)
        model.info = self.info
        return model.train(self.training)

    def encode(self, images: torch.Tensor) -> Seen:
        """images (N, 3, H, W) -> what the decoder attends to."""
        return self.see(self.encoder.places(images))

    def see(self, features: torch.Tensor) -> Seen:
        """features (N, L, C) of the encoder -> what the decoder attends to."""
        return self.classifier(features, self.encoder.grid)

    def graphs(self) -> dict[str, Any]:
        """See `PretrainedModel.graphs`."""
        from captioning.export import graphs

        return graphs(self)

    def graph_facts(self) -> dict[str, Any]:
        """See `PretrainedModel.graph_facts`."""
        return {**super().graph_facts(), "grid": list(self.encoder.grid)}

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
        built: Architecture = checked(Architecture, values, "architecture")
        encoder = Encoder(built.encoder).with_preprocess(built.preprocess).freeze()
        return cls(encoder, built.decoder, Vocabulary(built.vocabulary), built.max_length)
