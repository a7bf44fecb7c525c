"""The places of the maxima that a `MaxPool` hands out, off time."""

from __future__ import annotations

import math

import numpy as np

from pulse.composite import FLOAT, INT
from pulse.graph import Array
from pulse.rewrite import Patch, Site, Written
from pulse.sliding import LOWEST
from pulse.window import windows


def places_of_maxima(site: Site) -> Patch | None:
    """max(taps), and min((taps == max(taps)) * (place - n)) + n: the first place of n that holds the maximum"""
    node = site.node
    if node.op != "MaxPool" or not any(node.outputs[1:]):
        return None
    y, shape = Written(site), site.graph.facts[node.inputs[0]].sizes
    many, size = math.prod(shape[:2]), math.prod(shape[2:])
    read, told = _places(site, shape[2:])
    lines = y.add("Reshape", y.x, y.constant(np.array([*shape[:2], size])))
    beyond = y.add("Pad", lines, y.constant(np.array([0, 0, 0, 0, 0, 1])), LOWEST["float32"])
    taps, axis = y.add("Gather", beyond, y.constant(read), axis=2), y.constant(np.array([3]))
    top = y.add("ReduceMax", taps, axis, keepdims=1)
    found = y.add(
        "Mul", y.add("Cast", y.add("Equal", taps, top), to=FLOAT), y.constant((told - size).astype(np.float32))
    )
    first = size * (1 + np.arange(many, dtype=np.float32).reshape(*shape[:2], 1))
    place = y.add("Add", y.add("ReduceMin", found, axis, keepdims=0), y.constant(first))
    made = y.constant(np.array(site.graph.facts[node.outputs[0]].sizes))
    y.output(1, y.add("Cast", y.add("Reshape", place, made), to=INT))
    return y.patch("Reshape", top, made)


def _places(site: Site, lengths: tuple[int, ...]) -> tuple[Array, Array]:
    """The places (windows, taps) that are read, those of padding behind all others, and those that are told."""
    slides = windows(site.node, site.node.integers("kernel_shape", ()), lengths)
    rank, along = len(lengths), []
    for axis, (slide, length) in enumerate(zip(slides, lengths, strict=True)):
        count = slide.length(length)
        assert isinstance(count, int)
        at = slide.stride * np.arange(count)[:, None] + slide.dilation * np.arange(slide.kernel) - slide.before
        others = [place for place in range(2 * rank) if place not in (axis, rank + axis)]
        along.append(np.expand_dims(at, others))
    rows = list(zip(np.broadcast_arrays(*along), lengths, strict=True))
    outside = np.logical_or.reduce([(at < 0) | (at >= length) for at, length in rows])
    within, taps = tuple(np.clip(at, 0, length - 1) for at, length in rows), math.prod(slide.kernel for slide in slides)
    by_rows, by_columns = (np.ravel_multi_index(within, lengths, order=order) for order in ("C", "F"))
    told = by_columns if site.node.integer("storage_order", 0) else by_rows
    read, told = (np.where(outside, math.prod(lengths), places).reshape(-1, taps) for places in (by_rows, told))
    return read, told
