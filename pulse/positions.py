"""Windows that are written with indices: what takes items `t + j` of time, with `t` counting along it, is one view.

Theory of operation. Frameworks write a window that slides along time as a `Gather` at places that count: a `Range`,
turned into the shape it must have, plus offsets that are constants. `Places` says what such indices are; the nodes that
make them are read back to their `Range`. Whoever reads time at places of any other kind is refused by `pulsify`.

These rules come before all others of `declutter`, which then turn a `Range` that is left into a sum of ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pulse.argument import axis_of
from pulse.dim import Dim, DimError, Length, product
from pulse.graph import Array, Attribute, Fact, Node
from pulse.layout import dims
from pulse.moves import flat_places, pads
from pulse.rewrite import Patch, Rule, Site, Written
from pulse.window import Window, unfolded

MAX_REACH = 1 << 15  # items from where a window is to where it begins or ends


@dataclass(frozen=True)
class Places:
    """Item `t` is `step*t + offsets`, but not less than `least` nor more than `most`; `offsets` has no axis of time
    but one item in its stead."""

    step: int
    offsets: Array
    least: Length | None = None
    most: Length | None = None


def window_of_places(site: Site) -> Patch | None:
    """gather(x, step*t + (0, 1, 2)) = unfold(x, 3)"""
    node = site.node
    facts = [site.graph.facts[name] for name in node.inputs] if node.op == "Gather" else []
    if len(facts) < 2 or facts[0].stream is None or facts[1].stream is None:
        return None
    places, time = _places(site, node.inputs[1]), facts[0].stream.axis
    if places is None or not places.offsets.size or axis_of(node, node.integer("axis", 0), len(facts[0].shape)) != time:
        return None
    y, first = Written(site), int(places.offsets.min())
    taps = places.offsets.reshape(-1) - first
    if not _bounded_by_time(places, first, facts[0].stream.length) or max(int(taps.max()), abs(first)) > MAX_REACH:
        return None
    slide = _fitting(_window(taps, places.step, first), facts[0].stream.length, facts[1].stream.length)
    if slide is None or (slide.after > 0 and places.most is None):
        return None
    x = _edged(y, facts[0], max(0, -first))
    x = y.add("Unfold", x, axis=time, **replace(slide, before=min(0, slide.before)).attributes)
    if not np.array_equal(taps, np.arange(slide.kernel) * slide.dilation):
        x = y.add("Gather", x, y.constant(taps // slide.dilation), axis=time + 1)
    return _shaped(y, x, time, facts)


def window_of_rows(site: Site) -> Patch | None:
    """gather(flatten(x), n*t + (0, 1, 2)) = gather(flatten(unfold(x)), (0, 1, 2)), with items of n numbers in x"""
    node = site.node
    flat = site.producer(node.inputs[0], "Flatten", "Reshape") if node.op == "Gather" else None
    places = _places(site, node.inputs[1]) if flat else None
    if flat is None or places is None or not places.offsets.size:
        return None
    facts = [site.graph.facts[name] for name in node.inputs]
    if len(facts[0].shape) != 1:
        return None
    x, times = site.graph.facts[flat.inputs[0]].stream, facts[1].stream
    before, behind = _beside(site.graph.facts[flat.inputs[0]])
    first = int(places.offsets.min()) // places.step
    taps = places.offsets.reshape(-1) - first * places.step
    reach = int(taps.max()) // places.step
    if x is None or times is None or (before, behind) != (1, places.step) or max(first, reach) > MAX_REACH or first < 0:
        return None
    slide = _fitting(Window(reach + 1, 1, 1, -first, 0), x.length, times.length)
    if slide is None or slide.after > 0 or (places.least, places.most) != (None, None):
        return None
    y, width = Written(site), slide.kernel * places.step
    wide = y.add("Unfold", flat.inputs[0], axis=x.axis, **slide.attributes)
    wide = y.add("Reshape", wide, y.constant(dims((times.length, width))))
    if not np.array_equal(taps, np.arange(width)):
        wide = y.add("Gather", wide, y.constant(taps), axis=1)
    return _shaped(y, wide, 0, facts)


def _beside(x: Fact) -> tuple[Length, Length]:
    """How many numbers are in front of time, and how many behind it, in the order of the axes."""
    axis = x.stream.axis if x.stream else 0
    return product(x.shape[:axis]), product(x.shape[axis + 1 :])


def _bounded_by_time(places: Places, first: int, items: Length) -> bool:
    """Whether no place is in front of time, and none is held back by another bound than its ends."""
    if places.most is not None and places.most != items - 1:
        return False
    return places.least == 0 or (places.least is None and first >= 0)


def _edged(y: Written, x: Fact, first: int) -> str:
    """What is in front of time, if that is asked for, is its first item."""
    assert x.stream is not None
    if not first:
        return y.x
    before = np.zeros(2 * len(x.shape), np.int64)
    before[x.stream.axis] = first
    return y.add("Pad", y.x, y.constant(before), mode="edge")


def _window(taps: Array, step: int, first: int) -> Window:
    """The window from the first tap to the last one; `before` below 0 is a cut."""
    apart = int(np.gcd.reduce(taps)) or 1
    return Window(int(taps.max()) // apart + 1, apart, step, -first, 0)


def _fitting(slide: Window, items: Length, wanted: Length) -> Window | None:
    """The window at as many places as are `wanted`: it looks behind the end, or does not look at all that is there."""
    try:
        short = (wanted - 1) * slide.stride - (items + (slide.before - slide.span))
    except DimError:
        short = min(0, slide.span - 1 - slide.before)  # the last place is one of the last items
    choices = (replace(slide, after=after) for after in (0, short) if isinstance(after, int))
    return next((choice for choice in choices if choice.length(items) == wanted), None)


def _shaped(y: Written, x: str, time: int, facts: list[Fact]) -> Patch:
    """The taps, which lie behind time, where and as the indices have them."""
    source, indices = facts
    assert indices.stream is not None
    others, rank = [length for length in indices.shape if not isinstance(length, Dim)], len(indices.shape)
    if others != [1] or rank != 2:
        shape = [*[0] * (time + 1), *others, *(length for length in source.shape[time + 1 :])]
        x = y.add("Reshape", x, y.constant(np.array(shape, np.int64)))
    order = list(range(time, time + rank))
    order.insert(indices.stream.axis, order.pop(0))
    back = (*range(time), *order, *range(time + rank, len(source.shape) + rank - 1))
    return y.patch("Transpose", x, perm=tuple(back))


_DEEPEST = 24  # nodes between a `Range` and who reads it


def _places(site: Site, name: str, depth: int = _DEEPEST) -> Places | None:
    """What the integers `name`, which count along time, are."""
    node, item = site.producer(name, *_READ_BACK), site.graph.facts[name]
    if node is None or item.stream is None or not depth:
        return None
    values = [site.graph.facts[other].value if other else None for other in node.inputs]
    if node.op == "Range":
        return _range(values)
    if node.op in ("Add", "Sub", "Max", "Min", "Mul") and len(values) == 2:
        first = next((index for index, value in enumerate(values) if value is None), 0)
        inner = _places(site, node.inputs[first], depth - 1)
        return _with(node, inner, values[1 - first], first) if inner else None
    inner, before = _places(site, node.inputs[0], depth - 1), site.graph.facts[node.inputs[0]]
    if inner is None:
        return None
    if node.op == "Clip":
        low, high = (_number(values[index]) if index < len(values) else None for index in (1, 2))
        return _within(inner, low, high)
    return replace(inner, offsets=offsets) if (offsets := _moved(node, inner, before, item)) is not None else None


def _range(values: list[Array | None]) -> Places | None:
    start, step = _number(values[0]), _number(values[2])
    if not isinstance(start, int) or not isinstance(step, int) or step < 1:
        return None
    return Places(step, np.array([start]))


def _number(value: Array | None) -> Length | None:
    """The one integer that is there."""
    if value is None or value.size != 1 or value.dtype.kind not in "iO":
        return None
    number = value.reshape(-1)[0]
    return number if isinstance(number, Dim) else int(number)


def _with(node: Node, inner: Places, other: Array | None, first: int) -> Places | None:
    """Places that a constant is added to, or multiplies, or bounds."""
    if node.op in ("Max", "Min"):
        bound = _number(other)
        return _within(inner, *((bound, None) if node.op == "Max" else (None, bound))) if bound is not None else None
    if other is None or other.dtype.kind != "i" or (inner.least, inner.most) != (None, None):
        return None
    if node.op == "Mul":
        times = _number(other)
        if not isinstance(times, int) or not 0 < times <= MAX_REACH:
            return None
        return replace(inner, step=inner.step * times, offsets=inner.offsets * times)
    if node.op == "Sub" and first == 1:
        return None  # this counts backwards
    return replace(inner, offsets=inner.offsets + (other if node.op == "Add" else -other))


def _within(inner: Places, least: Length | None, most: Length | None) -> Places | None:
    """Places between two bounds; a second bound on one side is none of ours."""
    if (least is not None and inner.least is not None) or (most is not None and inner.most is not None):
        return None
    return replace(inner, least=inner.least if least is None else least, most=inner.most if most is None else most)


def _moved(node: Node, inner: Places, before: Fact, after: Fact) -> Array | None:
    """The offsets behind a node that only moves them."""
    assert before.stream is not None and after.stream is not None
    if node.op in ("Cast", "Identity"):
        return inner.offsets
    if node.op == "Transpose":
        return inner.offsets.transpose(node.integers("perm", tuple(reversed(range(inner.offsets.ndim)))))
    shape = tuple(1 if isinstance(length, Dim) else length for length in after.shape)
    if node.op == "Expand":
        return np.broadcast_to(inner.offsets, shape)
    in_front = [product(fact.shape[: fact.stream.axis]) for fact in (before, after) if fact.stream]
    same = before.stream.length == after.stream.length and in_front[0] == in_front[1]
    return inner.offsets.reshape(shape) if same else None


_MOVING = ("Cast", "Expand", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_READ_BACK = (*_MOVING, "Add", "Clip", "Max", "Min", "Mul", "Range", "Sub")


def places_to_gather(site: Site) -> Patch | None:
    """gather_nd(x, i) = gather(x, i) along the first axes as one, and along the axis that a transpose put in front"""
    node, constant = site.node, site.constant(1)
    if node.op != "GatherND":
        return None
    y, shape = Written(site), site.graph.facts[site.node.inputs[0]].shape
    if constant is not None:
        flat, rest = flat_places(node, shape, constant)
        return y.patch("Gather", y.add("Reshape", y.x, y.constant(dims((-1, *rest)))), y.constant(flat), axis=0)
    rank = len(site.graph.facts[node.inputs[1]].shape) - 1
    indices = y.add("Squeeze", node.inputs[1], y.constant(np.array([rank])))
    move = site.producer(y.x, "Transpose")
    if move is None:
        return y.patch("Gather", y.x, indices, axis=0)
    time, *others = move.integers("perm", tuple(reversed(range(len(shape)))))
    found = y.add("Gather", move.inputs[0], indices, axis=time)
    behind = (axis if axis < time else axis + rank - 1 for axis in others)
    return y.patch("Transpose", found, perm=(*range(time, time + rank), *behind))


def pad_into_window(site: Site) -> Patch | None:
    """unfold(pad(x)) = unfold(x) that sees the padding in front of time and behind it"""
    node = site.node
    pad = site.producer(node.inputs[0], "Pad") if node.op == "Unfold" else None
    mode = pad.text("mode", "constant") if pad else ""
    if pad is None or mode not in ("constant", "edge") or node.integer("before", 0) > 0:
        return None
    given = [site.graph.facts[name] if name else None for name in pad.inputs]
    (before, after), time = pads(pad, given), node.integer("axis", 0)
    value = given[2].value if len(given) > 2 and given[2] is not None else np.zeros(1)
    slide = unfolded(node)
    slide = replace(slide, before=slide.before + before[time], after=slide.after + after[time])
    before[time] = after[time] = 0
    if value is None or any((*before, *after)) or (mode == "edge" and slide.span <= slide.before):
        return None  # a window that lies in front of time shows an edge that has not come
    content = {"value": float(value.reshape(-1)[0]), "edge": int(mode == "edge")}
    attributes: dict[str, Attribute] = {**node.attributes, **slide.attributes, **content}
    add = Node("Unfold", node.name, (pad.inputs[0],), node.outputs, attributes)
    return Patch(f"{pad} goes into {node}", (node,), (add,))


def counting_to_sum(site: Site) -> Patch | None:
    """range(start, end, step) along time = start + step * (the sum of ones in front)"""
    node = site.node
    if node.op != "Range" or site.graph.facts[node.outputs[0]].stream is None:
        return None
    y, (length,) = Written(site), site.graph.facts[node.outputs[0]].shape
    start, step = site.constant(0), site.constant(2)
    assert start is not None and step is not None  # infer refuses others
    size = np.empty(1, object)
    size[0] = length
    ones = y.add("ConstantOfShape", y.constant(size), value=np.ones(1, start.dtype))
    if not np.any(start) and np.all(step == 1):
        return y.patch("CumSum", ones, y.constant(np.array(0)), exclusive=1)
    count = y.add("CumSum", ones, y.constant(np.array(0)), exclusive=1)
    return y.patch("Add", y.add("Mul", count, y.constant(step)), y.constant(start))


FIRST: tuple[Rule, ...] = (places_to_gather, window_of_rows, window_of_places)
RULES: tuple[Rule, ...] = (places_to_gather, pad_into_window, counting_to_sum)
