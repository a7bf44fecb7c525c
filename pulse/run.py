"""`State`: a program bound to memory. `run` advances the stream by one pulse; nothing is looked up on the way.

The steps are walked by the C engine, or by the kernels in numpy where it is not built; which, `State.kernels` says.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np

from pulse import native
from pulse.errors import InputError
from pulse.header import fingerprint
from pulse.reference import COUNTED_FROM_THE_END, KERNELS
from pulse.step import ROOMS, Array, Program, Slot, Step, View, room_size

MAX_STREAMS = 256
_BYTES = np.dtype(np.float32).itemsize
_LINE = 16  # numbers: a stream's share of a room is whole cache lines
REFERENCE = "reference"
_MAGIC = b"WAKESNAP"
_SNAPSHOT = struct.Struct("<8sII32s")  # magic, streams, CRC-32 of the numbers, fingerprint of the plan
_CLAIMS = ("is none", "has another number of streams", "is damaged", "is of another plan")


class State:
    """What survives between pulses. Several states of one plan do not disturb each other.

    With `streams`, one `run` advances that many independent streams of one plan: all arrays have one more axis in
    front, which counts them. `kernels` are the best there are, or those of a name: "reference" for numpy, or an
    instruction set of the C engine, of which "portable" is there wherever it is built.
    """

    def __init__(self, plan: Program, streams: int | None = None, *, kernels: str | None = None) -> None:
        if streams is not None and not 1 <= streams <= MAX_STREAMS:
            raise InputError(f"State: {streams} streams are impossible; 1 to {MAX_STREAMS} are allowed")
        self._plan = plan
        self._streams = streams
        rows = streams or 1
        self._rooms = {room: _memory(rows, room_size(plan.slots, room)) for room in ROOMS[:2]}
        self._rooms["weights"] = plan.weights.reshape(1, -1)
        self._inputs = tuple(
            _Entry(name, np.dtype(dtype), memory.shape, memory)
            for (name, view), dtype in zip(plan.inputs.items(), plan.input_dtypes, strict=True)
            for memory in (self._outside(view),)
        )
        made = [self._outside(view) for view in plan.outputs.values()]
        outputs = [array.astype(dtype, copy=False) for array, dtype in zip(made, plan.output_dtypes, strict=True)]
        self._leaving = tuple((to, of) for to, of in zip(outputs, made, strict=True) if to is not of)
        self.outputs = tuple(_frozen(array[...]) for array in outputs)  # what `run` returns, every time
        if kernels == REFERENCE or (kernels is None and not native.BUILT):
            self._walk: _Calls | native.Walk = _Calls(tuple(self._bound(step)) for step in plan.steps)
        else:
            self._walk = native.Walk(plan, self._rooms["arena"], self._rooms["state"], kernels)
        self.kernels = self._walk.name
        self.reset()

    def run(self, *inputs: Array) -> tuple[Array, ...]:
        """One pulse of every input in, one of every output out; the outputs are valid until the next `run`."""
        self._take(inputs)
        self._walk.run()
        for to, of in self._leaving:
            np.copyto(to, of, casting="unsafe")
        return self.outputs

    def timed(self, *inputs: Array) -> list[float]:
        """One pulse as by `run`; the seconds that every step took, in their order."""
        self._take(inputs)
        ends = [perf_counter()]
        for index in range(len(self._plan.steps)):
            self._walk.step(index)
            ends.append(perf_counter())
        return [end - start for start, end in pairwise(ends)]

    def _take(self, inputs: tuple[Array, ...]) -> None:
        if len(inputs) != len(self._inputs):
            wanted = ", ".join(entry.name for entry in self._inputs)
            raise InputError(f"run: {len(inputs)} inputs given; the plan takes {len(self._inputs)}: {wanted}")
        for entry, given in zip(self._inputs, inputs, strict=True):
            if not isinstance(given, np.ndarray) or given.dtype != entry.dtype or given.shape != entry.shape:
                raise entry.refused(given)
        for entry, given in zip(self._inputs, inputs, strict=True):
            entry.memory[...] = given

    def reset(self, stream: int | None = None) -> None:
        """Forget all streams, or the one of that number: the next pulse is its first one."""
        if stream is not None and not 0 <= stream < len(self._rooms["state"]):
            raise InputError(f"reset: there is no stream {stream}; they are numbered from 0")
        which = slice(None) if stream is None else stream
        for slot in self._plan.slots:
            if slot.room == "state":
                self._content(slot)[which] = slot.initial

    def snapshot(self) -> bytes:
        """All that survives between pulses, for `restore` into a state of the same plan and as many streams."""
        numbers = self._rooms["state"].astype("<f4").tobytes()
        return _SNAPSHOT.pack(*self._seal(numbers)) + numbers

    def restore(self, snapshot: bytes) -> None:
        """Go on where `snapshot` was taken; `InputError` if it is damaged or of something else."""
        start, numbers = snapshot[: _SNAPSHOT.size], snapshot[_SNAPSHOT.size :]
        room = self._rooms["state"]
        if len(start) < _SNAPSHOT.size or len(numbers) != room.size * _BYTES:
            raise InputError(f"restore: the snapshot has {len(snapshot)} bytes; this state is of another size")
        for found, wanted, what in zip(_SNAPSHOT.unpack(start), self._seal(numbers), _CLAIMS, strict=True):
            if found != wanted:
                raise InputError(f"restore: the snapshot {what}")
        room[:] = np.frombuffer(numbers, "<f4").reshape(room.shape)

    def _seal(self, numbers: bytes) -> tuple[bytes, int, int, bytes]:
        return _MAGIC, len(self._rooms["state"]), zlib.crc32(numbers), fingerprint(self._plan)

    def array(self, view: View, stream: int = 0) -> Array:
        """The memory behind a view; the plan has checked that it lies within its slot."""
        array: Array = self._all(view)[stream % len(self._room(view)), ...]
        return array

    def _room(self, view: View) -> Array:
        return self._rooms[self._plan.slots[view.slot].room]

    def _content(self, slot: Slot) -> Array:
        """All elements of a slot in all streams, (streams, elements)."""
        numbers: Array = self._rooms[slot.room][:, slot.offset : slot.offset + slot.size]
        return numbers.view(slot.kind)

    def _all(self, view: View) -> Array:
        """The memory behind a view in all streams, along a first axis; weights are there once."""
        content = self._content(self._plan.slots[view.slot])
        apart = (content.strides[0], *(stride * content.itemsize for stride in view.strides))
        return np.lib.stride_tricks.as_strided(content[:, view.offset :], (len(content), *view.shape), apart)

    def _outside(self, view: View) -> Array:
        """What the caller sees of a view."""
        return self.array(view) if self._streams is None else self._all(view)

    def _aligned(self, step: Step) -> bool:
        """Whether one more axis in front is the same one for all arrays; a convolution has laid out its own so."""
        views = [view for view in (*step.writes, *step.reads) if view and len(self._room(view)) > 1]
        return step.kernel == "Conv" or len({len(view.shape) for view in views}) == 1

    def _bound(self, step: Step) -> Iterator[partial[None]]:
        """The calls of a step: one for all streams, if no axis of the kernel is counted from the front."""
        views, kernel = (*step.writes, *step.reads), KERNELS[step.kernel]
        rows = self._streams or 1
        if rows > 1 and step.kernel in COUNTED_FROM_THE_END and self._aligned(step):
            yield partial(kernel, *(self._all(view) if view else None for view in views), **step.parameters)
            return
        for stream in range(rows):
            yield partial(kernel, *(self.array(view, stream) if view else None for view in views), **step.parameters)


@dataclass(frozen=True)
class _Entry:
    """Where an input goes."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    memory: Array

    def refused(self, given: object) -> InputError:
        """The sentence about what does not fit."""
        found = f"{given.dtype} {given.shape}" if isinstance(given, np.ndarray) else type(given).__name__
        return InputError(f"run: the input {self.name!r} is {found}; the plan takes {self.dtype} {self.shape}")


class _Calls:
    """The steps as calls of the kernels in numpy."""

    name = REFERENCE

    def __init__(self, steps: Iterable[tuple[partial[None], ...]]) -> None:
        self._steps = tuple(steps)

    def run(self) -> None:
        with np.errstate(all="ignore"):  # warm-up may divide by zero; what comes of it is never read
            for calls in self._steps:
                for call in calls:
                    call()

    def step(self, index: int) -> None:
        with np.errstate(all="ignore"):
            for call in self._steps[index]:
                call()


def _memory(rows: int, numbers: int) -> Array:
    """Zeros (rows, numbers or a few more), each row from the start of a cache line."""
    size = -(-numbers // _LINE) * _LINE
    raw = np.zeros(rows * size + _LINE, np.float32)
    start = -raw.ctypes.data // _BYTES % _LINE
    return raw[start : start + rows * size].reshape(rows, size)


def _frozen(array: Array) -> Array:
    array.flags.writeable = False
    return array
