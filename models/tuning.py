"""A training that starts from the network of another one, on the scenes of that one, and may take it as its teacher."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from models import train
from models.recipe import Recipe, RecipeError
from models.wakeword import WakeWord

SHARED = ("scenes.*", "mined*", "voices")  # what a training leaves that others can use
SLOWED = 0.25  # of the learning rate
LOOKS = 4  # at the dev split


def source(folder: Path) -> tuple[Recipe, WakeWord]:
    """The recipe and the network of a training; `RecipeError` where it is not a gated one."""
    made, network = train.load(folder)
    if not isinstance(network, WakeWord):
        raise RecipeError(f"{folder} holds a network of word parts; gated ones alone are pruned and quantised")
    return made, network


def recipe(made: Recipe, steps: int, source: Path) -> Recipe:
    """Some more steps of the training in `source`, slowly, after a step for each round whose mined scenes are there."""
    if steps < 1:
        raise RecipeError(f"a training of {steps} steps trains nothing; give at least one")
    rounds = (*(1 for _ in source.glob("mined*.kept")), steps)
    every = max(1, sum(rounds) // LOOKS)
    slowly = {"rate": made.rate * SLOWED, "restart": 0.0, "warm_up": min(made.warm_up, every)}
    return msgspec.structs.replace(made, rounds=rounds, check_every=every, **slowly)


def start(source: Path, folder: Path, made: Recipe, network: WakeWord) -> None:
    """Leave in `folder` what `train` goes on with: the network, the recipe, and links to the scenes of `source`."""
    if (folder / train.CHECKPOINT).exists():
        raise RecipeError(f"{folder} holds a training already; take another folder, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    for path in (found for pattern in SHARED for found in source.glob(pattern)):
        link = folder / path.name
        if not link.exists():
            os.symlink(path.resolve(), link)
    training = train.Training(made)
    for there in (training.network, training.average.module):
        there.load_state_dict(there.state_dict() | network.state_dict())
    train.recipe.write(made, folder / train.RECIPE)
    training.save(folder)
