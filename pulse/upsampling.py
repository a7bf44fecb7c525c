"""What makes more items than it gets, by whole factors: facts and streaming rules of Resize and ConvTranspose.

A transposed convolution is a plain one over the items with zeros stuffed between them, its kernel turned round. With
span `(k-1)*d + 1` and `b` items cut off in front, that one is padded by `span - 1 - b`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pulse.argument import Given, axis_of, need, numbers, weight
from pulse.dim import Length
from pulse.errors import GraphError, NotStreamable
from pulse.graph import Array, Attribute, Fact, Node, fact
from pulse.pulsifier import Pulsifier
from pulse.window import MAX_AXES, Window

MAX_FACTOR = 64
# coordinate_transformation_mode and nearest_mode that repeat every item, whatever the factor
_REPEATING = {("asymmetric", "floor")}
_REPEATING |= {
    (place, near)
    for place in ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel")
    for near in ("round_prefer_floor", "round_prefer_ceil")
}


def resize(node: Node, given: Given) -> list[Fact]:
    """The fact of a value whose items are repeated."""
    x = need(node, given, 0)
    pairs = zip(x.shape, factors(node, given), strict=True)
    return [fact(tuple(length * factor for length, factor in pairs), x.dtype)]


def factors(node: Node, given: Given) -> tuple[int, ...]:
    """How often a `Resize` repeats the items of each axis."""
    x = need(node, given, 0)
    how = node.text("coordinate_transformation_mode", "half_pixel"), node.text("nearest_mode", "round_prefer_floor")
    if node.text("mode", "nearest") != "nearest" or how not in _REPEATING:
        raise NotStreamable(f"{node} interpolates; only mode='nearest' is supported, with asymmetric places and floor")
    axes = [axis_of(node, axis, len(x.shape)) for axis in node.integers("axes", tuple(range(len(x.shape))))]
    found = dict.fromkeys(range(len(x.shape)), 1) | dict(zip(axes, _asked(node, given, axes), strict=True))
    if not all(1 <= factor <= MAX_FACTOR for factor in found.values()):
        raise NotStreamable(
            f"{node} repeats by {list(found.values())}; only whole factors to {MAX_FACTOR} are supported"
        )
    return tuple(found[axis] for axis in range(len(x.shape)))


def _asked(node: Node, given: Given, axes: list[int]) -> list[int]:
    """The factors by scales or sizes; 0 for one that is not whole."""
    scales = given[2] if len(given) > 2 else None
    if scales is not None and scales.value is not None and scales.value.size:
        return [int(scale) if scale == int(scale) else 0 for scale in scales.value.reshape(-1)]
    x, sizes = need(node, given, 0), numbers(node, given, 3) or []
    return [_quotient(size, x.shape[axis]) for size, axis in zip(sizes, axes, strict=True)]


def _quotient(size: Length, length: Length) -> int:
    factor = size // length
    return factor if isinstance(factor, int) and length * factor == size else 0


def repeat(p: Pulsifier, node: Node) -> None:
    """Every item comes several times, so it is late by as many more."""
    times = factors(node, p.given(node))
    delay = p.delay_before(node) * times[p.axis(node)]
    p.emit(Node("Resize", node.name, node.inputs[:1], node.outputs), delay, factors=times)


def conv_transpose(node: Node, given: Given) -> list[Fact]:
    """The fact of a transposed convolution."""
    x, w = need(node, given, 0), weight(node, given, 1)
    group = node.integer("group", 1)
    if len(x.shape) != w.ndim or x.shape[1] != w.shape[0] or group < 1 or w.shape[0] % group:
        raise GraphError(f"{node} gets {x.shape[1]} channels; its weights {w.shape} in {group} groups do not fit")
    slides, strides = turned(node, w.shape[2:])
    lengths = zip(x.shape[2:], strides, slides, strict=True)
    places = (slide.length(length * stride) for length, stride, slide in lengths)
    return [fact((x.shape[0], w.shape[1] * group, *places))]


def turned(node: Node, kernel: tuple[int, ...]) -> tuple[tuple[Window, ...], tuple[int, ...]]:
    """The windows of the plain convolution, over items with zeros behind each, and how many items each becomes.

    A pad below 0 is a cut: in front it costs delay, and behind the end it is waited for.
    """
    rank = len(kernel)
    if node.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or "output_shape" in node.attributes:
        raise NotStreamable(f"{node} cuts by the length of its output; export it with explicit pads")
    if not 1 <= rank <= MAX_AXES:
        raise NotStreamable(f"{node} slides a window of {rank} axes; 1 to {MAX_AXES} are supported")
    strides, dilations = (node.integers(key, (1,) * rank) for key in ("strides", "dilations"))
    pads, more = node.integers("pads", (0,) * 2 * rank), node.integers("output_padding", (0,) * rank)
    if {len(strides), len(dilations), len(pads) / 2, len(more)} != {rank} or min(*strides, *dilations) < 1:
        raise NotStreamable(f"{node} has a kernel, dilation, stride or pad that makes no sense")
    rows = zip(kernel, dilations, strides, pads, pads[rank:], more, strict=False)
    return tuple(_turned(*row) for row in rows), strides


def _turned(size: int, apart: int, stride: int, *cuts: int) -> Window:
    before, after, more = cuts
    last = (size - 1) * apart
    return Window(size, apart if size > 1 else 1, 1, last - before, last - after + more + 1 - stride)


def slide_turned(p: Pulsifier, node: Node) -> None:
    """Zeros between the items, then a plain convolution."""
    w, group = np.asarray(p.batch.facts[node.inputs[1]].value), node.integer("group", 1)
    slides, strides = turned(node, w.shape[2:])
    time = p.axis(node) - 2
    if any(min(slide.before, slide.after) < 0 for axis, slide in enumerate(slides) if axis != time):
        raise p.refuse(node, "cuts more off an axis beside time than its kernel reaches; slice behind it instead")
    name = _stuffed(p, node, slides, strides)
    delay = p.delay_before(node) * (strides[time] if time >= 0 else 1)
    if time >= 0:
        slide = slides[time]
        name = p.fill(name, delay, 0.0) if slide.before > 0 and delay else name
        wait = slide.extra(delay) + max(0, p.least_delay(node.outputs[0]) - slide.delay(delay))
        name = p.delay(name, wait, slide.overlap)
        delay += wait + slide.overlap - slide.before
    plain = p.constant(f"{node.name}.turned", _plain(w, group))
    attributes: dict[str, Attribute] = {
        "kernel": tuple(slide.kernel for slide in slides),
        "dilation": tuple(slide.dilation for slide in slides),
        "stride": (1,) * len(slides),
        "group": group,
    }
    p.emit(Node("Conv", node.name, (name, plain, *node.inputs[2:]), node.outputs, attributes), delay)


def _plain(w: Array, group: int) -> Array:
    """Weights (channels, filters/group, *kernel) as (filters, channels/group, *kernel), backwards along the kernel."""
    apart = w.reshape(group, w.shape[0] // group, *w.shape[1:]).swapaxes(1, 2)
    kernel = tuple(range(2, w.ndim))
    return np.ascontiguousarray(np.flip(apart.reshape(-1, w.shape[0] // group, *w.shape[2:]), kernel))


def _stuffed(p: Pulsifier, node: Node, slides: tuple[Window, ...], strides: tuple[int, ...]) -> str:
    """The first input with zeros behind every item, and with pads off time; it has memory for both at once."""
    batch, time = p.batch.facts[node.inputs[0]], p.axis(node) - 2
    pads = tuple((0, 0) if axis == time else (slide.before, slide.after) for axis, slide in enumerate(slides))
    rows = zip(batch.shape[2:], strides, pads, strict=True)
    longer = (length * stride + first + last for length, stride, (first, last) in rows)
    delay = p.delay_before(node) * (strides[time] if time >= 0 else 1)
    shape = (*batch.shape[:2], *longer)
    made = p.pulsed(replace(fact(shape), dtype=batch.dtype), delay, node)
    before = tuple(first for first, _ in pads)
    return p.between("Stuff", f"{node.name}.stuffed", node.inputs[:1], made, before=before, strides=strides)
