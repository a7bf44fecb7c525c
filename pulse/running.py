"""Rules for reductions over time that were told to take its last items, or all so far: what they are written as."""

from __future__ import annotations

import math

import numpy as np

from pulse.dim import Length
from pulse.graph import Attribute, Fact
from pulse.layers import ALL_SO_FAR, reduced
from pulse.rewrite import Patch, Site, Written

WRITTEN_OUT = ("ReduceVariance",)  # ops that no later stage has a row for
RUNNING = ("RunningMax", "RunningMean", "RunningVariance")  # of all items of time so far
_POOLS = {"ReduceMax": "MaxPool", "ReduceMean": "AveragePool"}


def _over_time(site: Site, *ops: str) -> tuple[int, ...]:
    """The axes that a reduction with a window goes over, if time is one of them."""
    node = site.node
    axes = reduced(node, site.given) if "window" in node.attributes and node.op in ops else ()
    x = site.graph.facts[node.inputs[0]]
    return axes if x.stream is not None and x.stream.axis in axes else ()


def running_pool(site: Site) -> Patch | None:
    """mean over time = mean of all items so far, for every item; the same for maximum and variance"""
    node, axes = site.node, _over_time(site, *_POOLS, "ReduceVariance")
    if not axes or node.integer("window", 1) != ALL_SO_FAR:
        return None
    y, time = Written(site), _time(site.graph.facts[node.inputs[0]])
    others = [axis for axis in axes if axis != time]
    value = y.add(node.op, y.x, y.constant(np.array(others)), keepdims=1) if others else y.x
    attributes: dict[str, Attribute] = {"correction": node.integer("correction", 0)} if "Var" in node.op else {}
    value = y.add(node.op.replace("Reduce", "Running"), value, **attributes)
    return _placed(site, y, value, axes)


def variance_to_means(site: Site) -> Patch | None:
    """variance(x) = mean(x^2) - mean(x)^2 over a window, mean((x - mean(x))^2) off time, times n / (n - correction)"""
    node, correction = site.node, site.node.integer("correction", 0)
    if node.op != "ReduceVariance":
        return None
    y, attributes = Written(site), {key: value for key, value in node.attributes.items() if key != "correction"}
    axes = node.inputs[1]
    if not _over_time(site, node.op):
        apart, shape = y.add("Sub", y.x, y.add("ReduceMean", y.x, axes, keepdims=1)), site.graph.facts[y.x].shape
        items = _items(shape, reduced(node, site.given))
        share = items / max(items - correction, 1)
        return y.patch("Mul", y.add("ReduceMean", y.add("Mul", apart, apart), axes, **attributes), share)
    squares = y.add("ReduceMean", y.add("Mul", y.x, y.x), axes, **attributes)
    mean = y.add("ReduceMean", y.x, axes, **attributes)
    least = y.add("Sub", squares, y.add("Mul", mean, mean))
    if not correction:
        return y.patch("Max", least, 0.0)
    ones = y.add("Add", y.add("Mul", y.x, 0.0), 1.0)
    most = node.integer("window", 1) * _items(site.graph.facts[y.x].shape, reduced(node, site.given))
    many = y.add("Mul", y.add("ReduceMean", ones, axes, padded=1, **attributes), float(most))
    fewer = y.add("Max", y.add("Sub", many, float(correction)), 1.0)
    return y.patch("Mul", y.add("Max", least, 0.0), y.add("Div", many, fewer))


def _items(shape: tuple[Length, ...], axes: tuple[int, ...]) -> int:
    """The items on the axes, but for time."""
    return math.prod(length for axis in axes if isinstance(length := shape[axis], int))


def window_to_pool(site: Site) -> Patch | None:
    """mean over time = average_pool over its last items, with the pool along the last axis; the same for max"""
    node, axes = site.node, _over_time(site, *_POOLS)
    if not axes:
        return None
    x = site.graph.facts[node.inputs[0]]
    y, rank, time, items = Written(site), len(x.shape), _time(x), node.integer("window", 1)
    others = [axis for axis in axes if axis != time]
    value = y.add(node.op, y.x, y.constant(np.array(others)), keepdims=1) if others else y.x
    value = y.add("Transpose", value, perm=(*(axis for axis in range(rank) if axis != time), time))
    if rank < 3:
        value = y.add("Unsqueeze", value, y.constant(np.array([0])))
    flat = (0,) * (max(rank, 3) - 3)
    sizes: dict[str, Attribute] = {"kernel_shape": (*(1 for _ in flat), items), "pads": (*flat, items - 1, *flat, 0)}
    if node.integer("padded", 0):  # what is in front of time counts as items that are 0
        sizes["count_include_pad"] = 1
    value = y.add(_POOLS[node.op], value, **sizes)
    if rank < 3:
        value = y.add("Squeeze", value, y.constant(np.array([0])))
    value = y.add("Transpose", value, perm=(*range(time), rank - 1, *range(time, rank - 1)))
    return _placed(site, y, value, axes)


def _time(x: Fact) -> int:
    assert x.stream is not None
    return x.stream.axis


def _placed(site: Site, y: Written, value: str, axes: tuple[int, ...]) -> Patch:
    """The value, which has time where it was, as `pooling` says that it goes on."""
    x = site.graph.facts[y.x]
    time, rank = _time(x), len(x.shape)
    if y.node.integer("beside", 0) or time == 0:
        return y.patch("Identity", value)
    swap = tuple({0: time, time: 0}.get(axis, axis) for axis in range(rank))
    if y.node.integer("keepdims", 1):
        return y.patch("Transpose", value, perm=swap)
    return y.patch("Squeeze", y.add("Transpose", value, perm=swap), y.constant(np.array(axes)))
