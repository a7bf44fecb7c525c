"""Random steps of every kernel, as `lower` could write them: arrays of all layouts, for the law of native kernels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pulse.elementwise import BINARY, UNARY
from pulse.step import KINDS, NUMBER, ROOMS, Array, Floats, Parameter, Slot, Step, View, numbers, room_size

Draw = Callable[[Any], Any]
Shape = tuple[int, ...]
_LINE = 16  # numbers of a cache line
_SPECIAL = {
    "float32": (math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0, 100.0, -100.0),
    "int64": (0, 1, -1, 2**63 - 1, -(2**63)),
    "float64": (0.0,),
    "int8": (-128, 127, 0),
    "int32": (-(2**20), 2**20, 0),
}
_MOVED = ("float32", "int64", "int8", "int32")
_ENDS = {"int8": (-128, 128), "int32": (-(2**20), 2**20), "int64": (-9, 10)}


@dataclass(frozen=True)
class Single:
    """A program of one step."""

    slots: tuple[Slot, ...]
    steps: tuple[Step, ...]
    weights: Floats
    inputs: Mapping[str, View] = field(default_factory=dict)
    outputs: Mapping[str, View] = field(default_factory=dict)
    input_dtypes: tuple[str, ...] = ()
    output_dtypes: tuple[str, ...] = ()


@dataclass
class Case:
    """A step while it grows, and the content of its rooms. `scratch` are the slots whose content means nothing."""

    draw: Draw
    special: bool = False  # whether NaN, infinities and the ends of integers are among the numbers
    slots: list[Slot] = field(default_factory=list)
    content: list[Array] = field(default_factory=list)
    scratch: list[int] = field(default_factory=list)

    def integer(self, least: int, most: int) -> int:
        return int(self.draw(st.integers(least, most)))

    def shape(self, rank: int, most: int = 5) -> Shape:
        return tuple(self.draw(st.lists(st.sampled_from((1, 2, 3, most, 4 * most)), min_size=rank, max_size=rank)))

    def pick(self, *values: Any) -> Any:
        return self.draw(st.sampled_from(values))

    def array(self, shape: Shape, kind: str = "float32", room: str = "arena", *, layout: str = "any") -> View:
        """A new array: "any" layout, "rows" whose last axis lies side by side, or "packed"."""
        rank = len(shape)
        order = [*range(rank)] if layout != "any" else self.draw(st.permutations(range(rank)))
        strides, apart = [0] * rank, 1
        for place, axis in enumerate(reversed(order)):
            if layout == "any" or (layout == "rows" and place):
                apart += self.pick(0, 0, 1)
            strides[axis] = apart
            apart *= shape[axis]
        turned = [layout == "any" and self.pick(False, False, False, True) for _ in range(rank)]
        offset = self.integer(0, 3) + sum(
            (size - 1) * stride for size, stride, back in zip(shape, strides, turned, strict=True) if back
        )
        moves = tuple(-stride if back else stride for stride, back in zip(strides, turned, strict=True))
        view = View(len(self.slots), offset, shape, moves, kind)
        self._slot(room, kind, view.extent[1] + 1 + self.integer(0, 2), room == "weights")
        return view

    def _slot(self, room: str, kind: str, elements: int, filled: bool) -> None:
        top = max((slot.offset + slot.size for slot in self.slots if slot.room == room), default=0)
        size = numbers(elements, kind)
        self.slots.append(Slot(room, -(-top // _LINE) * _LINE, size, 0.0, kind))
        noise, elements = np.random.default_rng(self.integer(0, 2**32)), size * NUMBER // KINDS[kind]
        content = noise.integers(*_ENDS[kind], elements) if kind in _ENDS else noise.standard_normal(elements)
        if self.special and elements:
            places = noise.integers(0, elements, -(-elements // 4))
            content[places] = noise.choice(np.array(_SPECIAL[kind], content.dtype), len(places))
        self.content.append(content.astype(kind))

    def read(self, shape: Shape, kind: str = "float32") -> View:
        """An array to read, that may be a constant, and repeated along some axes."""
        there = tuple(1 if self.pick(False, False, True) else size for size in shape)
        return self.array(there, kind, self.pick("arena", "state", "weights")).broadcast(shape)

    def none(self, shape: Shape, kind: str = "float32") -> View:
        """Scratch memory."""
        view = self.array(shape, kind, layout="packed")
        self.scratch.append(view.slot)
        return view

    def number(self, value: float, kind: str = "float32") -> View:
        """A number that is held in the state."""
        view = self.array((1,), kind, "state", layout="packed")
        self.content[view.slot][:] = value
        return view

    def program(self, kernel: str, writes: Sequence[View | None], reads: Sequence[View | None], **more: Any) -> Single:
        parameters: dict[str, Parameter] = more
        weights = np.zeros(room_size(tuple(self.slots), "weights"), np.float32)
        fill({"weights": weights}, self)
        return Single(tuple(self.slots), (Step(kernel, kernel, tuple(writes), tuple(reads), parameters),), weights)


def fill(rooms: Mapping[str, Floats], case: Case) -> None:
    """The content of the slots goes into their rooms."""
    for slot, content in zip(case.slots, case.content, strict=True):
        if slot.room in rooms:
            rooms[slot.room][slot.offset : slot.offset + slot.size] = content.view(np.float32)


def rooms_of(program: Single, case: Case) -> dict[str, Floats]:
    """The rooms of a program with its content, and two lines of canaries behind each."""
    sizes = {room: room_size(program.slots, room) for room in ROOMS[:2]}
    rooms = {room: np.full(-(-size // 2) * 2 + 2 * _LINE, 77.0, np.float32) for room, size in sizes.items()}
    fill(rooms, case)
    return rooms


def seen(rooms: Mapping[str, Floats], slots: Sequence[Slot], view: View) -> Array:
    """The memory behind a view."""
    slot = slots[view.slot]
    content = rooms[slot.room][slot.offset : slot.offset + slot.size].view(slot.kind)[view.offset :]
    apart = tuple(stride * content.itemsize for stride in view.strides)
    return np.lib.stride_tricks.as_strided(content, view.shape, apart)


# --- one function for each family of kernels


def unary(c: Case, name: str) -> Single:
    c.special = True
    whole = name in ("Abs", "Clip", "Neg", "Not", "Relu", "Sign")
    kind = c.pick("float32", "int64") if whole else "float32"
    shape = c.shape(c.integer(0, 4))
    x, out = c.read(shape, kind), c.array(shape, kind)
    known = {"Clip": ("low", "high"), "Elu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "LeakyRelu": ("alpha",)}
    given = {key: float(c.integer(-3, 3)) for key in known.get(name, ()) if c.pick(False, True)}
    if kind == "int64":
        given = {key: int(value) for key, value in given.items()}
    return c.program(name, (out, c.none(shape, kind)), (x,), **given)


def binary(c: Case, name: str) -> Single:
    c.special = True
    kind, shape = c.pick("float32", "int64"), c.shape(c.integer(0, 4))
    decides = name in ("And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Or", "Xor")
    x, y = c.read(shape, kind), c.read(shape, kind)
    out = c.array(shape, "float32" if decides else kind)
    if name == "Add" and c.slots[x.slot].room != "weights" and 0 not in x.strides and c.pick(False, True):
        out = x
    return c.program(name, (out,), (x, y), **({"fmod": c.integer(0, 1)} if name == "Mod" else {}))


def cast(c: Case, name: str) -> Single:
    c.special = True
    to, shape = c.pick("bool", "int32", "int64", "float32"), c.shape(c.integer(0, 3))
    kind = "int64" if to.startswith("int") else "float32"
    return c.program(name, (c.array(shape, kind),), (c.read(shape, c.pick("float32", "int64")),), to=to)


def where(c: Case, name: str) -> Single:
    c.special = True
    shape, kind = c.shape(c.integer(0, 4)), c.pick("float32", "int64")
    reads = (c.read(shape), c.read(shape, kind), c.read(shape, kind))
    return c.program(name, (c.array(shape, kind), c.none(shape, kind)), reads)


def gate(c: Case, name: str) -> Single:
    shape = c.shape(c.integer(1, 3))
    twice = (*shape[:-1], 2 * shape[-1])
    return c.program(name, (c.array(shape), c.none(twice)), (c.array(twice),))


def copy(c: Case, name: str) -> Single:
    c.special = True
    shape, kind = c.shape(c.integer(0, 5), 3), c.pick(*_MOVED)
    return c.program(name, (c.array(shape, kind),), (c.read(shape, kind),))


def delay(c: Case, name: str) -> Single:
    c.special = True
    shape, kind, past = c.shape(c.integer(1, 4), 3), c.pick(*_MOVED), c.integer(0, 9)
    x, rank = c.read(shape, kind), len(shape)
    rest = c.draw(st.permutations(range(rank - 1)))
    long = (*shape[:-1], past + shape[-1])
    ring = c.array((long[-1], *(long[axis] for axis in rest)), kind, "state", layout="packed")
    return c.program(name, (ring.transposed((*(1 + rest.index(axis) for axis in range(rank - 1)), 0)),), (x,))


def fill_front(c: Case, name: str) -> Single:
    shape, kind = c.shape(c.integer(1, 3)), c.pick(*_MOVED)
    left = c.number(c.integer(0, 2 * shape[-1]))
    return c.program(name, (c.array(shape, kind), left), (c.array(shape, kind),), value=float(c.integer(-3, 3)))


def front(c: Case, name: str) -> Single:
    shape, kind, step, parts = c.shape(c.integer(1, 3)), c.pick("float32", "int64"), c.integer(1, 2), c.integer(0, 9)
    place = c.number(c.integer(-9, 3 + parts))
    past = c.array((*shape[:-1], shape[-1] + step * parts), kind)
    return c.program(name, (c.array(shape, kind), place), (past,), step=step)


def edge(c: Case, name: str) -> Single:
    shape, kind, items = c.shape(c.integer(1, 3)), c.pick("float32", "int64"), c.integer(0, 9)
    first = c.number(c.integer(0, shape[-1] + 9))
    return c.program(name, (c.array(shape, kind), first), (c.array(shape, kind),), items=items)


def pad(c: Case, name: str) -> Single:
    shape, kind = c.shape(c.integer(1, 4), 3), c.pick(*_MOVED)
    step = [c.integer(1, 2) for _ in shape]
    before = [c.integer(0, 2) for _ in shape]
    long = tuple(s * n + b + c.integer(0, 2) for n, s, b in zip(shape, step, before, strict=True))
    inside = out = c.array(long, kind)
    for axis, size in enumerate(shape):
        inside = inside.cut(axis, before[axis], size, step[axis])
    return c.program(name, (out, inside), (c.read(shape, kind),), value=float(c.integer(-3, 3)))


def scanned(c: Case, name: str) -> Single:
    """The states of a scan; `left` has begun, is at its end, or behind it."""
    shape, kind = c.shape(c.integer(0, 3), 3), c.pick("float32", "int64")
    left, items = c.number(c.integer(-1, 3)), c.integer(0, 3)
    if name == "Store":
        return c.program(name, (c.array(shape, kind, "state"), left), (c.read(shape, kind),), items=items)
    if name == "Keep":
        return c.program(name, (c.array(shape, kind),), (left, c.read(shape, kind), c.read(shape, kind)), item=items)
    reads = (c.array(shape, kind, "state"), left, c.read(shape, kind))
    return c.program(name, (c.array(shape, kind),), reads)


def take(c: Case, name: str) -> Single:
    places, row, rows = c.shape(c.integer(0, 2)), c.shape(c.integer(0, 2)), c.integer(1, 9)
    kind = c.pick("float32", "int64")
    indices = c.read(places, "int64")
    out = c.array((*places, *row), kind, layout="packed")  # numpy writes to another array, and copies, if it is not
    return c.program(name, (out, c.none(places, "int64")), (indices, c.read((rows, *row), kind)))


def reduce(c: Case, name: str) -> Single:
    rank = c.integer(1, 4)
    shape, kind = c.shape(rank, 4), c.pick("float32", "int64")
    axes = tuple(sorted(c.draw(st.sets(st.integers(0, rank - 1)))))
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return c.program(name, (c.array(kept, kind),), (c.read(shape, kind),), axes=axes)


def pool(c: Case, name: str) -> Single:
    inside = c.integer(1, 2)
    n, kernel, places = c.shape(2, 4), c.shape(inside, 2), c.shape(inside, 3)
    kind = c.pick("float32", "int64") if name == "MaxPool" else "float32"
    c.special = name == "MaxPool"
    return c.program(name, (c.array((*n, *places), kind),), (c.read((*n, *kernel, *places), kind),))


def softmax(c: Case, name: str) -> Single:
    rank = c.integer(1, 4)
    shape, axis = c.shape(rank, 4), c.integer(-rank, rank - 1)
    total = tuple(1 if index == axis % rank else size for index, size in enumerate(shape))
    return c.program(name, (c.array(shape), c.none(shape), c.none(total)), (c.read(shape),), axis=axis)


def cum_sum(c: Case, name: str) -> Single:
    shape, kind = c.shape(c.integer(1, 3)), c.pick("float32", "int64")
    total = c.array((*shape[:-1], 1), kind, "state") if c.pick(False, True) else None
    return c.program(name, (c.array(shape, kind), total), (c.read(shape, kind),), exclusive=c.integer(0, 1))


def running_max(c: Case, name: str) -> Single:
    c.special = True
    shape, kind = c.shape(c.integer(1, 3)), c.pick("float32", "int64")
    left = c.number(c.integer(0, 2 * shape[-1]))
    return c.program(
        name, (c.array(shape, kind), left, c.array((*shape[:-1], 1), kind, "state")), (c.read(shape, kind),)
    )


def moments(c: Case, name: str) -> Single:
    shape = c.shape(c.integer(1, 3))
    rows, states = shape[:-1], 1 if name == "RunningMean" else 2
    left, count = c.number(c.integer(0, 2 * shape[-1])), c.number(c.integer(0, 9), "float64")
    writes = [c.array(rows, "float64", "state") for _ in range(states)]
    writes += [c.none(rows, "float64") for _ in range(states)]
    given = {"correction": c.integer(0, 1)} if states > 1 else {}
    return c.program(name, (c.array(shape), left, count, *writes), (c.read(shape),), **given)


def conv(c: Case, name: str) -> Single:
    inside, activation = c.integer(1, 2), c.pick("", "Gate", "Relu", "Sigmoid", "Tanh")
    (n, group), (channels, filters) = c.shape(2, 2), c.shape(2)
    kernel, places = c.shape(inside, 3), c.shape(inside, 3)
    items, rows, filters = math.prod(places), math.prod(kernel) * channels, filters * (2 if activation == "Gate" else 1)
    made = filters // 2 if activation == "Gate" else filters
    taps = c.array((n, group, *places, *kernel, channels))
    columns = c.none(taps.shape)
    product = (n, group, items, filters)
    out = c.array((n, group, items, made), layout="rows")
    alone = c.none(product) if made != filters else out
    bias = c.array((group, 1, filters), room="weights", layout="rows") if c.pick(False, True) else None
    weight = c.array((group, rows, filters), room="weights")
    c.content[weight.slot] *= np.float32(1 / math.sqrt(rows))  # an activation would hide how large the sums are
    matrix = columns.shaped((n, group, items, rows))
    addend = c.read(product) if c.pick(False, True) else None
    return c.program(name, (out, alone, columns), (taps, matrix, weight, bias, addend), activation=activation)


def by_channel(c: Case, name: str) -> Single:
    """A convolution whose groups are channels that lie side by side, as `lower` lays them."""
    inside, activation = c.integer(1, 2), c.pick("", "Relu", "Sigmoid", "Tanh")
    (n,), (group,) = c.shape(1, 2), c.shape(1, 9)
    kernel, places = c.shape(inside, 3), c.shape(inside, 4)
    items, rows = math.prod(places), math.prod(kernel)
    taps = _last_to_second(c.array((n, *places, *kernel, group), layout="rows"), n, group)
    columns = c.none(taps.shape)
    out = _last_to_second(c.array((n, items, group), layout="rows"), n, group)
    bias = c.array((group, 1, 1), room="weights", layout="rows") if c.pick(False, True) else None
    weight = c.array((group, rows, 1), room="weights")
    addend = c.read((n, group, items, 1)) if c.pick(False, True) else None
    reads = (taps, columns.shaped((n, group, items, rows)), weight, bias, addend)
    return c.program("Conv", (out, out, columns), reads, activation=activation)


def convolution(c: Case, name: str) -> Single:
    return c.pick(conv, conv, by_channel)(c, name)


def _last_to_second(view: View, n: int, group: int) -> View:
    """(n, ..., group) as (n, group, ..., 1)"""
    shape, strides = (n, group, *view.shape[1:-1], 1), (view.strides[0], 1, *view.strides[1:-1], 1)
    return replace(view, shape=shape, strides=strides)


def integer_conv(c: Case, name: str) -> Single:
    inside, activation = c.integer(1, 2), c.pick("", "", "Gate", "Sigmoid", "Tanh")
    (n, group), (channels, filters) = c.shape(2, 2), c.shape(2)
    kernel, places, sums = c.shape(inside, 3), c.shape(inside, 3), not activation and c.pick(False, True)
    items, rows, filters = math.prod(places), math.prod(kernel) * channels, filters * (2 if activation == "Gate" else 1)
    taps = c.array((n, group, *places, *kernel, channels), "int8")
    columns, made = c.none(taps.shape, "float64"), filters // 2 if activation == "Gate" else filters
    product = (n, group, items, filters)
    out = c.array((n, group, items, made), "int32" if sums else "int8", layout="rows")
    alone = c.none(product, "float64"), *(c.none(product, "int64") for _ in range(2))
    writes = (out, *alone, columns, c.none((group, rows, filters), "float64"))
    weight = c.array((group, rows, filters), "int8", "weights")
    bias, multiplier = (c.array((group, 1, filters), "int32", "weights", layout="rows") for _ in range(2))
    c.content[multiplier.slot] = np.abs(c.content[multiplier.slot]) << c.integer(0, 11)
    addend = c.read(product, "int32") if sums and c.pick(False, True) else None
    reads = (taps, columns.shaped((n, group, items, rows)), weight, bias, multiplier, addend)
    numbers = {"left": c.integer(0, 6), "gain": c.integer(0, 32767), "zero": c.integer(-128, 127)}
    return c.program(name, writes, reads, activation=activation, **numbers)


def quantize(c: Case, name: str) -> Single:
    shape = c.shape(c.integer(1, 4))
    c.special = c.pick(False, True)
    writes = c.array(shape, "int8"), c.none(shape)
    return c.program(name, writes, (c.read(shape),), inverse=c.pick(0.25, 1.0, 31.7, 1e30), zero=c.integer(-128, 127))


def dequantize(c: Case, name: str) -> Single:
    shape = c.shape(c.integer(1, 4))
    x = c.read(shape, c.pick("int8", "int32"))
    zero = c.integer(-128, 127) if x.kind == "int8" else 0
    return c.program(name, (c.array(shape),), (x,), scale=c.pick(0.25, 1 / 31.7, 3.4e-6), zero=zero)


def requantize(c: Case, name: str) -> Single:
    shape = c.shape(c.integer(1, 4))
    c.special = c.pick(False, True)
    x = c.read(shape, c.pick("int8", "int32", "int32"))
    out = c.array(shape, c.pick("int8", "int8", "int32"), layout=c.pick("any", "rows"))
    numbers = {"before": c.pick(0, c.integer(-128, 127)), "zero": c.integer(-128, 127) if out.kind == "int8" else 0}
    numbers |= {"multiplier": c.integer(0, 2**31 - 1) >> c.integer(0, 20), "left": c.integer(0, 10)}
    return c.program(name, (out, c.none(shape, "int64")), (x,), **numbers)


def matmul(c: Case, name: str) -> Single:
    kind, lead = c.pick("float32", "float32", "int64"), c.shape(c.integer(0, 2), 3)
    rows, inner, columns = c.shape(3)
    y = c.array((inner, columns), kind, "weights") if c.pick(False, True) else None
    if y is None:
        there = lead[c.integer(0, len(lead)) :]
        y = c.array((*(c.pick(1, size) for size in there), inner, columns), kind)
    out = c.array((*lead, rows, columns), kind, layout=c.pick("packed", "any"))
    return c.program(name, (out,), (c.array((*lead, rows, inner), kind), y))


def einsum(c: Case, name: str) -> Single:
    kind, sizes = c.pick("float32", "int64"), dict(zip("abcd", c.shape(4, 3), strict=True))
    reads = ["".join(c.draw(st.lists(st.sampled_from("abcd"), max_size=3))) for _ in range(c.integer(1, 3))]
    labels = sorted({*"".join(reads)})
    made = "".join(c.draw(st.permutations(labels)))[: c.integer(0, len(labels))]
    arrays = [c.array(tuple(sizes[label] for label in term), kind) for term in reads]
    out = c.array(tuple(sizes[label] for label in made), kind)
    return c.program(name, (out,), arrays, equation=",".join(reads) + "->" + made)


def cell(c: Case, name: str) -> Single:
    parts, texts = {"RNN": (1, 1), "GRU": (3, 2), "LSTM": (4, 3)}[name]
    items, n, hidden = c.integer(1, 4), c.integer(1, 3), c.pick(1, 3, 8, 20)
    states = [c.array((n, hidden), room="state", layout="rows") for _ in range(2 if name == "LSTM" else 1)]
    initial = [c.array((n, hidden), room="weights", layout="rows") if c.pick(False, True) else None for _ in states]
    left = c.number(c.integer(-1, 2 * items))
    scratch = [] if name == "RNN" else [c.none((n, 4 * hidden))]
    out, gates = (c.array((items, n, size * hidden), layout="rows") for size in (1, parts))
    columns = (2 * hidden, hidden) if name == "GRU" else (parts * hidden,)
    matrices = [c.array((hidden, size), room="weights") for size in columns]
    for view in matrices:  # so weak that what differs in the last digit does not grow from item to item
        c.content[view.slot] *= np.float32(0.3 / math.sqrt(hidden))
    more: list[View | None] = [c.array((hidden,), room="weights", layout="packed")] if name == "GRU" else []
    peepholes = [c.array((3, hidden), room="weights", layout="rows") if c.pick(False, True) else None]
    given: dict[str, Parameter] = {"linear": c.integer(0, 1)} if name == "GRU" else {}
    activations = ",".join(c.pick("Sigmoid", "Tanh", "Relu") for _ in range(texts))
    reads = (gates, *matrices, *more, *initial, *(peepholes if name == "LSTM" else []))
    writes = (out, *states, left, *scratch)
    return c.program(name, writes, reads, activations=activations, clip=c.pick(0.0, 0.5), **given)


CASES: Mapping[str, Callable[[Case, str], Single]] = {
    **dict.fromkeys(UNARY, unary),
    **dict.fromkeys(BINARY, binary),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"), reduce),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), cell),
    "AveragePool": pool,
    "Cast": cast,
    "Conv": convolution,
    "Copy": copy,
    "CumSum": cum_sum,
    "Delay": delay,
    "Dequantize": dequantize,
    "Edge": edge,
    "Einsum": einsum,
    "Fill": fill_front,
    "Front": front,
    "Gate": gate,
    "Keep": scanned,
    "LogSoftmax": softmax,
    "MatMul": matmul,
    "MaxPool": pool,
    "Pad": pad,
    "Quantize": quantize,
    "QuantizedConv": integer_conv,
    "Recall": scanned,
    "Requantize": requantize,
    "RunningMax": running_max,
    "RunningMean": moments,
    "RunningVariance": moments,
    "Softmax": softmax,
    "Store": scanned,
    "Take": take,
    "Where": where,
}
