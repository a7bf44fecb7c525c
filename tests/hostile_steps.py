"""Steps that a stranger could write, run by an engine that is watched by AddressSanitizer: `hostile_steps.py EXAMPLES`.

Every one begins as a step that is right, and then loses its way. It must be refused by a `PlanError`, or run without
leaving its memory; the sanitizer ends this process otherwise. Prints how many were refused, and how many ran.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pulse.errors import PlanError
from pulse.native import Walk
from pulse.step import KINDS, Step, View
from tests.kernel_steps import CASES, Case, rooms_of

_WILD = (-1, 0, 1, 2, 3, 7, 1e9, -1e9, 0.5, math.nan, math.inf, -math.inf, (), (0,), (-1,), (1, 40), 2**70)
_TEXTS = ("", "Gate", "Relu", "Sigmoid,Tanh", "Relu,Relu,Relu", "ab,bc->ac", "aa->a", "a,b,c,d,e,f->", "->", "bool")


def mutated_view(case: Case, view: View) -> View:
    """Another shape, other strides, another place or another kind."""
    axis = case.integer(0, max(0, len(view.shape) - 1))
    shape, strides = list(view.shape), list(view.strides)
    match case.pick("shape", "stride", "offset", "drop", "add", "kind", "slot"):
        case "shape" if shape:
            size = shape[axis]
            shape[axis] = case.pick(0, 1, size - 1, size + 1, 2 * size, case.integer(1, 40), 1 << 40)
        case "stride" if shape:
            strides[axis] = case.pick(0, 1, -strides[axis], 2 * strides[axis], case.integer(-40, 40), 1 << 40)
        case "offset":
            return replace(view, offset=view.offset + case.integer(-20, 20))
        case "drop" if shape:
            del shape[axis], strides[axis]
        case "add":
            shape.insert(axis, case.integer(1, 3))
            strides.insert(axis, case.integer(-2, 2))
        case "kind":
            return replace(view, kind=case.pick(*KINDS))
        case "slot":
            return replace(view, slot=case.integer(0, len(case.slots)))
    return replace(view, shape=tuple(shape), strides=tuple(strides))


def mutated(case: Case, step: Step) -> Step:
    """One thing about the step is another."""
    views, parameters = [*step.writes, *step.reads], dict(step.parameters)
    if not views:
        return step
    at, other = (case.integer(0, len(views) - 1) for _ in range(2))
    view = views[at]
    what = case.pick("view", "view", "view", "view", "swap", "double", "none", "more", "less", "parameter", "kernel")
    match what:
        case "view" if view is not None:
            views[at] = mutated_view(case, view)
        case "swap":
            views[at], views[other] = views[other], views[at]
        case "double":
            views[at] = views[other]
        case "none":
            views[at] = None
        case "more":
            views.append(view)
        case "less":
            views.pop()
        case "parameter" if parameters:
            parameters[case.pick(*parameters)] = case.pick(*_WILD, *_TEXTS)
        case "kernel":
            return replace(step, kernel=case.pick(*CASES))
    writes = min(len(step.writes), len(views))
    return replace(step, writes=tuple(views[:writes]), reads=tuple(views[writes:]), parameters=parameters)


def attack(case: Case, counted: Counter[str]) -> None:
    """One step: refused, or run for three pulses over memory that may hold anything."""
    kernel = case.pick(*CASES)
    program = CASES[kernel](case, kernel)
    (step,) = program.steps
    for _ in range(case.integer(0, 3)):
        step = mutated(case, step)
    program = replace(program, steps=(step,))
    rooms = rooms_of(program, case)
    if case.pick(False, False, True):
        rooms["state"][:] = case.pick(math.nan, math.inf, -math.inf, 1e30, -1e30, -5.0, 2.5)
    arena, state = (np.ascontiguousarray(rooms[room]).reshape(1, -1) for room in ("arena", "state"))
    try:
        walk = Walk(program, arena, state, case.pick("portable", None))
    except PlanError:
        counted["refused"] += 1
        return
    for _ in range(3):
        walk.run()
    counted["ran"] += 1


def main(examples: int) -> None:
    """Attack the engine so often."""
    counted: Counter[str] = Counter()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def every(data: Any) -> None:
        attack(Case(data.draw), counted)

    every()
    print(counted["refused"], counted["ran"])


if __name__ == "__main__":
    main(int(sys.argv[1]))
