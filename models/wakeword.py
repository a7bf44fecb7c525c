"""The wake-word network: gated dilated convolutions over log-mel frames (Coucke et al., arXiv 1811.07684).

No convolution is padded, so what the network sees in training is what it sees on an endless stream; branches are
brought to equal length by dropping items from their front.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from daemon.features import MELS

DILATIONS = (1, 2, 4, 8) * 6
KERNEL = 3
RESIDUAL = 16  # channels that run through all layers
GATE = 64  # channels of each gated layer
SKIP = 32  # channels that each layer adds to the output
FLOOR = 0.0  # log-mel values below (digital silence gives -36) say nothing about speech
RECEPTIVE_FIELD = 1 + (KERNEL - 1) * (1 + sum(DILATIONS))  # frames


class WakeWord(nn.Module):
    """(batch, time, MELS) log-mel frames to (batch, time - RECEPTIVE_FIELD + 1, classes) logits; class 0 is "none"."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("offset", torch.zeros(MELS, 1))
        self.register_buffer("scale", torch.ones(MELS, 1))
        self.front = nn.Conv1d(MELS, RESIDUAL, KERNEL, bias=False)
        self.gates = nn.ModuleList(nn.Conv1d(RESIDUAL, 2 * GATE, KERNEL, dilation=d, bias=False) for d in DILATIONS)
        self.skips = nn.ModuleList(nn.Conv1d(GATE, SKIP, 1, bias=False) for _ in DILATIONS)
        self.residuals = nn.ModuleList(nn.Conv1d(GATE, RESIDUAL, 1, bias=False) for _ in DILATIONS[1:])
        self.hidden = nn.Conv1d(SKIP, SKIP, 1)
        self.out = nn.Conv1d(SKIP, classes, 1)

    def normalise(self, frames: Tensor) -> None:
        """Set the input scale and offset to those that whiten (n, MELS) frames."""
        frames = frames.clamp_min(FLOOR)
        self.offset.copy_(-frames.mean(0)[:, None])
        self.scale.copy_(1 / frames.std(0).clamp_min(1e-3)[:, None])

    def forward(self, features: Tensor) -> Tensor:
        x = (features.transpose(1, 2).clamp_min(FLOOR) + self.offset) * self.scale
        x = self.front(x)
        ahead = (KERNEL - 1) * sum(DILATIONS)  # items that the layers still to come will consume
        total = torch.zeros(())
        for layer, dilation in enumerate(DILATIONS):
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
