"""`State`: a program bound to memory. `run` advances the stream by one pulse; nothing is looked up on the way."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from pulse.errors import InputError
from pulse.reference import KERNELS
from pulse.step import ROOMS, Floats, Program, Step, View, room_size

_BYTES = np.dtype(np.float32).itemsize


class State:
    """What survives between pulses. Several states of one plan do not disturb each other."""

    def __init__(self, plan: Program) -> None:
        self._slots = plan.slots
        self._rooms = {room: np.zeros(room_size(plan.slots, room), np.float32) for room in ROOMS[:2]}
        self._rooms["weights"] = plan.weights
        self._inputs = {name: self.array(view) for name, view in plan.inputs.items()}
        self._outputs = tuple(_frozen(self.array(view)) for view in plan.outputs.values())
        self._calls = tuple(self._bound(step) for step in plan.steps)
        self.reset()

    def run(self, *inputs: Floats) -> tuple[Floats, ...]:
        """One pulse of every input in, one of every output out; the outputs are valid until the next `run`."""
        _check(self._inputs, inputs)
        for slot, given in zip(self._inputs.values(), inputs, strict=True):
            np.copyto(slot, given)
        with np.errstate(all="ignore"):  # warm-up may divide by zero; what comes of it is never read
            for call in self._calls:
                call()
        return self._outputs

    def reset(self) -> None:
        """Forget the stream: the next pulse is the first one."""
        for slot in self._slots:
            if slot.room == "state":
                self._rooms["state"][slot.offset : slot.offset + slot.size] = slot.initial

    def array(self, view: View) -> Floats:
        """The memory behind a view; the plan has checked that it lies within its slot."""
        slot = self._slots[view.slot]
        start = self._rooms[slot.room][slot.offset + view.offset :]
        strides = tuple(stride * _BYTES for stride in view.strides)
        return np.lib.stride_tricks.as_strided(start, view.shape, strides)

    def _bound(self, step: Step) -> partial[None]:
        arrays = [self.array(view) if view else None for view in (*step.writes, *step.reads)]
        return partial(KERNELS[step.kernel], *arrays, **step.parameters)


def _frozen(array: Floats) -> Floats:
    array.flags.writeable = False
    return array


def _check(expected: Mapping[str, Floats], inputs: tuple[Floats, ...]) -> None:
    if len(inputs) != len(expected):
        raise InputError(f"run: {len(inputs)} inputs given; the plan takes {len(expected)}: {', '.join(expected)}")
    for (name, slot), given in zip(expected.items(), inputs, strict=True):
        if not isinstance(given, np.ndarray) or given.dtype != np.float32 or given.shape != slot.shape:
            found = f"{given.dtype} {given.shape}" if isinstance(given, np.ndarray) else type(given).__name__
            raise InputError(f"run: the input {name!r} is {found}; the plan takes float32 {slot.shape}")
