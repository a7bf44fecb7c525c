"""`wakepulse-compile`: an ONNX file to a plan file, with a look at every stage on the way."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from pulse.declutter import declutter
from pulse.errors import PlanError, PulseError
from pulse.graph import shown
from pulse.infer import infer
from pulse.load import load
from pulse.lower import lower
from pulse.plan import Plan
from pulse.pulsify import pulsify
from pulse.step import Step, View, room_size

STAGES = ("load", "infer", "declutter", "pulsify", "lower")
_BYTES = 4  # of a float32


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile as the command line says; the exit status is 0 or, after one line that says why, 1."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not (options.output or options.show or options.summary):
        parser.error("nothing to do: say -o, --show or --summary")
    try:
        if options.show:
            print(show(options.model, options.pulse, options.show))
        if options.summary or options.output:
            plan = _planned(options.model, options.pulse)
            if options.output:
                _save(plan, options.output)
            if options.summary:
                print(summary(plan))
    except PulseError as error:
        print(f"wakepulse-compile: {error}", file=sys.stderr)
        return 1
    return 0


def _save(plan: Plan, path: Path) -> None:
    try:
        plan.save(path)
    except OSError as error:
        raise PlanError(f"cannot write {path}: {error.strerror}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("wakepulse-compile", description="Turn a trained ONNX network into a plan.")
    parser.add_argument("model", type=Path, help="the .onnx file, or a .plan file for --summary")
    parser.add_argument("-o", "--output", type=Path, help="the .plan file to write")
    parser.add_argument("--pulse", type=int, default=8, help="items of the dynamic axis per run (default: 8)")
    parser.add_argument("--show", choices=STAGES, help="print the graph after this stage")
    parser.add_argument("--summary", action="store_true", help="print what the plan needs")
    return parser


def _planned(path: Path, pulse: int) -> Plan:
    if path.suffix == ".plan":
        return Plan.load(path)
    return lower(pulsify(declutter(infer(load(path))), pulse))


def show(path: Path, pulse: int, stage: str) -> str:
    """The graph, or the plan, as it is after `stage`; for declutter also what its rules replaced."""
    graph = load(path)
    if stage == "load":
        return graph.dump()
    graph = infer(graph)
    if stage == "infer":
        return graph.dump()
    reasons: list[str] = []
    graph = declutter(graph, reasons.append)
    if stage == "declutter":
        return "\n".join([*(f"# {reason}" for reason in reasons), graph.dump()])
    graph = pulsify(graph, pulse)
    return graph.dump() if stage == "pulsify" else listing(lower(graph))


def listing(plan: Plan) -> str:
    """One line per step: what it writes, the kernel, what it reads."""
    return "\n".join(_line(index, step, plan) for index, step in enumerate(plan.steps))


def _line(index: int, step: Step, plan: Plan) -> str:
    writes, reads = (", ".join(_place(view, plan) for view in views if view) for views in (step.writes, step.reads))
    parameters = "".join(f" {key}={value}" for key, value in step.parameters.items() if value != "")
    return f"{index:4} {writes} = {step.kernel}({reads}){parameters}  # {step.node}"


def _place(view: View, plan: Plan) -> str:
    slot = plan.slots[view.slot]
    return f"{slot.room}[{slot.offset + view.offset}]{shown(view.shape)}"


def summary(plan: Plan) -> str:
    """What a plan costs and how late it is."""
    weights = sum(slot.size for slot in plan.slots if slot.room == "weights")
    rows = {
        "inputs": ", ".join(f"{name} {shown(view.shape)}" for name, view in plan.inputs.items()),
        "outputs": ", ".join(f"{name} {shown(view.shape)}" for name, view in plan.outputs.items()),
        "pulse": f"{plan.pulse} items",
        "delay": ", ".join(str(delay) for delay in plan.delay) + " items",
        "stride": ", ".join(str(stride) for stride in plan.stride),
        "receptive field": f"{plan.receptive_field} items",
        "steps": str(len(plan.steps)),
        "parameters": str(weights),
        "MACs per item": str(sum(_macs(step) for step in plan.steps) // plan.pulse),
        "state": f"{room_size(plan.slots, 'state') * _BYTES} bytes",
        "arena": f"{room_size(plan.slots, 'arena') * _BYTES} bytes",
    }
    return "\n".join(f"{name:16} {value}" for name, value in rows.items())


def _macs(step: Step) -> int:
    """Multiplications with weights in one run of a step: every output number of a product sums over one matrix row."""
    if step.kernel == "Conv":
        product, weight = step.writes[1], step.reads[2]
    elif step.kernel == "MatMul":
        product, weight = step.writes[0], step.reads[1]
    else:
        return 0
    assert product is not None and weight is not None
    return math.prod(product.shape) * (weight.shape[-1] if step.kernel == "Conv" else weight.shape[-2])


if __name__ == "__main__":
    sys.exit(main())
