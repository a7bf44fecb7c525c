"""The speaker network: separable convolutions over log-mel frames, pooled by attention over what somebody said.

Its frame-level part is all that it has: each item holds a weight and a value for each head, and what a person's speech
comes to is the weighted mean of the values. So items can be made as the frames come in, and pooled over any span of
them. The blocks are those of QuartzNet (Kriman et al., arXiv 1910.10261), which streamed speaker networks are made of
(Balian et al., arXiv 2011.01709). No convolution is padded.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from daemon.speaker import HEADS
from models.wakeword import FLOOR, MELS, Whitened

STRIDE = 2  # frames per item
KERNEL = 5


@dataclass(frozen=True)
class Size:
    """How large the network is."""

    channels: int = 144
    blocks: int = 6
    hidden: int = 256
    embedding: int = 128


class Block(nn.Module):
    """A convolution of each channel along time, one across the channels, and what came in added to it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.along = nn.Conv1d(channels, channels, KERNEL, groups=channels, bias=False)
        self.across = nn.Conv1d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        passed = x[:, :, (KERNEL - 1) // 2 : -((KERNEL - 1) // 2)]
        return passed + torch.relu(self.norm(self.across(self.along(x))))


class Speaker(Whitened):
    """(batch, time, MELS) frames to (batch, items, HEADS + embedding): a weight's logarithm per head, then values."""

    def __init__(self, size: Size = Size()) -> None:
        super().__init__()
        self.size = size
        self.front = nn.Conv1d(MELS, size.channels, KERNEL, stride=STRIDE, bias=False)
        self.norm = nn.BatchNorm1d(size.channels)
        self.blocks = nn.Sequential(*(Block(size.channels) for _ in range(size.blocks)))
        self.hidden = nn.Conv1d(size.channels, size.hidden, 1)
        self.out = nn.Conv1d(size.hidden, HEADS + size.embedding, 1)

    @property
    def receptive_field(self) -> int:
        """Frames that reach one item."""
        return 1 + (KERNEL - 1) * (1 + STRIDE * self.size.blocks)

    @property
    def parameters_in_all(self) -> int:
        """Numbers that are trained."""
        return sum(parameter.numel() for parameter in self.parameters())

    def heard(self, features: Tensor) -> Tensor:
        """What the hidden layer makes of (batch, time, MELS) frames, (batch, hidden, items)."""
        x = (features.transpose(1, 2).clamp_min(FLOOR) + self.offset) * self.scale
        return torch.relu(self.hidden(self.blocks(torch.relu(self.norm(self.front(x))))))

    def weigh(self, hidden: Tensor) -> Tensor:
        """Of each item, the logarithm of its weight for each head, (batch, HEADS, items)."""
        return nn.functional.conv1d(hidden, self.out.weight[:HEADS], self.out.bias[:HEADS])

    def forward(self, features: Tensor) -> Tensor:
        return self.out(self.heard(features)).transpose(1, 2)

    def embed(self, features: Tensor) -> Tensor:
        """Embeddings (batch, embedding) of norm 1; `daemon.speaker` makes the same of items."""
        items = self(features).float()
        weights = items[..., :HEADS].softmax(1).unsqueeze(-1)
        values = items[..., HEADS:].unflatten(-1, (HEADS, -1))
        return nn.functional.normalize((weights * values).sum(1).flatten(1), dim=-1)
