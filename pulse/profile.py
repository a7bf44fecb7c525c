"""What each step of a plan costs: its time, its multiplications, the memory it touches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pulse.cost import macs
from pulse.explain import table
from pulse.plan import Plan
from pulse.run import State
from pulse.step import KINDS, Step

RUNS = 50
_WARM_UP = 5
_HEAD = ("calls", "µs", "share", "MACs", "bytes")


@dataclass(frozen=True)
class Cost:
    """Of one step, or of all of one kind, in one run."""

    calls: int
    seconds: float
    macs: int
    bytes: int

    def __add__(self, other: Cost) -> Cost:
        calls, seconds = self.calls + other.calls, self.seconds + other.seconds
        return Cost(calls, seconds, self.macs + other.macs, self.bytes + other.bytes)

    def row(self, total: float) -> tuple[str, ...]:
        """As cells of a table; `total` are the seconds of all."""
        share = f"{100 * self.seconds / total:.1f} %" if total else "-"
        return str(self.calls), f"{1e6 * self.seconds:.1f}", share, str(self.macs), str(self.bytes)


def profiled(plan: Plan, runs: int = RUNS) -> str:
    """Two tables: the steps in their order, and their kernels by the time they take."""
    costs = [
        Cost(1, time, macs(step), _touched(step)) for step, time in zip(plan.steps, _times(plan, runs), strict=True)
    ]
    total = sum(cost.seconds for cost in costs)
    steps = [
        (str(index), step.kernel, *cost.row(total), step.node)
        for index, (step, cost) in enumerate(zip(plan.steps, costs, strict=True))
    ]
    kinds: dict[str, Cost] = {}
    for step, cost in zip(plan.steps, costs, strict=True):
        kinds[step.kernel] = kinds.get(step.kernel, Cost(0, 0.0, 0, 0)) + cost
    dearest = sorted(kinds.items(), key=lambda kind: -kind[1].seconds)
    rows = [(name, *cost.row(total)) for name, cost in dearest]
    whole = ("all", *sum(costs, Cost(0, 0.0, 0, 0)).row(total))
    by_step, by_kind = table([("step", "kernel", *_HEAD, "node"), *steps]), table([("kernel", *_HEAD), *rows, whole])
    return f"{by_step}\n\n{by_kind}"


def _times(plan: Plan, runs: int) -> Sequence[float]:
    """The median seconds of every step."""
    inputs = [pulses[0] for pulses in plan.golden_inputs]
    state = State(plan)
    for _ in range(_WARM_UP):
        state.run(*inputs)
    return [float(time) for time in np.median([state.timed(*inputs) for _ in range(runs)], axis=0)]


def _touched(step: Step) -> int:
    """Bytes written and read, each array once."""
    return sum(view.size * KINDS[view.kind] for view in (*step.writes, *step.reads) if view)
