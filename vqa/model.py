"""Answerers: an RNN reads the question, attention over the image's grid, a classifier of answers.

Notation: Q questions, T words, L grid places, C channels, E embedding size, D hidden size, A answers, H hops.
"""

import math
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from common.attention import AdditiveAttention
from common.encoder import Encoder
from common.pretrained import PretrainedModel
from common.recurrent import RecurrentEncoder
from common.schema import checked
from common.text import PAD, UNK, Vocabulary
from vqa.config import AnswererConfig, Architecture


class ImageMemory(NamedTuple):
    """What an answer network keeps of N images, from `AnswerNetwork.remember`; rows as of any decoder's."""

    grid: torch.Tensor
    """(N, L, D), D the rank for `mlb`; one place, the mean, for all but `san`"""
    keys: tuple[torch.Tensor, ...] = ()
    """Of each hop, (N, L, attention size); of `mlb`, its places (N, L, D), but in training none"""


class _OfImagesAndQuestions(nn.Module):
    """`remember` is computed once per image, `answer` once per question."""

    remember: Any
    answer: Any

    def forward(
        self, features: torch.Tensor, tokens: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """features (Q, L, C), tokens (Q, T), lengths (Q,) -> as `answer`."""
        found: tuple[torch.Tensor, torch.Tensor] = self.answer(self.remember(features), tokens, lengths)
        return found


class AnswerNetwork(_OfImagesAndQuestions):
    """Question and grid -> one logit per answer.

    `remember` is computed once per image, `answer` once per question.

    - `san`: stacked attention (Yang et al. 2016, eqs. 15 to 22): each hop attends with the question and
      what earlier hops found, and adds what it finds.
    - `mlb`: logits of the question alone, plus those of a low-rank bilinear product of question and picture
      (Kim et al. 2017, "Hadamard product for low-rank bilinear pooling", eq. 8), the picture as the mean of
      its grid. Its map is what each place by itself would add to the answer given (Zhou et al. 2016,
      "Learning deep features for discriminative localization", eq. 2).
    - `lstm_q_i`: the mean of the grid times the question, elementwise (Antol et al. 2015, section 4.2).
    - `question_only`, `image_only`: controls; the other input is not used.

    Args:
        config: sizes.
        words: size of the vocabulary.
        channels: C.
        answers: A.
    """

    def __init__(self, config: AnswererConfig, words: int, channels: int, answers: int) -> None:
        super().__init__()
        self.config = config
        size = config.hidden_size
        self.dropout = nn.Dropout(config.dropout)
        if config.kind != "image_only":
            self.embedding = nn.Embedding(words, config.embedding_size, padding_idx=PAD)
            self.reader = RecurrentEncoder(config.cell, config.embedding_size, size)
        joint = config.attention_size if config.kind == "mlb" else size
        if config.kind != "question_only":
            self.project = nn.Linear(channels, joint)
        if config.kind == "mlb":
            self.own, self.ask = nn.Linear(size, answers), nn.Linear(size, joint)
        hops = config.hops if config.kind == "san" else 0
        attention = [AdditiveAttention(size, size, config.attention_size) for _ in range(hops)]
        self.attention: Any = nn.ModuleList(attention)
        self.classify = nn.Linear(joint, answers)

    def remember(self, features: torch.Tensor) -> ImageMemory:
        """What the network keeps of images, features (N, L, C); it depends on no question.

        Of `question_only`, nothing.
        """
        kind = self.config.kind
        if kind == "question_only":
            return ImageMemory(features.new_zeros(features.shape[0], 0, 0))
        # each place at length 1 (Antol et al. 2015, section 4.2)
        features = F.normalize(features, dim=-1) * features.shape[-1] ** 0.5
        if kind == "san":
            grid = torch.tanh(self.project(self.dropout(features)))  # N, L, C -> N, L, D
            return ImageMemory(grid, tuple(hop.keys(grid) for hop in self.attention))
        mean = torch.tanh(self.project(self.dropout(features.mean(dim=1, keepdim=True))))
        places = kind == "mlb" and not self.training
        return ImageMemory(mean, (torch.tanh(self.project(features)),) if places else ())

    def answer(
        self, memory: ImageMemory, tokens: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """memory of Q images, tokens (Q, T), lengths (Q,) -> logits (Q, A), attention weights (Q, H, L).

        Rows of the memory and of tokens belong together. H is 1 for `mlb`; H and L are 0 for all but it
        and `san`.
        """
        logits, maps, asked = self.read(memory, tokens, lengths)
        if asked is not None and memory.keys:
            maps = _shown(self.evidence(memory, asked, logits.argmax(dim=-1)))
        return logits, maps

    def read(
        self, memory: ImageMemory, tokens: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """As `answer`, but of `mlb` what the question asks (Q, D) in place of its map, which is empty."""
        grid, kind = memory.grid, self.config.kind
        maps = grid.new_zeros(tokens.shape[0], 0, 0)
        if kind == "image_only":
            query = grid[:, 0]  # Q, D
        else:
            query = self.reader.last(self.dropout(self.embedding(tokens)), lengths)  # Q, D
        if kind == "mlb":
            query = self.dropout(query)
            asked = torch.tanh(self.ask(query))  # Q, D
            return self.own(query) + self.classify(self.dropout(asked * grid[:, 0])), maps, asked
        if kind == "lstm_q_i":
            query = query * grid[:, 0]
        elif kind == "san":
            weights = []
            for hop, keys in zip(self.attention, memory.keys, strict=True):
                attended, of_hop = hop(self.dropout(query), grid, keys)
                query = query + attended
                weights.append(of_hop)
            maps = torch.stack(weights, dim=1)  # Q, H, L
        return self.classify(self.dropout(query)), maps, None

    def evidence(self, memory: ImageMemory, asked: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        """What each place by itself would add to the logit of an answer.

        Args:
            memory: of Q images, by `mlb`, not in training.
            asked: (Q, D) from `read`.
            answers: (Q,).

        Returns:
            (Q, L).
        """
        return torch.einsum("qld,qd->ql", memory.keys[0], asked * self.classify.weight[answers])


def _shown(evidence: torch.Tensor) -> torch.Tensor:
    """evidence (Q, L) -> what of it speaks for the answer, as a map (Q, 1, L) that sums to 1."""
    speaks = evidence.relu()
    return (speaks / speaks.sum(dim=1, keepdim=True).clamp(min=1e-6))[:, None]


class AnswerNetworks(_OfImagesAndQuestions):
    """Networks that begin differently and answer together, by the mean of their probabilities.

    The deep ensembles of Lakshminarayanan et al. 2017, over one encoder.

    Args:
        config: sizes of each of its members.
        words: size of the vocabulary.
        channels: C.
        answers: A.
    """

    def __init__(self, config: AnswererConfig, words: int, channels: int, answers: int) -> None:
        super().__init__()
        self.members: Any = nn.ModuleList(
            AnswerNetwork(config, words, channels, answers) for _ in range(config.members)
        )

    def remember(self, features: torch.Tensor) -> ImageMemory:
        """As of one network; what the members keep lies side by side."""
        each = [member.remember(features) for member in self.members]
        keys = tuple(key for memory in each for key in memory.keys)
        return ImageMemory(torch.cat([memory.grid for memory in each], dim=-1), keys)

    def answer(
        self, memory: ImageMemory, tokens: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """memory of Q images, tokens (Q, T), lengths (Q,) -> logits (Q, A), attention weights (Q, H, L).

        The logits are the logarithm of the mean probability, the weights the mean; the map of `mlb` is of the
        answer that they give together. In training the logits of all members, one after the other
        (members * Q, A).
        """
        each = self._memories(memory)
        read = [
            member.read(of_one, tokens, lengths) for member, of_one in zip(self.members, each, strict=True)
        ]
        maps = torch.stack([of_one for _, of_one, _ in read]).mean(dim=0)
        logits = torch.stack([of_one for of_one, _, _ in read])  # members, Q, A
        if self.training:
            return logits.flatten(0, 1), maps
        together = logits.float().log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(read))
        if memory.keys and read[0][2] is not None:
            best = together.argmax(dim=-1)
            evidence = [
                member.evidence(of_one, asked, best)
                for member, of_one, (_, _, asked) in zip(self.members, each, read, strict=True)
            ]
            maps = _shown(torch.stack(evidence).mean(dim=0))
        return together, maps

    def _memories(self, memory: ImageMemory) -> list[ImageMemory]:
        """What each member keeps of what they keep together."""
        count = len(self.members)
        width, keys = memory.grid.shape[-1] // count, len(memory.keys) // count
        return [
            ImageMemory(memory.grid[..., i * width :][..., :width], memory.keys[i * keys :][:keys])
            for i in range(count)
        ]


class VqaModel(PretrainedModel):
    """A frozen encoder, an answer network, and the words and answers that it knows.

    Args:
        encoder: images -> grid of features.
        config: sizes of the network.
        vocabulary: words of questions.
        answers: the A answers that it can give.
    """

    task = "vqa"
    pipeline_tag = "visual-question-answering"
    has_graphs = True

    def __init__(
        self, encoder: Encoder, config: AnswererConfig, vocabulary: Vocabulary, answers: list[str]
    ) -> None:
        super().__init__()
        self.encoder: Encoder = encoder
        self.config, self.vocabulary, self.answers = config, vocabulary, answers
        build = AnswerNetwork if config.members == 1 else AnswerNetworks
        self.network = build(config, len(vocabulary), encoder.out_channels, len(answers))

    def architecture(self) -> dict[str, Any]:
        """Sizes, preprocessing, words and answers."""
        return {
            "encoder": self.encoder.name,
            "preprocess": self.encoder.preprocess.to_dict(),
            "network": asdict(self.config),
            "vocabulary": self.vocabulary.to_list(),
            "answers": self.answers,
        }

    @classmethod
    def from_architecture(cls, values: dict[str, Any]) -> "VqaModel":
        """Build with random weights."""
        built: Architecture = checked(Architecture, values, "architecture")
        encoder = Encoder(built.encoder).with_preprocess(built.preprocess).freeze()
        return cls(encoder, built.network, Vocabulary(built.vocabulary), built.answers)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Preprocessed images (N, 3, H, W) -> features (N, L, C)."""
        return self.encoder.places(images)

    def forward(
        self, images: torch.Tensor, tokens: torch.Tensor | None = None, lengths: torch.Tensor | None = None
    ) -> torch.Tensor:
        """images (Q, 3, H, W), tokens (Q, T), lengths (Q,) or None for all T -> logits (Q, A).

        Without tokens, the question is a word that the model does not know.
        """
        if tokens is None:
            tokens = torch.full((len(images), 1), UNK, device=images.device)
        if lengths is None:
            lengths = torch.full((len(images),), tokens.shape[1], device=images.device)
        return self.network(self.encode(images), tokens, lengths)[0]

    @property
    def looks(self) -> bool:
        """See `PretrainedModel.looks`."""
        return self.config.kind != "question_only"

    def graphs(self) -> dict[str, Any]:
        """See `PretrainedModel.graphs`."""
        from vqa.export import graphs

        return graphs(self)

    def graph_facts(self) -> dict[str, Any]:
        """See `PretrainedModel.graph_facts`."""
        return {**super().graph_facts(), "grid": list(self.encoder.grid)}
