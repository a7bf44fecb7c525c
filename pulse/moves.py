"""Facts of what only moves, cuts, joins or repeats numbers: the shape changes, and the axis of time with it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pulse.argument import Given, alike, axis_of, broadcast, need, numbers, shapes
from pulse.dim import Dim, Length, product
from pulse.errors import GraphError, NotStreamable
from pulse.graph import Array, Fact, Node, fact, shown
from pulse.step import held
from pulse.window import unfolded

_TO_THE_END = (1 << 31) - 1  # exporters write the largest 32-bit or 64-bit integer for "to the end"
MAX_TIMES = 64  # that a value is repeated along one axis


def transpose(node: Node, given: Given) -> list[Fact]:
    """The axes in another order."""
    x = need(node, given, 0)
    axes = node.integers("perm", tuple(reversed(range(len(x.shape)))))
    if sorted(axes) != list(range(len(x.shape))):
        raise GraphError(f"{node} has the permutation {axes} for {len(x.shape)} axes")
    return [fact(tuple(x.shape[axis] for axis in axes), x.dtype)]


def cuts(node: Node, given: Given) -> dict[int, tuple[int, Length, int]]:
    """What a `Slice` takes: axis to (first item, number of items, step)."""
    x = need(node, given, 0)
    starts, ends = numbers(node, given, 1) or [], numbers(node, given, 2) or []
    axes = numbers(node, given, 3) or list(range(len(starts)))
    steps = numbers(node, given, 4) or [1] * len(starts)
    found: dict[int, tuple[int, Length, int]] = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index = axis_of(node, axis, len(x.shape))
        length = x.shape[index]
        if isinstance(step, Dim) or step == 0:
            raise GraphError(f"{node} has an impossible step")
        if isinstance(length, Dim):
            found[index] = _time_cut(node, length, start, end, step)
        elif isinstance(start, Dim) or isinstance(end, Dim):
            found[index] = (0, length, 1) if start == 0 else _unknown_cut(node)
        else:
            taken = range(length)[slice(start, end if end >= -length or step > 0 else None, step)]
            found[index] = (taken.start, len(taken), step)
    return found


def _unknown_cut(node: Node) -> tuple[int, Length, int]:
    raise NotStreamable(f"{node} starts at a place that depends on the length of the stream")


def _time_cut(node: Node, length: Dim, start: Length, end: Length, step: int) -> tuple[int, Length, int]:
    if isinstance(start, Dim) or start < 0:
        raise NotStreamable(
            f"{node} starts counting at the end of time, which never comes; slice from the front instead, "
            "such as x[:, :, 2:]"
        )
    if step < 1:
        raise NotStreamable(f"{node} takes time backwards, from its end, which never comes; use a positive step")
    if isinstance(end, int):
        if 0 <= end < _TO_THE_END:
            raise NotStreamable(f"{node} stops at item {end} of an endless stream; slice to the end instead")
        end = length if end > 0 else length + end
    beyond = end - length
    if not isinstance(beyond, int):
        raise NotStreamable(f"{node} ends at {end} of {length} items; slice to the end instead")
    return start, (length + (min(beyond, 0) - start + step - 1)) // step, step


def sliced(node: Node, given: Given) -> list[Fact]:
    """What is taken of every axis."""
    x = need(node, given, 0)
    taken = cuts(node, given)
    shape = tuple(taken[axis][1] if axis in taken else length for axis, length in enumerate(x.shape))
    return [fact(shape, x.dtype)]


def split(node: Node, given: Given) -> list[Fact]:
    """The parts of an axis, which is not time."""
    x = need(node, given, 0)
    axis = axis_of(node, node.integer("axis", 0), len(x.shape))
    length = x.shape[axis]
    if isinstance(length, Dim):
        raise NotStreamable(f"{node} splits time, which has no end; split another axis")
    parts = numbers(node, given, 1)
    if parts is None:
        count = node.integer("num_outputs", len(node.outputs))
        part = -(-length // count) if count > 0 else 0
        parts = [min(part, length - index * part) for index in range(count)]
    if sum(part for part in parts if isinstance(part, int)) != length or len(parts) != len(node.outputs):
        raise GraphError(f"{node} splits {length} into {[str(part) for part in parts]}")
    return [fact((*x.shape[:axis], part, *x.shape[axis + 1 :]), x.dtype) for part in parts]


def concat(node: Node, given: Given) -> list[Fact]:
    """The lengths along an axis, which is not time, added up."""
    items = [need(node, given, index) for index in range(len(given))]
    shape = items[0].shape
    axis = axis_of(node, node.integer("axis", 0), len(shape))
    if any(isinstance(item.shape[axis], Dim) for item in items):
        raise NotStreamable(f"{node} joins along time, which has no end; pad the front of time with Pad instead")
    for item in items:
        if (*item.shape[:axis], *item.shape[axis + 1 :]) != (*shape[:axis], *shape[axis + 1 :]):
            raise GraphError(f"{node} joins {shapes(given)}, which do not fit")
    total: Length = 0
    for item in items:
        total = item.shape[axis] + total
    return [fact((*shape[:axis], total, *shape[axis + 1 :]), alike(node, *items))]


def squeeze(node: Node, given: Given) -> list[Fact]:
    """Without axes of one item."""
    x = need(node, given, 0)
    rank = len(x.shape)
    axes = {axis_of(node, axis, rank) for axis in numbers(node, given, 1) or []}
    axes = axes or {axis for axis, length in enumerate(x.shape) if length == 1}
    if any(x.shape[axis] != 1 for axis in axes):
        raise GraphError(f"{node} squeezes an axis of {shown(x.shape)} that is not 1")
    return [fact(tuple(length for axis, length in enumerate(x.shape) if axis not in axes), x.dtype)]


def unsqueeze(node: Node, given: Given) -> list[Fact]:
    """With more axes of one item."""
    x = need(node, given, 0)
    added = numbers(node, given, 1) or []
    axes = {axis_of(node, axis, len(x.shape) + len(added)) for axis in added}
    if len(axes) < len(added):
        raise GraphError(f"{node} names an axis twice")
    lengths = iter(x.shape)
    rank = len(x.shape) + len(axes)
    return [fact(tuple(1 if axis in axes else next(lengths) for axis in range(rank)), x.dtype)]


def reshape(node: Node, given: Given) -> list[Fact]:
    """As many elements in another shape."""
    x = need(node, given, 0)
    shape = numbers(node, given, 1) or []
    if not node.integer("allowzero", 0):
        shape = [x.shape[axis] if length == 0 else length for axis, length in enumerate(shape)]
    if shape.count(-1) == 1:
        shape[shape.index(-1)] = _missing(x.shape, tuple(length for length in shape if length != -1))
    if _missing(x.shape, tuple(shape)) != 1:
        raise GraphError(f"{node} reshapes {shown(x.shape)} to {shown(tuple(shape))}")
    return [fact(tuple(shape), x.dtype)]


def _missing(whole: tuple[Length, ...], part: tuple[Length, ...]) -> Length:
    """The length that makes `part` as large as `whole`; numbers first, as a strided stream cannot be multiplied."""
    streams = [tuple(length for length in shape if isinstance(length, Dim)) for shape in (whole, part)]
    numbers = [math.prod(length for length in shape if isinstance(length, int)) for shape in (whole, part)]
    if streams[0] == streams[1] and numbers[1]:
        return numbers[0] // numbers[1] if numbers[0] % numbers[1] == 0 else -1
    if not streams[1] and numbers[1] and numbers[0] % numbers[1] == 0:
        return product(streams[0]) * (numbers[0] // numbers[1])
    return product(whole) // product(part)


def flatten(node: Node, given: Given) -> list[Fact]:
    """Two axes, in front of and behind one place."""
    x = need(node, given, 0)
    rank = len(x.shape)
    axis = node.integer("axis", 1)
    axis = axis if axis == rank else axis_of(node, axis, rank)
    return [fact((product(x.shape[:axis]), product(x.shape[axis:])), x.dtype)]


def pad(node: Node, given: Given) -> list[Fact]:
    """Every axis with its pads."""
    x = need(node, given, 0)
    before, after = pads(node, given)
    mode = node.text("mode", "constant")
    if mode not in ("constant", "edge", "reflect", "wrap"):
        raise NotStreamable(f"{node} pads with {mode}, which is not supported; pad with constant, edge or reflect")
    for length, first, last in zip(x.shape, before, after, strict=True):
        if mode == "wrap" and isinstance(length, Dim) and (first or last):
            raise NotStreamable(f"{node} pads with wrap, which needs the end of time; pad with constant or edge")
        if mode == "reflect" and isinstance(length, int) and max(first, last) >= length:
            raise GraphError(f"{node} reflects more items than there are")
    dtype = alike(node, x, *(item for item in given[2:3] if item))
    return [fact(tuple(length + (before[axis] + after[axis]) for axis, length in enumerate(x.shape)), dtype)]


def pads(node: Node, given: Given) -> tuple[list[int], list[int]]:
    """Items that a `Pad` adds before and after, per axis."""
    rank = len(need(node, given, 0).shape)
    amounts = [amount for amount in numbers(node, given, 1) or [] if isinstance(amount, int)]
    axes = [axis_of(node, axis, rank) for axis in numbers(node, given, 3) or list(range(rank))]
    if len(amounts) != 2 * len(axes) or min(amounts, default=0) < 0:
        raise NotStreamable(f"{node} pads by {amounts}; only constant amounts of 0 or more are supported")
    before, after = [0] * rank, [0] * rank
    for axis, first, last in zip(axes, amounts, amounts[len(axes) :], strict=False):
        before[axis], after[axis] = first, last
    return before, after


def gather(node: Node, given: Given) -> list[Fact]:
    """The axis that is gathered from, in the shape of the indices."""
    x, indices = need(node, given, 0), need(node, given, 1)
    axis = axis_of(node, node.integer("axis", 0), len(x.shape))
    if indices.value is None:
        time = x.stream is not None and x.stream.axis == axis
        return [_at_places(x, indices, axis)] if time and indices.stream else _looked_up(node, x, indices)
    length = x.shape[axis]
    if isinstance(length, Dim):
        raise NotStreamable(f"{node} takes single items of time, which has no end; slice from the front instead")
    if np.any(indices.value < -length) or np.any(indices.value >= length):
        raise GraphError(f"{node} takes an item that {shown(x.shape)} does not have")
    return [fact((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)]


def _looked_up(node: Node, table: Fact, indices: Fact) -> list[Fact]:
    """A row of a constant table for every index that comes with the stream."""
    if table.value is None or node.integer("axis", 0) or held(indices.dtype) != "int64":
        raise NotStreamable(f"{node} looks up by the stream; only rows of a constant, by integers, are supported")
    return [fact((*indices.shape, *table.shape[1:]), table.dtype)]


def _at_places(x: Fact, indices: Fact, axis: int) -> Fact:
    """Items of time at places that count along it."""
    return fact((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)


def gather_nd(node: Node, given: Given) -> list[Fact]:
    """One place for each row of the indices, which are constants unless they count along time."""
    x, indices = need(node, given, 0), need(node, given, 1)
    if indices.value is not None:
        flat, rest = flat_places(node, x.shape, indices.value)
        return [fact((*flat.shape, *rest), x.dtype)]
    if node.integer("batch_dims", 0) or indices.shape[-1:] != (1,):
        raise NotStreamable(f"{node} looks up along several axes at once; index one axis after the other")
    return gather(node, [x, replace(indices, shape=indices.shape[:-1])])


def flat_places(node: Node, shape: tuple[Length, ...], indices: Array) -> tuple[Array, tuple[Length, ...]]:
    """The places of a `GatherND` in the first axes of this shape, as one number each, and the other axes."""
    ahead = node.integer("batch_dims", 0)
    first = ahead + indices.shape[-1]
    sizes = np.array([size for size in shape[:first] if isinstance(size, int)], np.int64)
    if len(sizes) < min(first, len(shape)):
        raise NotStreamable(f"{node} takes single items of time, which has no end; slice from the front instead")
    if ahead < 0 or len(sizes) < first or indices.shape[:ahead] != shape[:ahead]:
        raise GraphError(f"{node} looks up along other axes than {shown(shape)} has")
    rank = indices.ndim - 1
    places = [np.arange(size).reshape(-1, *[1] * (rank - axis - 1)) for axis, size in enumerate(sizes[:ahead])]
    places += list(np.moveaxis(indices, -1, 0))
    if any(np.any((place < -size) | (place >= size)) for place, size in zip(places, sizes, strict=True)):
        raise GraphError(f"{node} takes an item that {shown(shape)} does not have")
    strides = (np.prod(sizes[axis + 1 :], dtype=np.int64) for axis in range(len(sizes)))
    inside = (place % size * stride for place, size, stride in zip(places, sizes, strides, strict=True))
    return np.asarray(sum(inside, np.zeros(indices.shape[:-1], np.int64))), shape[first:]


def counted(node: Node, given: Given) -> list[Fact]:
    """The places of a `Range` along time."""
    start, end, step = (numbers(node, given, index) or [0] for index in range(3))
    if not isinstance(start[0], int) or not isinstance(step[0], int) or step[0] < 1:
        raise NotStreamable(f"{node} counts along time by {step[0]} from {start[0]}; only numbers above 0 go forwards")
    return [fact(((end[0] - start[0] + step[0] - 1) // step[0],), need(node, given, 0).dtype)]


def unfold(node: Node, given: Given) -> list[Fact]:
    """The windows along time, and behind that axis the items of each."""
    x, axis, slide = need(node, given, 0), node.integer("axis", 0), unfolded(node)
    return [fact((*x.shape[:axis], slide.length(x.shape[axis]), slide.kernel, *x.shape[axis + 1 :]), x.dtype)]


def expand(node: Node, given: Given) -> list[Fact]:
    """The shape that broadcasting makes."""
    x = need(node, given, 0)
    return [fact(broadcast(node, given, (x.shape, tuple(numbers(node, given, 1) or ()))), x.dtype)]


def constant_of_shape(node: Node, given: Given) -> list[Fact]:
    """One number everywhere; time may be among the lengths."""
    value = node.attributes.get("value", np.zeros(1, np.float32))
    assert isinstance(value, np.ndarray)
    return [fact(tuple(numbers(node, given, 0) or ()), value.dtype.name)]


def tile(node: Node, given: Given) -> list[Fact]:
    """Every axis as often as it is repeated."""
    x, times = need(node, given, 0), numbers(node, given, 1) or []
    if len(times) != len(x.shape) or not all(isinstance(many, int) and 1 <= many <= MAX_TIMES for many in times):
        raise NotStreamable(f"{node} repeats {shown(x.shape)} by {[str(many) for many in times]}, which is impossible")
    if x.stream and times[x.stream.axis] != 1:
        raise NotStreamable(f"{node} repeats time, which has no end")
    return [fact(tuple(length * many for length, many in zip(x.shape, times, strict=True)), x.dtype)]


def space_to_depth(node: Node, given: Given) -> list[Fact]:
    """Blocks of an image as channels."""
    x, block = need(node, given, 0), node.integer("blocksize", 1)
    if len(x.shape) != 4 or block < 1 or any(isinstance(size, int) and size % block for size in x.shape[2:]):
        raise GraphError(f"{node} makes blocks of {block} from {shown(x.shape)}")
    return [fact((x.shape[0], x.shape[1] * block**2, *(length // block for length in x.shape[2:])), x.dtype)]


def depth_to_space(node: Node, given: Given) -> list[Fact]:
    """Channels as blocks of an image."""
    x, block = need(node, given, 0), node.integer("blocksize", 1)
    if len(x.shape) != 4 or block < 1 or isinstance(x.shape[1], Dim) or x.shape[1] % block**2:
        raise GraphError(f"{node} makes blocks of {block} from the channels of {shown(x.shape)}")
    return [fact((x.shape[0], x.shape[1] // block**2, *(length * block for length in x.shape[2:])), x.dtype)]
