"""The last layer of a speaker network, computed rather than trained: linear discriminant analysis of what it pools.

Directions in which one person's utterances differ, in noise, in rooms and over time, are made small; those in which
people differ are kept (Fisher). The layer stays one of the network's own.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from daemon.speaker import HEADS
from models.speaker import Speaker

Floats = NDArray[np.float64]

SHRINKAGE = 0.05  # of the spread within people towards the same in all directions


def pooled(network: Speaker, frames: Tensor) -> Tensor:
    """What the hidden layer says of (batch, time, MELS) frames, (batch, hidden), with one weight for all heads."""
    hidden = network.heard(frames)
    weights = network.weigh(hidden).mean(1, keepdim=True).softmax(-1)
    return (hidden * weights).sum(-1)


def finish(network: Speaker, seen: Floats, who: NDArray[np.int64]) -> None:
    """Give a network the last layer that tells apart who was `pooled`: (utterances, hidden) and a number for each."""
    directions, middle = discriminant(seen, who, network.size.embedding)
    with torch.no_grad():
        network.out.weight[:HEADS] = network.out.weight[:HEADS].mean(0)
        network.out.bias[:HEADS] = 0
        network.out.weight[HEADS:, :, 0] = torch.from_numpy(directions.T).float()
        network.out.bias[HEADS:] = -torch.from_numpy(middle @ directions).float()


def discriminant(seen: Floats, who: NDArray[np.int64], dimensions: int) -> tuple[Floats, Floats]:
    """Directions (features, dimensions) with the spread of one person 1 in each, and the middle (features,)."""
    middle = seen.mean(axis=0)
    size = seen.shape[1]
    within, between = np.zeros((size, size)), np.zeros((size, size))
    for person in np.unique(who):
        own = seen[who == person] - middle
        mean = own.mean(axis=0)
        within += (own - mean).T @ (own - mean)
        between += len(own) * np.outer(mean, mean)
    within /= len(seen)
    within = (1 - SHRINKAGE) * within + SHRINKAGE * np.trace(within) / size * np.eye(size)
    spread, axes = np.linalg.eigh(within)
    even = axes @ np.diag(spread**-0.5) @ axes.T
    _, main = np.linalg.eigh(even @ between @ even)
    return even @ main[:, ::-1][:, :dimensions], middle
