"""Rules of `lower` for what multiplies or slides: convolutions, pools, gates, products of two values."""

from __future__ import annotations

import math
import string
from dataclasses import replace

import numpy as np

from pulse.graph import Node
from pulse.layers import equation
from pulse.lowering import Lowering
from pulse.step import View


def conv(lo: Lowering, node: Node) -> None:
    """The taps gathered into a matrix, times the weights, group by group; what is added and applied goes along."""
    x, w, group = lo.read(node), lo.constant(node, 1), node.integer("group", 1)
    filters, channels, *kernel = w.shape
    n, made, *places = lo.shape(node)
    items, inside = math.prod(places), range(2, 2 + len(places))
    w = np.moveaxis(w.reshape(group, filters // group, channels, *kernel), (1, 2), (-1, -2))
    weight = lo.weight(w.reshape(group, -1, filters // group))
    bias = lo.weight(lo.constant(node, 2).reshape(group, 1, filters // group)) if lo.has(node, 2) else None
    seen = by_place(taps(x.split(1, group), 3, node, tuple(places)), len(kernel))
    gathered, matrix = _columns(lo, seen, (n, group, items, weight.shape[1]))
    addend = None
    if lo.has(node, 3):
        addend = lo.read(node, 3).transposed((0, *inside, 1))
        addend = addend if len(places) == 1 else lo.packed(node, addend).shaped((n, items, filters))
        addend = grouped(addend, group)
    out = lo.arena((n, *places, made))
    lo.views[node.outputs[0]] = out.back(1)
    out = grouped(out.shaped((n, items, made)), group)
    product = out if made == filters else lo.arena((n, group, items, filters // group))
    writes, reads = (out, product, gathered), (seen, matrix, weight, bias, addend)
    lo.step(node, writes, reads, activation=node.text("activation", ""))


def grouped(x: View, group: int) -> View:
    """(n, items, filters) as (n, group, items, filters of a group)."""
    return x.split(2, group).transposed((0, 2, 1, 3))


def taps(x: View, first: int, node: Node, places: tuple[int, ...]) -> View:
    """The axes from `first` as twice as many, taps and places: tap `j` of place `i` is item `i*stride + j*dilation`."""
    kernel, stride, dilation = (node.integers(key, ()) for key in ("kernel", "stride", "dilation"))
    units = x.strides[first:]
    apart = (unit * step for unit, step in zip(units, dilation, strict=True))
    moves = (unit * step for unit, step in zip(units, stride, strict=True))
    return replace(x, shape=(*x.shape[:first], *kernel, *places), strides=(*x.strides[:first], *apart, *moves))


def by_place(taps: View, rank: int) -> View:
    """(n, group, channels, *kernel, *places) as (n, group, *places, *kernel, channels)"""
    tapped = range(3, 3 + rank)
    return taps.transposed((0, 1, *(axis + rank for axis in tapped), *tapped, 2))


def _columns(lo: Lowering, taps: View, shape: tuple[int, ...]) -> tuple[View | None, View]:
    """Memory to gather `taps` in, and the matrix of the shape `shape` that lies there then."""
    if taps.packed:
        return None, taps.shaped(shape)
    gathered = lo.arena(taps.shape)
    return gathered, gathered.shaped(shape)


def pool(lo: Lowering, node: Node) -> None:
    """One number for all taps of a place."""
    lo.step(node, (lo.write(node),), (taps(lo.read(node), 2, node, lo.shape(node)[2:]),))


def gate(lo: Lowering, node: Node) -> None:
    """tanh of one half of the channels times sigmoid of the other."""
    x = lo.read(node).last(1)
    lo.step(node, (lo.write(node, (0, 2, 1)).last(1), lo.arena(x.shape)), (x,))


def matmul(lo: Lowering, node: Node) -> None:
    """The product of two values, matrix by matrix."""
    x, y = (lo.packed(node, lo.read(node, index)) for index in (0, 1))
    lo.step(node, (lo.write(node),), (x, y))


def einsum(lo: Lowering, node: Node) -> None:
    """The product that an equation says, with letters for the axes that dots stand for."""
    reads = [lo.read(node, index) for index in range(len(node.inputs))]
    labels, made = equation(node, [len(x.shape) for x in reads])
    text = f"{','.join(labels)}->{made}"
    spare = (label for label in string.ascii_letters if label not in text)
    for number in (label for label in sorted({*text}) if label.isdigit()):  # axes that dots stand for
        text = text.replace(number, next(spare))
    lo.step(node, (lo.write(node),), reads, equation=text)
