"""The rules of `lower` for what `quantize` made of a graph: int8 values, and int32 sums of their products."""

from __future__ import annotations

import math

import numpy as np

from pulse.graph import Node
from pulse.lowering import Lowering
from pulse.products import by_place, grouped, taps
from pulse.step import View

_EXACT = {"float32": 1 << 24, "float64": 1 << 53}  # integers that have their own number
_LARGEST = 128 * 127  # product


def quantize(lo: Lowering, node: Node) -> None:
    """One step, in the order of what it reads."""
    x = lo.read(node)
    writes = lo.write(node, x.order), lo.arena(x.shape, x.order)
    lo.step(node, writes, (x,), inverse=1 / node.number("scale", 1.0), zero=node.integer("zero", 0))


def dequantize(lo: Lowering, node: Node) -> None:
    """The same backwards."""
    x = lo.read(node)
    lo.step(node, (lo.write(node, x.order),), (x,), scale=node.number("scale", 1.0), zero=node.integer("zero", 0))


def requantize(lo: Lowering, node: Node) -> None:
    """From one scale to another."""
    x = lo.read(node)
    writes = lo.write(node, x.order), lo.arena(x.shape, x.order, kind="int64")
    keys = ("before", "zero", "multiplier", "left")
    lo.step(node, writes, (x,), **{key: node.integer(key, 0) for key in keys})


def integer_conv(lo: Lowering, node: Node) -> None:
    """Like a convolution of floats, with memory where numpy multiplies and sums."""
    x, w, group = lo.read(node), lo.constant(node, 1), node.integer("group", 1)
    filters, channels, *kernel = w.shape
    n, made, *places = lo.shape(node)
    rows, items = channels * math.prod(kernel), math.prod(places)
    w = np.moveaxis(w.reshape(group, filters // group, channels, *kernel), (1, 2), (-1, -2))
    weight = lo.weight(w.reshape(group, rows, filters // group), "int8")
    each = (lo.weight(lo.constant(node, index).reshape(group, 1, filters // group), "int32") for index in (2, 3))
    seen = by_place(taps(x.split(1, group), 3, node, tuple(places)), len(kernel))
    kind = next(kind for kind, exact in _EXACT.items() if rows * _LARGEST < exact)
    gathered, factor = lo.arena(seen.shape, kind=kind), lo.arena(weight.shape, kind=kind)
    addend = _addend(lo, node, (n, items, filters), group) if lo.has(node, 4) else None
    out = lo.write(node, (0, *range(2, 2 + len(places)), 1))
    rest = tuple(axis for axis in range(len(out.shape)) if axis != 1)
    out = grouped(out.transposed((*rest, 1)).shaped((n, items, made)), group)
    sums = (n, group, items, filters // group)
    made_here = (lo.arena(sums, kind=kind), lo.arena(sums, kind="int64"), lo.arena(sums, kind="int64"))
    writes = (out, *made_here, gathered, factor)
    reads = (seen, gathered.shaped((n, group, items, rows)), weight, *each, addend)
    keys = {key: node.integer(key, 0) for key in ("left", "gain", "zero")}
    lo.step(node, writes, reads, activation=node.text("activation", ""), **keys)


def _addend(lo: Lowering, node: Node, shape: tuple[int, int, int], group: int) -> View:
    x = lo.read(node, 4)
    x = x.transposed((0, *range(2, len(x.shape)), 1))
    return grouped(x if len(x.shape) == 3 else lo.packed(node, x).shaped(shape), group)


RULES = {
    "Dequantize": dequantize,
    "QuantizedConv": integer_conv,
    "Quantize": quantize,
    "Requantize": requantize,
}
