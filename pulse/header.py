"""The JSON header of a plan file: plan to text, text to checked fields.

A checksum proves that a file is whole, not that it is honest: everything read is checked as if a stranger wrote it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from pulse.errors import PlanError
from pulse.reference import KERNELS
from pulse.step import KINDS, NUMBER, ROOMS, Parameter, Program, Slot, Step, View, held, room_size

MAX_NUMBERS = 16 << 20  # float32 numbers in one room
MAX_STEPS = 40_000
MAX_PULSE = 4096
MAX_VIEW_RANK = 10  # a grouped convolution views its taps with two axes more than its value has
MAX_STREAM = 1 << 31  # items: delays, strides and the receptive field
DTYPES = ("bool", "float32", "int32", "int64")  # of inputs and outputs

Json = Any  # what `json.loads` returns: typed by the checks below


class Headed(Program, Protocol):
    """What of a plan goes into the header."""

    @property
    def pulse(self) -> int:
        """Items per pulse."""

    @property
    def delay(self) -> tuple[int, ...]:
        """Items of each output."""

    @property
    def stride(self) -> tuple[int | Fraction, ...]:
        """Input items per item of each output."""

    @property
    def receptive_field(self) -> int:
        """Input items that reach one output item."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the model file carried."""


@dataclass(frozen=True)
class Header:
    """The fields of a plan that are not numbers, and how many numbers each array in the file has."""

    fields: dict[str, Json]
    sizes: list[int]


def encoded(plan: Headed, sizes: list[int]) -> bytes:
    """The header of `plan`; the same plan gives the same bytes."""
    content = {
        "pulse": plan.pulse,
        "delay": plan.delay,
        "stride": [_ratio(stride) for stride in plan.stride],
        "receptive_field": plan.receptive_field,
        "inputs": [[name, _view(view)] for name, view in plan.inputs.items()],
        "outputs": [[name, _view(view)] for name, view in plan.outputs.items()],
        "input_dtypes": plan.input_dtypes,
        "output_dtypes": plan.output_dtypes,
        "slots": [_slot(slot) for slot in plan.slots],
        "steps": [_step(step) for step in plan.steps],
        "metadata": plan.metadata,
        "sizes": sizes,
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def fingerprint(program: Program) -> bytes:
    """32 bytes that two programs share only if they are the same."""
    views = [_view(view) for view in (*program.inputs.values(), *program.outputs.values())]
    slots, steps = [_slot(slot) for slot in program.slots], [_step(step) for step in program.steps]
    content = json.dumps([views, program.input_dtypes, program.output_dtypes, slots, steps], sort_keys=True)
    return hashlib.sha256(content.encode() + program.weights.astype("<f4").tobytes()).digest()


def _slot(slot: Slot) -> list[object]:
    return [slot.room, slot.offset, slot.size, slot.initial, slot.kind]


def _view(view: View | None) -> list[object] | None:
    return None if view is None else [view.slot, view.offset, view.shape, view.strides, view.kind]


def _step(step: Step) -> list[object]:
    writes, reads = ([_view(view) for view in views] for views in (step.writes, step.reads))
    return [step.kernel, step.node, writes, reads, step.parameters]


def decoded(text: bytes) -> Header:
    """The fields that `text` holds; `PlanError` if they are not what `encoded` writes."""
    try:
        content = json.loads(text)
        fields: dict[str, Json] = {
            "pulse": _number(content["pulse"], 1, MAX_PULSE),
            "delay": _numbers(content["delay"], 0, MAX_STREAM),
            "stride": tuple(_read_ratio(stride) for stride in content["stride"]),
            "receptive_field": _number(content["receptive_field"], 1, MAX_STREAM),
            "inputs": {_text(name): _read_view(view, 0) for name, view in content["inputs"]},
            "outputs": {_text(name): _read_view(view, 0) for name, view in content["outputs"]},
            "input_dtypes": tuple(_one_of(DTYPES, dtype) for dtype in content["input_dtypes"]),
            "output_dtypes": tuple(_one_of(DTYPES, dtype) for dtype in content["output_dtypes"]),
            "slots": tuple(_read_slot(slot) for slot in content["slots"]),
            "steps": tuple(_read_step(step) for step in content["steps"]),
            "metadata": {_text(key): _text(value) for key, value in content["metadata"].items()},
        }
        sizes = list(_numbers(content["sizes"], 0, MAX_NUMBERS))
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise PlanError("the header of the plan cannot be read; build it again") from error
    outputs = len(fields["outputs"])
    per_output = {len(fields[name]) for name in ("delay", "stride", "output_dtypes")}
    if not sizes or not fields["inputs"] or per_output != {outputs}:
        raise PlanError("the header of the plan contradicts itself; build it again")
    if len(fields["input_dtypes"]) != len(fields["inputs"]):
        raise PlanError("the header of the plan contradicts itself; build it again")
    return Header(fields, sizes)


def _number(value: Json, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r} is not a number from {least} to {most}")
    return value


def _numbers(values: Json, least: int, most: int) -> tuple[int, ...]:
    if not isinstance(values, list):
        raise TypeError(f"{values!r} is not a list")
    return tuple(_number(value, least, most) for value in values)


def _ratio(value: int | Fraction) -> int | list[int]:
    return value if isinstance(value, int) else [value.numerator, value.denominator]


def _read_ratio(value: Json) -> int | Fraction:
    if not isinstance(value, list):
        return _number(value, 1, MAX_STREAM)
    return Fraction(*_numbers([*value], 1, MAX_STREAM))


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _one_of(names: Collection[str], value: Json) -> str:
    if _text(value) not in names:
        raise ValueError(f"{value!r} is none of {', '.join(names)}")
    return _text(value)


def _read_slot(item: Json) -> Slot:
    room, offset, size, initial, kind = item
    if not isinstance(initial, int | float):
        raise ValueError(f"{item!r} is not a slot")
    place = _number(offset, 0, MAX_NUMBERS), _number(size, 0, MAX_NUMBERS)
    return Slot(_one_of(ROOMS, room), *place, float(initial), _one_of(KINDS, kind))


def _read_view(item: Json, least: int = 1) -> View:
    """A view; only what goes in and out may have no elements, as no kernel sees that."""
    slot, offset, shape, strides, kind = item
    view = View(
        _number(slot, 0, MAX_NUMBERS),
        _number(offset, 0, MAX_NUMBERS),
        _numbers(shape, least, MAX_NUMBERS),
        _numbers(strides, -MAX_NUMBERS, MAX_NUMBERS),
        _one_of(KINDS, kind),
    )
    if len(view.shape) > MAX_VIEW_RANK or len(view.shape) != len(view.strides):
        raise ValueError(f"{item!r} is not a view")
    return view


def _read_step(item: Json) -> Step:
    kernel, node, writes, reads, parameters = item
    if kernel not in KERNELS:
        raise ValueError(f"the kernel {kernel!r} is not known")
    written, read = (tuple(None if view is None else _read_view(view) for view in views) for views in (writes, reads))
    return Step(kernel, _text(node), written, read, {key: _parameter(value) for key, value in parameters.items()})


def _parameter(value: Json) -> Parameter:
    if isinstance(value, list):
        return _numbers(value, -MAX_STREAM, MAX_STREAM)
    if not isinstance(value, int | float | str):
        raise TypeError(f"{value!r} is not a parameter")
    return value


def checked(program: Program, weights: int) -> None:
    """`PlanError` unless every view lies in its slot, every slot in its room, and weights are never written."""
    slots = program.slots
    rooms = [room_size(slots, room) for room in ROOMS]
    if max(rooms) > MAX_NUMBERS or room_size(slots, "weights") > weights or len(program.steps) > MAX_STEPS:
        raise PlanError("the plan needs more memory than it may; build it again")
    if any(NUMBER * number % KINDS[slot.kind] for slot in slots for number in (slot.offset, slot.size)):
        raise PlanError("a slot of the plan cuts an element of 64 bits; build it again")
    written = [view for step in program.steps for view in step.writes if view] + [*program.inputs.values()]
    read = [view for step in program.steps for view in step.reads if view] + [*program.outputs.values()]
    for view in written + read:
        if view.slot >= len(slots) or view.extent[0] < 0 or _end(view) > NUMBER * slots[view.slot].size:
            raise PlanError("a step of the plan reaches beyond its memory; build it again")
    ports = [*program.inputs.values(), *program.outputs.values()]
    dtypes = (*program.input_dtypes, *program.output_dtypes)
    wanted = [slots[view.slot].kind for view in written + read] + [held(dtype) for dtype in dtypes]
    if [view.kind for view in written + read + ports] != wanted:
        raise PlanError("a step of the plan takes numbers of one kind for another; build it again")
    if any(slots[view.slot].room == "weights" for view in written):
        raise PlanError("a step of the plan writes to the weights; build it again")


def _end(view: View) -> int:
    """Bytes of its slot up to the last one that a view touches."""
    return (view.extent[1] + 1) * KINDS[view.kind]
