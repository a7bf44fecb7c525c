"""A trained network as a flat list of small stateful steps, computed pulse by pulse.

`compile` turns an ONNX file into a `Plan`, `Plan.load` reads one from a file, `State` runs it. This package knows
graphs and arrays; it knows nothing of what they mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pulse.errors import (
    GraphError,
    InputError,
    LoadError,
    NotStreamable,
    PlanError,
    PulseError,
    UnsupportedOp,
)
from pulse.plan import Plan
from pulse.run import State

__all__ = [
    "GraphError",
    "InputError",
    "LoadError",
    "NotStreamable",
    "Plan",
    "PlanError",
    "PulseError",
    "State",
    "UnsupportedOp",
    "compile",
]


def compile(
    path: str | Path,
    pulse: int = 8,
    window: int | Literal["running"] | None = None,
    *,
    stream: str | None = None,
    int8: str | Path | None = None,
) -> Plan:
    """The plan of the ONNX file at `path`, for pulses of `pulse` items of its dynamic axis.

    A `stream` such as `x:1` says that time is axis 1 of the input `x`, even if the file gives it a fixed length; an
    empty one says that no input has time, and one `run` computes the whole model. An input of a fixed shape beside a
    stream is given anew with every pulse.
    With a `window`, means, maxima and variances over all of time are taken over the last `window` items instead, for
    every item, or with "running" over all items since the reset. What meets them on another way meets those so far.
    With `int8`, an .npz file of what the inputs are like, convolutions and what lies between them are in integers.
    """
    # Imported here, not above: a satellite imports this package to run plans, and has no onnx to compile with.
    from pulse import calibrate, declutter, infer, load, lower, pooling, pulsify

    graph = load.load(path, stream)
    graph = pooling.over_window(graph, window) if window is not None else graph
    graph = infer.infer(graph)
    graph = declutter.declutter(graph)
    graph = pulsify.pulsify(graph, pulse)
    if int8 is not None:
        return calibrate.lower_to_int8(graph, calibrate.read(Path(int8))).plan
    return lower.lower(graph)
