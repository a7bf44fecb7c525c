"""`wakepulse-compile`: an ONNX file to a plan file, with a look at every stage on the way."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pulse.calibrate import lower_to_int8, read, report
from pulse.cost import macs
from pulse.declutter import declutter
from pulse.errors import PlanError, PulseError
from pulse.explain import draw, explained
from pulse.graph import Graph, shown
from pulse.infer import infer
from pulse.load import load
from pulse.lower import lower
from pulse.plan import Plan
from pulse.pooling import RUNNING, over_window
from pulse.profile import profiled
from pulse.pulsify import pulsify
from pulse.step import KINDS, NUMBER, Step, View, room_size

STAGES = ("load", "infer", "declutter", "pulsify", "lower")
PULSE = 8  # items of the dynamic axis
_BYTES = 4  # of a float32


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile as the command line says; the exit status is 0 or, after one line that says why, 1."""
    parser = _parser()
    options = parser.parse_args(arguments)
    plans = (options.output, options.summary, options.profile, options.quant_report)
    if not any((*plans, options.show, options.explain, options.svg)):
        parser.error("nothing to do: say -o, --show, --summary, --explain, --profile, --quant-report or --svg")
    if options.quant_report and options.int8 is None:
        parser.error("--quant-report is about --int8; say by which file it is calibrated")
    if options.model.suffix == ".plan":
        for name in ("pulse", "window", "stream"):
            if getattr(options, name) is not None:
                parser.error(f"--{name} is for an .onnx file; {options.model.name} is a plan, and has been compiled")
    try:
        _done(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our lines has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except PulseError as error:
        print(f"wakepulse-compile: {error}", file=sys.stderr)
        return 1
    return 0


def _done(options: argparse.Namespace) -> None:
    if options.show:
        print(show(options, options.show))
    if options.explain:
        print(explained(_pulsed(options)))
    if options.svg:
        draw(_pulsed(options), options.svg)
    if any((options.output, options.summary, options.profile, options.quant_report)):
        _plan_as_told(options)


def _plan_as_told(options: argparse.Namespace) -> None:
    plan = _planned(options)
    if options.output:
        _save(plan, options.output)
    if options.summary:
        print(summary(plan, options.rate))
    if options.profile:
        print(profiled(plan))


def _save(plan: Plan, path: Path) -> None:
    if path.suffix == ".onnx":
        raise PlanError(f"cannot write {path}: that is the name of a model; a plan ends in .plan")
    try:
        plan.save(path)
    except OSError as error:
        raise PlanError(f"cannot write {path}: {error.strerror}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("wakepulse-compile", description="Turn a trained ONNX network into a plan.")
    parser.add_argument("model", type=Path, help="the .onnx file, or a .plan file for --summary and --profile")
    parser.add_argument("-o", "--output", type=Path, help="the .plan file to write")
    parser.add_argument("--pulse", type=int, help=f"items of the dynamic axis per run (default: {PULSE})")
    parser.add_argument("--show", choices=STAGES, help="print the graph after this stage")
    parser.add_argument("--summary", action="store_true", help="print what the plan needs")
    parser.add_argument("--rate", type=_positive, help="items of the stream per second, for a summary in time")
    parser.add_argument("--explain", action="store_true", help="print shape, delay and receptive field of every node")
    parser.add_argument("--profile", action="store_true", help="print what every step costs, and every kind of kernel")
    parser.add_argument("--window", type=_window, help="items that means over all of time take instead, or 'running'")
    stream = "the axis of time, if none is dynamic or several are; '' if no input has time"
    parser.add_argument("--stream", metavar="NAME:AXIS", help=stream)
    parser.add_argument("--int8", type=Path, metavar="NPZ", help="compute in integers, calibrated by this .npz file")
    parser.add_argument("--quant-report", action="store_true", help="print how far --int8 is from float32, per node")
    parser.add_argument("--svg", type=Path, help="the picture of the graph to write, by graphviz")
    return parser


def _window(text: str) -> int | str:
    if text != RUNNING and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a window is a number of items, or {RUNNING!r}, not {text!r}")
    return text if text == RUNNING else int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"items per second are a number above 0, not {text!r}")
    return value


def _planned(options: argparse.Namespace) -> Plan:
    if options.int8 is not None:
        return _in_integers(options)
    return Plan.load(options.model) if options.model.suffix == ".plan" else lower(_pulsed(options))


def _in_integers(options: argparse.Namespace) -> Plan:
    lowered = lower_to_int8(_pulsed(options), read(options.int8))
    if options.quant_report:
        print(report(lowered))
    return lowered.plan


def _pulsed(options: argparse.Namespace) -> Graph:
    return pulsify(declutter(infer(_loaded(options))), _length(options))


def _length(options: argparse.Namespace) -> int:
    return PULSE if options.pulse is None else options.pulse


def _loaded(options: argparse.Namespace) -> Graph:
    graph = load(options.model, options.stream)
    return graph if options.window is None else over_window(graph, options.window)


def show(options: argparse.Namespace, stage: str) -> str:
    """The graph, or the plan, as it is after `stage`; for declutter also what its rules replaced."""
    graph = _loaded(options)
    if stage == "load":
        return graph.dump()
    graph = infer(graph)
    if stage == "infer":
        return graph.dump()
    reasons: list[str] = []
    graph = declutter(graph, reasons.append)
    if stage == "declutter":
        return "\n".join([*(f"# {reason}" for reason in reasons), graph.dump()])
    graph = pulsify(graph, _length(options))
    return graph.dump() if stage == "pulsify" else listing(_planned(options))


def listing(plan: Plan) -> str:
    """One line per step: what it writes, the kernel, what it reads."""
    return "\n".join(_line(index, step, plan) for index, step in enumerate(plan.steps))


def _line(index: int, step: Step, plan: Plan) -> str:
    writes, reads = (", ".join(_place(view, plan) for view in views if view) for views in (step.writes, step.reads))
    parameters = "".join(f" {key}={value}" for key, value in step.parameters.items() if value != "")
    return f"{index:4} {writes} = {step.kernel}({reads}){parameters}  # {step.node}"


def _place(view: View, plan: Plan) -> str:
    slot = plan.slots[view.slot]
    kind = "" if view.kind == "float32" else f":{view.kind}"
    return f"{slot.room}[{slot.offset + view.offset * KINDS[view.kind] // NUMBER}]{shown(view.shape)}{kind}"


def summary(plan: Plan, rate: float | None = None) -> str:
    """What a plan costs and how late it is; in time, if `rate` items of the stream come per second."""
    weights = sum(slot.size * NUMBER // KINDS[slot.kind] for slot in plan.slots if slot.room == "weights")
    rows = {
        "inputs": _ports(plan.inputs, plan.input_dtypes),
        "outputs": _ports(plan.outputs, plan.output_dtypes),
        "pulse": f"{plan.pulse} items",
        "delay": ", ".join(str(delay) for delay in plan.delay) + " items",
        "stride": ", ".join(str(stride) for stride in plan.stride),
        "receptive field": f"{plan.receptive_field} items",
        "steps": str(len(plan.steps)),
        "parameters": str(weights),
        "MACs per item": str(sum(macs(step) for step in plan.steps) // plan.pulse),
        "state": f"{room_size(plan.slots, 'state') * _BYTES} bytes",
        "arena": f"{room_size(plan.slots, 'arena') * _BYTES} bytes",
    }
    if rate is not None:
        rows["MACs per second"] = f"{sum(macs(step) for step in plan.steps) / plan.pulse * rate:.0f}"
        late = (delay * stride / rate for delay, stride in zip(plan.delay, plan.stride, strict=True))
        rows["delay in time"] = ", ".join(f"{float(seconds) * 1000:.0f} ms" for seconds in late)
    return "\n".join(f"{name:16} {value}" for name, value in rows.items())


def _ports(views: Mapping[str, View], dtypes: Sequence[str]) -> str:
    rows = zip(views.items(), dtypes, strict=True)
    return ", ".join(f"{name} {dtype} {shown(view.shape)}" for (name, view), dtype in rows)


if __name__ == "__main__":
    sys.exit(main())
