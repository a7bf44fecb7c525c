"""What one run of a step costs, counted before it is run: multiplications, and an estimate that bounds all work."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pulse.step import Step, View

_CALL = 1000  # elements that a kernel goes over in the time that calling it takes
_MACS = 8  # multiplications with a matrix in the time of one element
_RECURRENT = {"GRU": (4, 5), "LSTM": (5,), "RNN": (3,)}  # where the matrices are that the state is multiplied with


def work(steps: Sequence[Step]) -> int:
    """Elements that all steps go over in one run, with calls and multiplications as so many more: about 1 ns each."""
    touched = (view.size for step in steps for view in (*step.writes, *step.reads) if view)
    return sum(touched) + sum(_CALL + macs(step) // _MACS for step in steps)


def macs(step: Step) -> int:
    """Multiplications with a matrix in one run of a step: every number of a product sums over one row of it."""
    match step.kernel:
        case "Conv" | "QuantizedConv":
            return _size(step.writes[1]) * _shape(step.reads[2])[-2]
        case "MatMul":
            return _size(step.writes[0]) * _shape(step.reads[1])[-2]
        case "Einsum":
            return math.prod(_labelled(step).values())
        case "GRU" | "LSTM" | "RNN":
            items, n, _ = _shape(step.writes[0])
            arrays = (*step.writes, *step.reads)[1:]
            return items * n * sum(_size(arrays[index]) for index in _RECURRENT[step.kernel])
    return 0


def _labelled(step: Step) -> dict[str, int]:
    """The size of every label of an equation."""
    labels = str(step.parameters["equation"]).partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for names, view in zip(labels, step.reads, strict=True):
        for name, size in zip(names, _shape(view), strict=True):
            sizes[name] = max(size, sizes.get(name, 1))
    return sizes


def _shape(view: View | None) -> tuple[int, ...]:
    assert view is not None
    return view.shape


def _size(view: View | None) -> int:
    return math.prod(_shape(view))
