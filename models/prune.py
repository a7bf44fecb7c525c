"""Structured pruning: whole gated channels go from every layer, and what is left is a smaller network of the same kind.

A channel of a gate reaches the rest of the network by its outgoing weights alone, and linearly. So the sum of these
weights times their gradients is, to first order, what the loss of a scene would change by without the channel
(Molchanov et al., arXiv 1906.10771). The channels whose changes are largest, squared and summed over scenes, stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from models import pool, tuning
from models.augment import IGNORED
from models.pool import Pool
from models.recipe import RecipeError
from models.wakeword import WakeWord

SCENES = 128  # by which channels are chosen
STEPS = 4000  # of the training after it


def importance(network: WakeWord, scenes: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """(layers, gate) how much each channel matters, by (1, n, MELS) frames and their (1, n) targets."""
    found = torch.zeros(len(network.gates), network.size.gate)
    for frames, targets in scenes:
        network.zero_grad()
        logits = network.products(frames)
        heard = targets[:, -logits.shape[1] :].flatten()
        nn.functional.cross_entropy(logits.flatten(0, 1), heard, ignore_index=IGNORED, reduction="sum").backward()
        found += torch.stack([_changes(network, layer) for layer in range(len(found))]).square()
    network.zero_grad()
    return found


def _changes(network: WakeWord, layer: int) -> Tensor:
    outgoing = [paths[layer].weight for paths in (network.skips, network.residuals) if layer < len(paths)]
    return torch.stack([(w.detach() * w.grad).sum((0, 2)) for w in outgoing if w.grad is not None]).sum(0)


def pruned(network: WakeWord, kept: Sequence[Tensor]) -> WakeWord:
    """The network with only these gated channels of each layer, as many in each."""
    gate = network.size.gate
    state = network.state_dict()
    for layer, channels in enumerate(kept):
        state[f"gates.{layer}.weight"] = state[f"gates.{layer}.weight"][torch.cat((channels, gate + channels))]
        for name in (f"skips.{layer}.weight", f"residuals.{layer}.weight"):
            if name in state:
                state[name] = state[name][:, channels]
    smaller = type(network)(network.classes, replace(network.size, gate=len(kept[0])))
    smaller.load_state_dict(state)
    return smaller.eval()


def prune(source: Path, folder: Path, keep: float, steps: int = STEPS) -> tuple[WakeWord, WakeWord]:
    """Leave in `folder` a training of `steps` that starts from the pruned network of another; both networks."""
    made, network = tuning.source(source)
    width = round(made.network.gate * keep) if 0 < keep <= 1 else 0
    if not width:
        raise RecipeError(f"keeping {keep:g} of {made.network.gate} channels makes no network; keep a share in (0, 1]")
    important = importance(network, scenes(source, made.sounds.scenes))
    smaller = pruned(network, [row.topk(width).indices.sort().values for row in important])
    narrow = msgspec.structs.replace(made.network, gate=width)
    tuning.start(source, folder, msgspec.structs.replace(tuning.recipe(made, steps, source), network=narrow), smaller)
    return network, smaller


def scenes(folder: Path, count: int) -> Iterable[tuple[Tensor, Tensor]]:
    """Some of the `count` scenes of a training, one by one: frames and targets."""
    done = pool.rendered(folder / "scenes")
    if not done:
        raise RecipeError(f"{folder} holds no scenes to prune by; `train` with its recipe makes them again")
    there = Pool(folder / "scenes", count)
    for number in range(min(SCENES, done)):
        frames, targets = there.take([number])
        yield torch.from_numpy(frames.astype(np.float32)), torch.from_numpy(targets.astype(np.int64))
