"""The other wake-word network: plain convolutions and a maximum over log-mel frames, which tell parts of words.

Its layers are those of the class-based detector that Snips had before the gated one (`hey_snips_3.pb`, a benchmark of
tract): two convolutions, a maximum, a dilated convolution, and layers of one frame. It hears 0.4 s, less than a word;
`daemon.aggregate` finds the parts in order. Nothing is padded in time.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from daemon.aggregate import Parts
from daemon.features import FRAMES_PER_SECOND, HOP, MELS, WINDOW
from models.augment import IGNORED, SCENE_FRAMES, Mark
from models.wakeword import FLOOR, Whitened

CHANNELS = 128
KERNEL, WIDE_KERNEL = 5, 3
POOL = 8  # frames of which the largest value goes on
DILATION = 12
RECEPTIVE_FIELD = 1 + 2 * (KERNEL - 1) + (POOL - 1) + DILATION * (WIDE_KERNEL - 1)  # frames

PARTS = Parts(count=3, smoothing=10, window=2 * FRAMES_PER_SECOND)
LATE_FRAMES = 8  # after a part was said that the network tells it, so that it hears how the part goes on
EDGE_FRAMES = 3  # to either side of a word's start and end where these are too uncertain to train anything


class PartNetwork(Whitened):
    """(batch, time, MELS) frames to (batch, time - receptive_field + 1, classes) logits; class 0 is "other"."""

    receptive_field = RECEPTIVE_FIELD

    def __init__(self, classes: int) -> None:
        """`classes` is 1 and the parts of all words; those of one word stand in order."""
        super().__init__()
        self.classes = classes
        self.front = nn.Conv1d(MELS, CHANNELS, KERNEL)
        self.second = nn.Conv1d(CHANNELS, CHANNELS, KERNEL)
        self.wide = nn.Conv1d(CHANNELS, CHANNELS, WIDE_KERNEL, dilation=DILATION)
        self.hidden = nn.ModuleList(nn.Conv1d(CHANNELS, CHANNELS, 1) for _ in range(2))
        self.out = nn.Conv1d(CHANNELS, classes, 1)
        for layer in (self.front, self.second, self.wide, *self.hidden):  # nothing else keeps their outputs' scale
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        x = (features.transpose(1, 2).clamp_min(FLOOR) + self.offset) * self.scale
        x = torch.relu(self.second(torch.relu(self.front(x))))
        # In two dimensions: torch exports max_pool1d with the time axis fixed.
        x = nn.functional.max_pool2d(x.unsqueeze(2), (1, POOL), stride=1).squeeze(2)
        x = torch.relu(self.wide(x))
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self.out(x).transpose(1, 2)

    def logits(self, features: Tensor) -> Tensor:
        """What `forward` gives; its convolutions are wide enough to be fast as they are."""
        return self(features)

    products = logits


def classes(words: int, parts: Parts = PARTS) -> int:
    """Of a network that knows the parts of so many words."""
    return 1 + words * parts.count


def part_targets(marks: Sequence[Mark]) -> NDArray[np.int8]:
    """Per frame of a scene: the class of the part said LATE_FRAMES before, 0 where none was, `IGNORED` at the edges.

    Words are marked with 1, 2, ... in the network's order. A mark of class `IGNORED` trains nothing: pieces of words
    and what is nearly one, which hold parts of words and are none, are marked so.
    """
    result = np.zeros(SCENE_FRAMES, np.int8)
    for label, start, ends in marks:
        edges = [_frame(sample) for sample in (start, *ends)]
        result[max(0, edges[0] - EDGE_FRAMES) : max(0, edges[-1] + EDGE_FRAMES)] = IGNORED
        if label == IGNORED:
            continue
        edges[0], edges[-1] = edges[0] + EDGE_FRAMES, edges[-1] - EDGE_FRAMES
        for part, (first, past) in enumerate(itertools.pairwise(edges)):
            result[max(0, first) : max(0, past)] = 1 + (label - 1) * len(ends) + part
    return result


def _frame(sample: int) -> int:
    """The frame that is LATE_FRAMES later than the one whose middle is nearest to a sample."""
    return round((sample - WINDOW / 2) / HOP) + LATE_FRAMES
