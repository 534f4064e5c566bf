"""Action classifiers: a frozen CNN encodes the frames, an RNN their sequence, a classifier gives the label.

Notation: N clips, S streams, T frames, L = h * w places of a map, C its channels, F numbers of a frame (all
its maps, finest first, each place by place), P size of a place, D hidden size, K classes.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from common.encoder import Encoder
from common.errors import UsageError
from common.pretrained import PretrainedModel
from common.recurrent import RecurrentEncoder, open_forget_gate
from common.schema import checked
from video.config import Architecture, ClipConfig


class ConvLSTM(nn.Module):
    """An LSTM of maps, whose products are convolutions (Shi et al. 2015, eq. 3), without peepholes.

    Args:
        channels: of the input maps.
        hidden_size: D, channels of the state.
        kernel_size: of both convolutions; odd.
    """

    def __init__(self, channels: int, hidden_size: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.inputs = nn.Conv2d(channels, 4 * hidden_size, kernel_size, padding=kernel_size // 2)
        self.states = nn.Conv2d(
            hidden_size, 4 * hidden_size, kernel_size, padding=kernel_size // 2, bias=False
        )
        open_forget_gate(self.inputs.bias, hidden_size)

    def forward(self, maps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """maps (R, T, C, H, W), lengths (R,) -> the state at each row's last step (R, D, H, W)."""
        rows, steps = maps.shape[:2]
        gates = self.inputs(maps.flatten(0, 1)).unflatten(0, (rows, steps))  # all steps in one convolution
        hidden = cell = gates.new_zeros(rows, self.hidden_size, *maps.shape[3:])
        for step in range(steps):
            of_step = gates[:, step] + self.states(hidden)
            input_gate, forget_gate, cell_gate, output_gate = of_step.chunk(4, dim=1)
            new_cell = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(cell_gate)
            new_hidden = torch.sigmoid(output_gate) * torch.tanh(new_cell)
            inside = (step < lengths.to(maps.device))[:, None, None, None]
            hidden = torch.where(inside, new_hidden, hidden)
            cell = torch.where(inside, new_cell, cell)
        return hidden


class Head(nn.Module):
    """Frames of one stream (or of all, side by side) -> one logit per class.

    - `mean`: each frame by itself, then the mean; the control, which ignores the order.
    - `rnn`, `lstm`, `gru`: an RNN over the frames (LRCN, Donahue et al. 2015), then `pool` over time.
    - `convlstm`: a ConvLSTM over the feature maps (Shi et al. 2015); the mean of its last map.

    `attention` is a softmax over the frames' scores (Yang et al. 2016, "Hierarchical attention networks").
    A frame is the concatenation of its places, each projected to P units; or, where `places` is `mean`, their
    mean, each channel normalised to mean 0 and variance 1 over the training frames.

    Args:
        config: sizes.
        channels: C, of all its streams together.
        grid: h, w.
        classes: K.

    Raises:
        UsageError: a ConvLSTM over the mean of the places.
    """

    def __init__(self, config: ClipConfig, channels: int, grid: tuple[int, int], classes: int) -> None:
        super().__init__()
        self.kind, self.pool, self.grid = config.head, config.pool, grid
        size = config.hidden_size
        self.dropout = nn.Dropout(config.dropout)
        self.pooled = config.places == "mean"
        if self.pooled and config.head == "convlstm":
            raise UsageError("--places mean: a convlstm needs the grid")
        if self.pooled:
            self.level = nn.BatchNorm1d(channels, affine=False)
        else:
            self.place = nn.Linear(channels, config.place_size)
            self.norm = nn.LayerNorm(config.place_size)
        if config.head == "convlstm":
            self.maps = ConvLSTM(config.place_size, size)
            width = size
        else:
            self.frame = nn.Linear(channels if self.pooled else config.place_size * grid[0] * grid[1], size)
            width = size
        if config.head in ("rnn", "lstm", "gru"):
            self.reader = RecurrentEncoder(config.head, size, size, bidirectional=config.bidirectional)
            width = self.reader.output_size
            if config.pool == "attention":
                self.key, self.score = nn.Linear(width, size), nn.Linear(size, 1, bias=False)
        self.classify = nn.Linear(width, classes)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """features (N, T, L, C), lengths (N,) -> logits (N, K)."""
        inside = torch.arange(features.shape[1], device=features.device) < lengths[:, None]  # N, T
        if self.pooled:
            means = features.mean(dim=2)  # N, T, C
            if self.training:
                inputs = torch.zeros_like(means)
                inputs[inside] = self.level(means[inside]).to(means.dtype)
            else:  # in a form that a graph can have
                level = self.level(means.flatten(0, 1)).to(means.dtype).view_as(means)
                inputs = torch.where(inside[..., None], level, torch.zeros_like(level))
        else:
            places = torch.relu(self.norm(self.place(features)))  # N, T, L, P
            if self.kind == "convlstm":
                maps = places.transpose(2, 3).unflatten(3, self.grid)  # N, T, P, h, w
                last = self.maps(self.dropout(maps), lengths)  # N, D, h, w
                return self.classify(self.dropout(last.mean(dim=(2, 3))))
            inputs = places.flatten(2)  # N, T, L * P
        frames = torch.relu(self.frame(self.dropout(inputs)))  # N, T, D
        inside = inside[..., None]
        if self.kind == "mean":
            pooled = (frames * inside).sum(dim=1) / lengths[:, None]
        else:
            outputs, last = self.reader(self.dropout(frames), lengths)
            if self.pool == "last":
                pooled = last
            elif self.pool == "mean":
                pooled = outputs.sum(dim=1) / lengths[:, None]
            else:
                scores = self.score(torch.tanh(self.key(outputs))).masked_fill(~inside, -torch.inf)
                pooled = (scores.float().softmax(dim=1).to(outputs.dtype) * outputs).sum(dim=1)
        return self.classify(self.dropout(pooled))


class ClipNetwork(nn.Module):
    """Features of a clip's streams -> one logit per class.

    `late` fusion has a head for each map of each stream and averages their logits, as the two-stream networks
    of Simonyan & Zisserman 2014 average scores; `early` has one for each map, of all streams' channels.

    Args:
        config: sizes.
        maps: C, h and w of each map of a frame.
        classes: K.
    """

    def __init__(self, config: ClipConfig, maps: Sequence[tuple[int, int, int]], classes: int) -> None:
        super().__init__()
        self.maps = [tuple(each) for each in maps]
        streams = len(config.streams)
        self.late = config.fusion == "late"
        heads, together = (streams, 1) if self.late else (1, streams)
        self.heads = nn.ModuleList(
            Head(config, together * channels, (height, width), classes)
            for _ in range(heads)
            for channels, height, width in maps
        )

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """features (N, S, T, F), lengths (N,) -> logits (N, K). Frames beyond a length change nothing."""
        return self.of_heads(features, lengths).mean(dim=0)

    def of_heads(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """As `forward`, but the logits of each head by itself (H, N, K)."""
        sizes = [channels * height * width for channels, height, width in self.maps]
        maps = [
            each.unflatten(3, (-1, channels))  # N, S, T, L, C
            for each, (channels, *_) in zip(features.split(sizes, dim=3), self.maps, strict=True)
        ]
        if self.late:
            inputs = [each[:, stream] for stream in range(features.shape[1]) for each in maps]
        else:
            inputs = [each.permute(0, 2, 3, 1, 4).flatten(3) for each in maps]  # N, T, L, S * C
        return torch.stack([head(each, lengths) for head, each in zip(self.heads, inputs, strict=True)])


class VideoModel(PretrainedModel):
    """A frozen encoder, a network over its features, and the names of the classes.

    Args:
        encoder: frozen; applied to each image of each stream, and cut at the config's strides.
        config: sizes of the network.
        labels: names of the K classes.
        clip_seconds: median length of a training clip, the window for long recordings.

    Raises:
        UsageError: the encoder has no map at such a stride.
    """

    task = "video"
    pipeline_tag = "video-classification"
    has_graphs = True

    def __init__(
        self, encoder: Encoder, config: ClipConfig, labels: list[str], clip_seconds: float = 2.0
    ) -> None:
        super().__init__()
        if config.strides:
            encoder.cut(min(config.strides), max(config.strides))
        self.encoder: Encoder = encoder
        self.config, self.labels, self.clip_seconds = config, labels, clip_seconds
        black = torch.zeros(1, 3, encoder.preprocess.height, encoder.preprocess.width)
        with torch.inference_mode():
            maps = [(each.shape[1], each.shape[2], each.shape[3]) for each in self._maps(black)]
        self.network = ClipNetwork(config, maps, len(labels))

    def architecture(self) -> dict[str, Any]:
        """Sizes, preprocessing and labels."""
        network: dict[str, Any] = json.loads(json.dumps(asdict(self.config)))
        return {
            "encoder": self.encoder.name,
            "preprocess": self.encoder.preprocess.to_dict(),
            "network": network,
            "labels": self.labels,
            "clip_seconds": self.clip_seconds,
        }

    @classmethod
    def from_architecture(cls, values: dict[str, Any]) -> "VideoModel":
        """Build with random weights."""
        built: Architecture = checked(Architecture, values, "architecture")
        encoder = Encoder(built.encoder).with_preprocess(built.preprocess).freeze()
        return cls(encoder, built.network, built.labels, built.clip_seconds)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Preprocessed images (M, 3, H, W) -> features (M, F)."""
        return torch.cat([each.flatten(2).transpose(1, 2).flatten(1) for each in self._maps(images)], dim=1)

    def _maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        return self.encoder.maps(images) if self.config.strides else [self.encoder(images)]

    def forward(self, clips: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """clips (N, S, T, 3, H, W), lengths (N,) or None for all T -> logits (N, K)."""
        if lengths is None:
            lengths = torch.full((len(clips),), clips.shape[2], device=clips.device)
        features = self.encode(clips.flatten(0, 2)).unflatten(0, clips.shape[:3])  # N, S, T, F
        return self.network(features, lengths)

    def graphs(self) -> dict[str, Any]:
        """See `PretrainedModel.graphs`."""
        from video.export import graphs

        return graphs(self)

    def graph_facts(self) -> dict[str, Any]:
        """See `PretrainedModel.graph_facts`."""
        return {**super().graph_facts(), "grid": list(self.encoder.grid)}
