"""The wake-word network: gated dilated convolutions over log-mel frames (Coucke et al., arXiv 1811.07684).

No convolution is padded, so what the network sees in training is what it sees on an endless stream; branches are
brought to equal length by dropping items from their front.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from daemon.features import MELS

KERNEL = 3
FLOOR = 0.0  # log-mel values below (digital silence gives -36) say nothing about speech


@dataclass(frozen=True)
class Size:
    """How large the network is; the default is the published one."""

    residual: int = 16  # channels that run through all layers
    gate: int = 64  # channels of each gated layer
    skip: int = 32  # channels that each layer adds to the output
    dilations: tuple[int, ...] = (1, 2, 4, 8) * 6

    @property
    def receptive_field(self) -> int:
        """Frames that reach one output."""
        return 1 + (KERNEL - 1) * (1 + sum(self.dilations))

    def multiplications(self, classes: int) -> int:
        """Per frame."""
        gated = KERNEL * self.residual * 2 * self.gate + self.gate * self.skip
        residuals = self.gate * self.residual * (len(self.dilations) - 1)
        head = self.skip * (self.skip + classes)
        return MELS * (1 + KERNEL * self.residual) + gated * len(self.dilations) + residuals + head


class Whitened(nn.Module):
    """A network that scales and shifts its (n, MELS) frames first."""

    offset: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", torch.zeros(MELS, 1))
        self.register_buffer("scale", torch.ones(MELS, 1))

    def normalise(self, frames: Tensor) -> None:
        """Set the scale and offset to those that whiten (n, MELS) frames."""
        frames = frames.clamp_min(FLOOR)
        self.offset.copy_(-frames.mean(0)[:, None])
        self.scale.copy_(1 / frames.std(0).clamp_min(1e-3)[:, None])


class WakeWord(Whitened):
    """(batch, time, MELS) frames to (batch, time - receptive_field + 1, classes) logits; class 0 is "none"."""

    def __init__(self, classes: int, size: Size) -> None:
        super().__init__()
        self.size, self.classes = size, classes
        residual, gate, skip, dilations = size.residual, size.gate, size.skip, size.dilations
        self.front = nn.Conv1d(MELS, residual, KERNEL, bias=False)
        self.gates = nn.ModuleList(nn.Conv1d(residual, 2 * gate, KERNEL, dilation=d, bias=False) for d in dilations)
        self.skips = nn.ModuleList(nn.Conv1d(gate, skip, 1, bias=False) for _ in dilations)
        self.residuals = nn.ModuleList(nn.Conv1d(gate, residual, 1, bias=False) for _ in dilations[1:])
        self.hidden = nn.Conv1d(skip, skip, 1)
        self.out = nn.Conv1d(skip, classes, 1)

    @property
    def receptive_field(self) -> int:
        """Frames that reach one output."""
        return self.size.receptive_field

    def forward(self, features: Tensor) -> Tensor:
        x = (features.transpose(1, 2).clamp_min(FLOOR) + self.offset) * self.scale
        x = self.front(x)
        ahead = (KERNEL - 1) * sum(self.size.dilations)  # items that the layers still to come will consume
        total = torch.zeros(())
        for layer, dilation in enumerate(self.size.dilations):
            tanh, sigmoid = self.gates[layer](x).chunk(2, dim=1)
            z = torch.tanh(tanh) * torch.sigmoid(sigmoid)
            consumed = (KERNEL - 1) * dilation
            ahead -= consumed
            skip = self.skips[layer](z)[:, :, ahead:]
            total = skip if layer == 0 else total + skip
            if layer < len(self.residuals):
                x = x[:, :, consumed:] + self.residuals[layer](z)
        hidden = torch.relu(self.hidden(torch.relu(total)))
        return self.out(hidden).transpose(1, 2)

    def logits(self, features: Tensor) -> Tensor:
        """What `forward` gives, in the way that is fastest where the features are; for training."""
        return self(features) if features.is_cuda else self.products(features)

    def products(self, features: Tensor) -> Tensor:
        """What `forward` gives, from products of matrices over (time, batch, channels): 1.4 times as fast on a CPU."""
        x = (features.clamp_min(FLOOR) + self.offset[:, 0]) * self.scale[:, 0]
        x = _convolved(x.transpose(0, 1), self.front, 1)
        items = len(x) - (KERNEL - 1) * sum(self.size.dilations)
        total = torch.zeros(())
        for layer, dilation in enumerate(self.size.dilations):
            tanh, sigmoid = _convolved(x, self.gates[layer], dilation).chunk(2, dim=-1)
            z = (2 * torch.sigmoid(2 * tanh) - 1) * torch.sigmoid(sigmoid)  # tanh, which takes longer than sigmoid
            if layer < len(self.residuals):
                both = torch.cat((self.skips[layer].weight, self.residuals[layer].weight))[:, :, 0]
                added, carried = nn.functional.linear(z, both).split((self.size.skip, self.size.residual), dim=-1)
                x = x[(KERNEL - 1) * dilation :] + carried
            else:
                added = nn.functional.linear(z, self.skips[layer].weight[:, :, 0])
            total = total + added[-items:]
        hidden = nn.functional.linear(torch.relu(total), self.hidden.weight[:, :, 0], self.hidden.bias)
        return nn.functional.linear(torch.relu(hidden), self.out.weight[:, :, 0], self.out.bias).transpose(0, 1)


def taps(x: Tensor, dilation: int) -> Tensor:
    """What a convolution along time reads of (time, batch, channels): (items, batch, KERNEL * channels)."""
    length = len(x) - (KERNEL - 1) * dilation
    return torch.cat([x[at * dilation : at * dilation + length] for at in range(KERNEL)], dim=-1)


def _convolved(x: Tensor, convolution: nn.Conv1d, dilation: int) -> Tensor:
    return nn.functional.linear(taps(x, dilation), convolution.weight.transpose(1, 2).flatten(1))
