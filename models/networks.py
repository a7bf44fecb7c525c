"""Both kinds of networks, as training, export and evaluation take them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.aggregate import Parts, aggregate
from models.evaluate import SMOOTHING
from models.parts import PARTS, PartNetwork, classes
from models.recipe import Recipe
from models.rounded import RoundedWakeWord
from models.wakeword import WakeWord

Network = WakeWord | PartNetwork

STRETCH = 60_000  # frames heard at once


def build(made: Recipe) -> Network:
    """The network of a recipe, with fresh weights."""
    if made.network.kind == "parts":
        return PartNetwork(classes(len(made.words)))
    gated = RoundedWakeWord if made.quantised else WakeWord
    return gated(1 + len(made.words), made.network.size())


def parts_of(network: Network) -> Parts | None:
    """How the posteriors of word parts become scores; None where the network knows whole words."""
    return PARTS if isinstance(network, PartNetwork) else None


def smoothing_of(network: Network) -> int:
    """Frames over which what `posteriors` gives is averaged into scores; those of parts are smooth already."""
    return SMOOTHING if parts_of(network) is None else 1


def posteriors(network: Network, frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of all words, (frames, words), 0 until the receptive field is full; frames (n, MELS), heard in stretches."""
    field = network.receptive_field
    result = np.zeros((len(frames), network.classes - 1), np.float32)
    with torch.inference_mode():
        for start in range(0, len(frames) - field + 1, STRETCH):
            piece = torch.from_numpy(frames[start : start + STRETCH + field - 1])[None].to(network.offset.device)
            values = network.products(piece).softmax(-1)[0, :, 1:].cpu().numpy()
            result[start + field - 1 : start + field - 1 + len(values)] = values
    parts = parts_of(network)
    return result if parts is None else aggregate(result, parts)
