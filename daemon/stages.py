"""The stages of hearing, each opened by itself to be measured: a function that does its part of one pulse.

What a stage needs is imported only where it is opened, so that the time and the memory of that are seen.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
LOUDNESS = 3000  # of the noise that is heard


def network(path: str, kernels: str) -> Callable[[Floats], NDArray[Any]]:
    """The plan at `path`, by the kernels of that name."""
    import pulse

    run = pulse.State(pulse.Plan.load(path), kernels=kernels).run
    return lambda frames: run(frames)[0]


def streams(path: str, many: int) -> Callable[[Floats], NDArray[Any]]:
    """The plan at `path` for so many streams, which all get the same; what the first one gives."""
    import pulse

    run = pulse.State(pulse.Plan.load(path), many).run
    return lambda frames: run(np.broadcast_to(frames, (many, *frames.shape)))[0][0]


def features(path: str) -> Callable[[Floats], NDArray[Any]]:
    """The frames of one pulse of the model at `path`, from samples of noise."""
    from daemon.features import LogMel
    from daemon.model import WakeModel

    model = WakeModel.load(Path(path))
    push, block = LogMel(model.window_function).push, noise(model.plan.pulse)
    return lambda _: push(block)


def hearing(path: str) -> Callable[[Floats], list[Any]]:
    """All from samples of noise to detections."""
    from daemon.config import WakeConfig
    from daemon.listener import Listener
    from daemon.model import WakeModel

    model = WakeModel.load(Path(path))
    push = Listener(model, model.thresholds, refractory_s=WakeConfig().refractory_s).push
    block = noise(model.plan.pulse)
    first = -len(block)

    def run(_: Floats) -> list[Any]:
        nonlocal first
        first += len(block)
        return push(first, block)

    return run


def noise(frames: int) -> NDArray[np.int16]:
    """Samples for so many frames."""
    from daemon.features import HOP

    return np.random.default_rng(0).integers(-LOUDNESS, LOUDNESS, frames * HOP).astype(np.int16)
