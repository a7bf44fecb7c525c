"""The C engine: a plan as tables of numbers, and one call for a pulse. The only module that crosses the border to C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from time import perf_counter
from typing import Any

import numpy as np

from pulse.errors import InputError, PlanError, PulseError
from pulse.step import KINDS, NUMBER, ROOMS, Array, Parameter, Program, Step, View, room_size


def _extension() -> Any:
    """What cffi made of kernels/, or `None` where there was no compiler."""
    try:
        return import_module("pulse._kernels")
    except ImportError:
        return None


_kernels = _extension()
BUILT = _kernels is not None
_MAX_RANK = 10
_MAX_PARAMETERS = 8
_PEAK_RUNS, _PEAK_ROUNDS = 20, 20_000
_ACTIVATIONS = ("", "Gate", "Relu", "Sigmoid", "Tanh")
_TYPES = ("bool", "int32", "int64", "float32")
_TEXTS = 8  # that one parameter may be, at most
_TOP = 2.0**63  # as which the greatest integer is given; C stops at that


def instructions() -> str | None:
    """The best instructions that the C engine has on this processor; `None` where it is not built."""
    return _text(_kernels.lib.best_instructions()) if BUILT else None


class Walk:
    """A plan made ready for C over the memory of some streams, (streams, numbers) each; `PlanError` names the step
    that cannot be run. `name` is that of the instructions, the best that there are unless they are given."""

    def __init__(self, plan: Program, arena: Array, state: Array, instructions: str | None = None) -> None:
        if not BUILT:
            raise InputError("State: the C engine is not built here; install wakepulse where there is a C compiler")
        ffi, lib = _kernels.ffi, _kernels.lib
        tables, arrays = _tables(plan)
        why, where = ffi.new("const char **"), ffi.new("int *")
        engine = lib.engine_new(tables, ffi.NULL if instructions is None else instructions.encode(), why, where)
        if engine == ffi.NULL:
            raise _refused(plan, _text(why[0]), where[0], instructions)
        self.name = _text(lib.engine_instructions_name(engine))
        self._engine = ffi.gc(engine, lib.engine_free)
        rooms = [ffi.cast("char *", room.ctypes.data) for room in (arena, state, plan.weights)]
        self._rooms = ffi.new("char *[3]", rooms)
        self._pitches = ffi.new("int64_t[3]", [arena.strides[0], state.strides[0], 0])
        self._kept = arena, state, plan.weights, arrays
        self._run, self._streams, self._steps = lib.engine_run, len(arena), len(plan.steps)

    def run(self) -> None:
        """All steps, in all streams."""
        self._run(self._engine, self._rooms, self._pitches, self._streams, 0, self._steps)

    def step(self, index: int) -> None:
        """One step, in all streams."""
        self._run(self._engine, self._rooms, self._pitches, self._streams, index, index + 1)


def _refused(plan: Program, why: str, where: int, instructions: str | None) -> PulseError:
    if where < 0:
        return InputError(f"State: the kernels {instructions!r} {why}")
    step = plan.steps[where]
    return PlanError(f"the step {step.node!r} ({step.kernel}) {why}; build it again")


def peak(instructions: str | None = None) -> float:
    """Multiplications with additions that this core does in a second, at best, with the best instructions it has."""
    name = _kernels.ffi.NULL if instructions is None else instructions.encode()
    fastest = 0.0
    for _ in range(_PEAK_RUNS):
        begin = perf_counter()
        made = _kernels.lib.multiplications(name, _PEAK_ROUNDS)
        fastest = max(fastest, made / (perf_counter() - begin))
    return fastest


@cache
def parameters() -> Mapping[str, tuple[int, tuple[str, ...]]]:
    """The number of every kernel that C has, and the names of its parameters."""
    found: dict[str, tuple[int, tuple[str, ...]]] = {}
    while (name := _kernels.lib.kernel_name(len(found))) != _kernels.ffi.NULL:
        names = _text(_kernels.lib.kernel_parameters(len(found)))
        found[_text(name)] = len(found), tuple(names.split(",")) if names else ()
    return found


def _text(pointer: Any) -> str:
    return str(_kernels.ffi.string(pointer).decode())


def _tables(plan: Program) -> tuple[Any, Sequence[Any]]:
    """The struct that `engine_new` takes, and what must live as long as it is used."""
    views: list[list[int]] = []
    steps: list[list[int]] = []
    numbers: list[list[float]] = []
    for step in plan.steps:
        if step.kernel not in parameters():
            raise PlanError(f"the step {step.node!r} ({step.kernel}) is not known; build it again")
        number, names = parameters()[step.kernel]
        try:
            rows = [_row(plan, view) for view in _views(step)]
            given = _numbers(step, names)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            said = f"the step {step.node!r} ({step.kernel}) has impossible parameters"
            raise PlanError(f"{said}; build it again") from error
        steps.append([number, len(views), len(rows)])
        views += rows
        numbers.append(given + [0.0] * (_MAX_PARAMETERS - len(given)))
    arrays = np.array(views or [[0]], np.int64), np.array(steps or [[0]], np.int64), np.array(numbers or [[0]])
    ffi = _kernels.ffi
    tables = ffi.new("Tables *")
    tables.views, tables.view_count = ffi.from_buffer("int64_t[]", arrays[0]), len(views)
    tables.steps, tables.step_count = ffi.from_buffer("int64_t[]", arrays[1]), len(steps)
    tables.parameters = ffi.from_buffer("double[]", arrays[2])
    tables.weights = ffi.from_buffer("char[]", plan.weights)
    for index, room in enumerate(ROOMS):
        size = plan.weights.size if room == "weights" else room_size(plan.slots, room)
        tables.room_bytes[index] = NUMBER * size
    return tables, arrays


def _row(plan: Program, view: View | None) -> list[int]:
    if view is None:
        return [-1] + [0] * (3 + 2 * _MAX_RANK)
    if len(view.shape) > _MAX_RANK:
        raise ValueError(f"{len(view.shape)} axes are too many")
    slot, spare = plan.slots[view.slot], [0] * (_MAX_RANK - len(view.shape))
    start = NUMBER * slot.offset + KINDS[view.kind] * view.offset
    place = [ROOMS.index(slot.room), [*KINDS].index(view.kind), len(view.shape), start]
    return [*place, *view.shape, *spare, *view.strides, *spare]


def _views(step: Step) -> Sequence[View | None]:
    """The arrays that C knows the step by."""
    views = [*step.writes, *step.reads]
    if step.kernel == "Einsum":
        return labelled([view for view in views if view], str(step.parameters["equation"]))
    return views


def labelled(views: Sequence[View], equation: str) -> list[View]:
    """The arrays of an equation, the one that is written first, as arrays over all of its labels, in the same order.

    A label that an array has not moves nothing in it, and one that it has twice moves along both axes.
    """
    reads, _, made = equation.partition("->")
    terms = [made, *reads.split(",")]
    labels = [*dict.fromkeys("".join(terms))]
    sizes: dict[str, int] = {}
    for term, view in zip(terms, views, strict=True):
        for label, size in zip(term, view.shape, strict=True):
            if sizes.setdefault(label, size) != size:
                raise ValueError(f"{equation!r} does not fit its arrays")
    if len(set(made)) < len(made) or len(labels) > _MAX_RANK:
        raise ValueError(f"{equation!r} has too many labels")
    return [_over(labels, sizes, term, view) for term, view in zip(terms, views, strict=True)]


def _over(labels: Sequence[str], sizes: Mapping[str, int], term: str, view: View) -> View:
    axes = [*zip(term, view.strides, strict=True)]
    strides = tuple(sum(stride for own, stride in axes if own == label) for label in labels)
    return replace(view, shape=tuple(sizes[label] for label in labels), strides=strides)


def _numbers(step: Step, names: Sequence[str]) -> list[float]:
    unknown = {*step.parameters} - {name.partition("=")[0] for name in names} - {"equation"}
    if unknown:
        raise ValueError(f"{unknown} are no parameters")
    return [_number(step, name) for name in names]


def _number(step: Step, name: str) -> float:
    """A parameter as the number that C knows it by; one that may be left out has its default behind its name."""
    name, _, default = name.partition("=")
    value: Parameter = step.parameters.get(name, float(default)) if default else step.parameters[name]
    if isinstance(value, tuple):
        return float(sum(1 << axis for axis in set(value)))
    if isinstance(value, str):
        names = _TYPES if name == "to" else _ACTIVATIONS
        return float(sum(names.index(text) * _TEXTS**place for place, text in enumerate(value.split(","))))
    number = float(value)
    if isinstance(value, int) and number < _TOP and int(number) != value:
        raise ValueError(f"{value} is a number that C would round")
    return number
