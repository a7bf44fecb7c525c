"""What the engine runs: a flat list of steps over views of slots. Data only; no graph, no names of values.

Memory lies in three rooms of float32 numbers: `arena` (what lives within one pulse; slots share it), `state` (what
survives between pulses) and `weights` (never written). A `Slot` is a piece of a room, a `View` an array on a slot.
Rooms are counted in numbers whatever lies in them: an element of 64 bits takes two, and four of int8 share one.
Integers are held as int64, truth as 0 and 1 of float32; int8 and int32 are what `quantize` makes of real numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.float32]
Parameter: TypeAlias = int | float | str | tuple[int, ...]
Kernel: TypeAlias = Callable[..., None]
ROOMS = ("arena", "state", "weights")
KINDS: Mapping[str, int] = {"float32": 4, "int64": 8, "float64": 8, "int8": 1, "int32": 4}  # bytes of an element
NUMBER = 4  # bytes of a number of a room
_HELD = {"q8": "int8", "q32": "int32"}


@dataclass(frozen=True)
class Slot:
    """`size` numbers from `offset` of a room, for elements of one kind; a state slot starts as `initial` everywhere."""

    room: str
    offset: int
    size: int
    initial: float = 0.0
    kind: str = "float32"


@dataclass(frozen=True)
class View:
    """An array on a slot; offset and strides count elements of the kind, not bytes."""

    slot: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    kind: str = "float32"

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def there(self) -> int:
        """The number of elements that are there in memory, and not only repeated."""
        return math.prod(size for size, stride in zip(self.shape, self.strides, strict=True) if stride)

    @property
    def extent(self) -> tuple[int, int]:
        """The first and the last element of the slot that it touches; the last is in front if there is none."""
        if not self.size:
            return self.offset, self.offset - 1
        moves = [(size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)]
        return self.offset + sum(min(0, move) for move in moves), self.offset + sum(max(0, move) for move in moves)

    @property
    def packed(self) -> bool:
        """Whether its elements lie side by side in the order of its axes."""
        rows = zip(self.shape, self.strides, packed_strides(self.shape), strict=True)
        return all(size == 1 or stride == tight for size, stride, tight in rows)

    @property
    def order(self) -> tuple[int, ...]:
        """The axes as they lie in memory, the slowest first."""
        return tuple(sorted(range(len(self.shape)), key=lambda axis: -abs(self.strides[axis])))

    def transposed(self, axes: tuple[int, ...]) -> View:
        """With its axes in another order."""
        shape, strides = (tuple(values[axis] for axis in axes) for values in (self.shape, self.strides))
        return replace(self, shape=shape, strides=strides)

    def last(self, axis: int) -> View:
        """With `axis` behind all others."""
        return self.transposed((*(other for other in range(len(self.shape)) if other != axis), axis))

    def back(self, axis: int) -> View:
        """With its last axis at `axis` again."""
        rest = list(range(len(self.shape) - 1))
        return self.transposed((*rest[:axis], len(rest), *rest[axis:]))

    def cut(self, axis: int, start: int, count: int, step: int = 1) -> View:
        """`count` items of `axis` from `start`, every `step`th."""
        shape, strides = list(self.shape), list(self.strides)
        offset = self.offset + start * strides[axis]
        shape[axis], strides[axis] = count, strides[axis] * (step if count > 1 else 1)
        return replace(self, offset=offset, shape=tuple(shape), strides=tuple(strides))

    def split(self, axis: int, parts: int) -> View:
        """With `axis` as two: `parts`, and the items of a part."""
        size, stride = self.shape[axis] // parts, self.strides[axis]
        shape = (*self.shape[:axis], parts, size, *self.shape[axis + 1 :])
        strides = (*self.strides[:axis], size * stride, stride, *self.strides[axis + 1 :])
        return replace(self, shape=shape, strides=strides)

    def shaped(self, shape: tuple[int, ...]) -> View:
        """A packed view in another shape."""
        assert self.packed and math.prod(shape) == self.size
        return replace(self, shape=shape, strides=packed_strides(shape))

    def broadcast(self, shape: tuple[int, ...]) -> View:
        """Repeated along the axes where it has one item, or none, and `shape` has more."""
        missing = len(shape) - len(self.shape)
        mine = zip((1,) * missing + self.shape, (0,) * missing + self.strides, shape, strict=True)
        return replace(self, shape=shape, strides=tuple(0 if have < want else stride for have, stride, want in mine))


def held(dtype: str) -> str:
    """The kind of the arrays that hold values of this type."""
    return "int64" if dtype.startswith("int") else _HELD.get(dtype, "float32")


def handed_out(dtype: str) -> str:
    """The type in which a caller sees values of this one."""
    return _HELD.get(dtype, dtype)


def numbers(elements: int, kind: str) -> int:
    """Numbers of a room that so many elements take."""
    return -(-elements * KINDS[kind] // NUMBER)


def packed_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of an array whose elements lie side by side."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


@dataclass(frozen=True)
class Step:
    """One kernel call; `node` says for people where it came from. An optional array that is absent is `None`."""

    kernel: str
    node: str
    writes: tuple[View | None, ...]
    reads: tuple[View | None, ...]
    parameters: Mapping[str, Parameter]


class Program(Protocol):
    """All that the engine needs to know of a plan."""

    @property
    def inputs(self) -> Mapping[str, View]:
        """Where each input goes."""

    @property
    def outputs(self) -> Mapping[str, View]:
        """Where each output comes from."""

    @property
    def input_dtypes(self) -> tuple[str, ...]:
        """The type in which each input is given."""

    @property
    def output_dtypes(self) -> tuple[str, ...]:
        """The type in which each output is handed out."""

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The pieces of the rooms."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is done for every pulse, in order."""

    @property
    def weights(self) -> Floats:
        """The room of the weights."""


def room_size(slots: tuple[Slot, ...], room: str) -> int:
    """Numbers that a room must hold."""
    return max((slot.offset + slot.size for slot in slots if slot.room == room), default=0)
