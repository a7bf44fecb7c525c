"""Streaming rules of what slides a window: convolutions and pools."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pulse.graph import Array, Attribute, Fact, Node, fact
from pulse.pulsifier import Pulsifier
from pulse.step import held
from pulse.window import Window, turned, unfolded, windows

# what a max pool pads with: no number of the kind is lower
LOWEST = {"float32": -3.4028234663852886e38, "int64": -(2.0**63)}
_POINT = Window(1, 1, 1, 0, 0)


def conv(p: Pulsifier, node: Node) -> None:
    """Wait for what the kernel sees, and convolve that."""
    kernel = p.batch.facts[node.inputs[1]].sizes[2:]
    name, slides, delay = _under_window(p, node, kernel, 0.0)
    inputs = (name, *node.inputs[1:])
    attributes: dict[str, Attribute] = {**_sliding(slides), "group": node.integer("group", 1)}
    p.emit(Node("Conv", node.name, inputs, node.outputs, attributes), delay)


def max_pool(p: Pulsifier, node: Node) -> None:
    """The same for a maximum, whose padding is lower than any number."""
    name, slides, delay = _under_window(p, node, node.integers("kernel_shape", ()), _lowest(p, node))
    p.emit(Node("MaxPool", node.name, (name,), node.outputs, _sliding(slides)), delay)


def _lowest(p: Pulsifier, node: Node) -> float:
    return LOWEST[held(p.batch.facts[node.inputs[0]].dtype)]


def average_pool(p: Pulsifier, node: Node) -> None:
    """The same for a mean; where padding does not count, it is divided by the part that lies on items."""
    name, slides, delay = _under_window(p, node, node.integers("kernel_shape", ()), 0.0)
    share = _share(p, node, slides)
    if share is None:
        p.emit(Node("AveragePool", node.name, (name,), node.outputs, _sliding(slides)), delay)
        return
    made = p.pulsed(p.batch.facts[node.outputs[0]], delay, node)
    mean = p.between("AveragePool", f"{node.outputs[0]}.mean", (name,), made, **_sliding(slides))
    p.emit(Node("Div", node.name, (mean, share), node.outputs), delay)


def unfold(p: Pulsifier, node: Node) -> None:
    """Wait for what the window sees; it is a view of that."""
    slide, delay, value = unfolded(node), p.delay_before(node), node.number("value", 0.0)
    edge, padded = node.integer("edge", 0) and slide.before > 0, slide.before > 0
    name = p.fill(node.inputs[0], delay, value) if delay and padded and not edge else node.inputs[0]
    wait = slide.extra(delay) + slide.stride * max(0, p.least_delay(node.outputs[0]) - slide.delay(delay))
    name = p.delay(name, wait, slide.overlap, value if padded else 0.0)
    name = _edged(p, node, name, delay + wait + slide.overlap) if edge else name
    p.emit(replace(node, inputs=(name,)), (delay + wait + slide.overlap - slide.before) // slide.stride)


def _edged(p: Pulsifier, node: Node, past: str, first: int) -> str:
    """The same items, but those in front of the first one, which is at the place `first`, are like it."""
    edged, time = f"{past}.edge", p.axis(node)
    if time is None or edged in p.facts:
        return edged if time is not None else past
    items = p.facts[node.inputs[0]].sizes[time]
    return p.between("Edge", edged, (past,), p.facts[past], first=first, items=items)


def conv_transpose(p: Pulsifier, node: Node) -> None:
    """Zeros between the items, then a plain convolution."""
    w, group = np.asarray(p.batch.facts[node.inputs[1]].value), node.integer("group", 1)
    slides, strides = turned(node, w.shape[2:], p.batch.facts[node.inputs[0]].shape[2:])
    time = _time(p, node)
    beside = [(slide, stride) for axis, (slide, stride) in enumerate(zip(slides, strides, strict=True)) if axis != time]
    if any(slide.before < 0 or slide.after <= -stride for slide, stride in beside):  # zeros behind may be cut off
        raise p.refuse(node, "cuts more off an axis beside time than its kernel reaches; slice behind it instead")
    name = _stuffed(p, node, slides, strides)
    delay = p.delay_before(node) * (1 if time is None else strides[time])
    if time is not None:
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


def _time(p: Pulsifier, node: Node) -> int | None:
    """Which of the axes that a window slides along is time."""
    axis = p.axis(node)
    return None if axis is None or axis < 2 else axis - 2


def _plain(w: Array, group: int) -> Array:
    """Weights (channels, filters/group, *kernel) as (filters, channels/group, *kernel), backwards along the kernel."""
    apart = w.reshape(group, w.shape[0] // group, *w.shape[1:]).swapaxes(1, 2)
    kernel = tuple(range(2, w.ndim))
    return np.ascontiguousarray(np.flip(apart.reshape(-1, w.shape[0] // group, *w.shape[2:]), kernel))


def _stuffed(p: Pulsifier, node: Node, slides: tuple[Window, ...], strides: tuple[int, ...]) -> str:
    """The first input with zeros behind every item, and with pads off time; it has memory for both at once."""
    batch, time = p.batch.facts[node.inputs[0]], _time(p, node)
    pads = tuple((0, 0) if axis == time else (slide.before, slide.after) for axis, slide in enumerate(slides))
    rows = zip(batch.shape[2:], strides, pads, strict=True)
    longer = (length * stride + first + last for length, stride, (first, last) in rows)
    delay = p.delay_before(node) * (1 if time is None else strides[time])
    shape = (*batch.shape[:2], *longer)
    made = p.pulsed(replace(fact(shape), dtype=batch.dtype), delay, node)
    before = tuple(first for first, _ in pads)
    return p.between("Stuff", f"{node.name}.stuffed", node.inputs[:1], made, before=before, strides=strides)


def _share(p: Pulsifier, node: Node, slides: tuple[Window, ...]) -> str | None:
    """What part of every window lies on items, where that is not all of it: padding is not averaged unless asked for.

    Off time that is a constant. At the front of time it is the same pool over a stream of ones.
    """
    padding, time = bool(node.integer("count_include_pad", 0)), _time(p, node)
    lengths = p.batch.facts[node.inputs[0]].shape[2:]
    share: Array = np.ones((1,) * (2 + len(slides)), np.float32)
    for axis, (slide, length) in enumerate(zip(slides, lengths, strict=True)):
        if axis != time:
            assert isinstance(length, int)
            part = np.array(slide.counted(length, padding=padding), np.float32) / slide.kernel
            share = share * part.reshape(*[1] * (2 + axis), -1, *[1] * (len(slides) - 1 - axis))
    off_time = p.constant(f"{node.name}.share", share) if np.any(share != 1) else None
    if time is None or padding or not slides[time].before:
        return off_time
    ones = _share_of_time(p, node, slides[time], 2 + time)
    if off_time is None:
        return ones
    shape = (*share.shape[: 2 + time], p.facts[ones].shape[2 + time], *share.shape[3 + time :])
    return p.between("Mul", f"{ones}.all", (ones, off_time), replace(p.facts[ones], shape=shape))


def _share_of_time(p: Pulsifier, node: Node, slide: Window, time: int) -> str:
    item, delay = p.facts[node.inputs[0]], p.delay_before(node)
    ones = p.constant(f"{node.name}.ones", np.ones(_thin(item, time).sizes, np.float32))
    p.facts[ones] = _thin(item, time)
    under = p.delay(p.fill(ones, delay, 0.0) if delay else ones, slide.extra(delay), slide.overlap)
    made = _thin(p.pulsed(p.batch.facts[node.outputs[0]], slide.delay(delay), node), time)
    slides = tuple(slide if axis == time else _POINT for axis in range(2, len(item.shape)))
    return p.between("AveragePool", f"{ones}.mean", (under,), made, **_sliding(slides))


def _thin(item: Fact, time: int) -> Fact:
    """With one item on all axes but that of time."""
    return replace(item, shape=tuple(length if axis == time else 1 for axis, length in enumerate(item.shape)))


def _under_window(
    p: Pulsifier, node: Node, kernel: tuple[int, ...], outside: float
) -> tuple[str, tuple[Window, ...], int]:
    """What the windows of `node` see: the padded past and the pulse. Also the windows, and the delay behind them.

    Windows slide along the axes from 2 on; a stream along another axis is followed. `outside` is what padding holds.
    """
    slides = windows(node, kernel, p.batch.facts[node.inputs[0]].shape[2:])
    time, delay = _time(p, node), p.delay_before(node)
    pads = [(slide.before, slide.after + slide.beyond) for slide in slides]
    name = _padded(p, node, tuple((0, 0) if axis == time else pad for axis, pad in enumerate(pads)), outside)
    if time is None:
        return name, slides, delay
    slide = slides[time]
    if slide.before and delay:
        name = p.fill(name, delay, outside)
    name = p.delay(name, slide.extra(delay), slide.overlap, outside if slide.before else 0.0)
    return name, slides, slide.delay(delay)


def _padded(p: Pulsifier, node: Node, amounts: tuple[tuple[int, int], ...], value: float) -> str:
    """The first input of `node` with pads off time; one `Pad` serves all who need the same."""
    name = node.inputs[0]
    if not any(first or last for first, last in amounts):
        return name
    padded = f"{name}.padded{amounts}={value:g}"
    if padded not in p.facts:
        item = p.facts[name]
        longer = (length + first + last for length, (first, last) in zip(item.shape[2:], amounts, strict=True))
        before = (0, 0, *(first for first, _ in amounts))
        p.between("Pad", padded, (name,), replace(item, shape=(*item.shape[:2], *longer)), before=before, value=value)
    return padded


def _sliding(slides: tuple[Window, ...]) -> dict[str, Attribute]:
    return {
        "kernel": tuple(slide.kernel for slide in slides),
        "dilation": tuple(slide.dilation for slide in slides),
        "stride": tuple(slide.stride for slide in slides),
    }
