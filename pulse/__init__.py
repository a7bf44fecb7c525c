"""A trained network as a flat list of small stateful steps, computed pulse by pulse.

`compile` turns an ONNX file into a `Plan`, `Plan.load` reads one from a file, `State` runs it. This package knows
graphs and arrays; it knows nothing of what they mean.
"""

from __future__ import annotations

from pathlib import Path

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


def compile(path: str | Path, pulse: int = 8) -> Plan:
    """The plan of the ONNX file at `path`, for pulses of `pulse` items of its dynamic axis."""
    # Imported here, not above: a satellite imports this package to run plans, and has no onnx to compile with.
    from pulse import declutter, infer, load, lower, pulsify

    graph = load.load(path)
    graph = infer.infer(graph)
    graph = declutter.declutter(graph)
    graph = pulsify.pulsify(graph, pulse)
    return lower.lower(graph)
