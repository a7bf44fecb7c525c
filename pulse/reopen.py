"""A network that was exported with a fixed length of time, made endless again.

A fixed length leaves its mark in the file: exporters put it, and lengths computed from it, as plain numbers where a
value is reshaped, cut or expanded. The network is inferred once as it is written and once with its time open; where
both walks see the same axis, the number that stands for its length becomes the length.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pulse.argument import axis_of
from pulse.dim import Dim, Length
from pulse.graph import Array, Fact, Graph, Node, known
from pulse.infer import followed, infer

Facts = Mapping[str, Fact]
Opening = Callable[[Node, Facts, Facts], Array | None]


def reopened(graph: Graph, fixed: Facts) -> Graph:
    """`graph`, whose inputs are open, without the traces of their `fixed` shapes; `load` has made it."""
    closed = infer(replace(graph, inputs={**graph.inputs, **fixed})).facts
    facts: dict[str, Fact] = {**graph.inputs, **{name: known(value) for name, value in graph.constants.items()}}
    nodes, constants = [], dict(graph.constants)
    for node in graph.nodes:
        if all(name in facts for name in node.inputs if name):
            opened = _opened(node, facts, closed)
            if opened is not None:
                index, value = opened
                name = f"{node.outputs[0]}.open"
                constants[name], facts[name] = value, known(value)
                node = replace(node, inputs=(*node.inputs[:index], name, *node.inputs[index + 1 :]))
            facts |= followed(node, facts)
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _opened(node: Node, facts: Facts, closed: Facts) -> tuple[int, Array] | None:
    """Which input of `node` is a constant that must change, and to what."""
    if node.op not in OPENINGS or not facts[node.inputs[0]].stream:
        return None
    index, opening = OPENINGS[node.op]
    known_there = index < len(node.inputs) and facts[node.inputs[index]].value is not None
    value = opening(node, facts, closed) if known_there else None
    return None if value is None else (index, value)


def _reshape(node: Node, facts: Facts, closed: Facts) -> Array | None:
    """The number that has as many items in front of it as time has is time."""
    x, before, after = facts[node.inputs[0]], closed[node.inputs[0]].shape, closed[node.outputs[0]].shape
    assert x.stream is not None
    for axis, length in enumerate(after):
        in_front = math.prod(_numbers(after[:axis])) == math.prod(_numbers(before[: x.stream.axis]))
        if length == before[x.stream.axis] and in_front:
            return _with(facts[node.inputs[1]], axis, x.stream.length)
    return None


def _slice(node: Node, facts: Facts, closed: Facts) -> Array | None:
    """An end counted from the front is counted from the end of time."""
    x, ends, axes = facts[node.inputs[0]], _listed(node, facts, 2), _listed(node, facts, 3)
    assert x.stream is not None
    length = closed[node.inputs[0]].shape[x.stream.axis]
    for index, end in enumerate(ends):
        axis = axis_of(node, int(axes[index]) if len(axes) else index, len(x.shape))
        counted = not isinstance(end, Dim) and not isinstance(length, Dim) and 0 <= end < length
        if axis == x.stream.axis and counted:
            return _with(facts[node.inputs[2]], index, x.stream.length + int(end - length))
    return None


def _listed(node: Node, facts: Facts, index: int) -> list[Any]:
    """The numbers of a constant input, none if it is left out."""
    value = facts[node.inputs[index]].value if index < len(node.inputs) and node.inputs[index] else None
    return [] if value is None else list(value.reshape(-1))


def _expand(node: Node, facts: Facts, closed: Facts) -> Array | None:
    """Time is as long as it is."""
    x, shape = facts[node.inputs[0]], facts[node.inputs[1]]
    assert x.stream is not None and shape.value is not None
    axis = shape.value.size - len(x.shape) + x.stream.axis
    return _with(shape, axis, 1) if axis >= 0 else None


def _numbers(shape: tuple[Length, ...]) -> list[int]:
    return [length for length in shape if not isinstance(length, Dim)]


def _with(shape: Fact, index: int, length: Length) -> Array:
    assert shape.value is not None
    value = shape.value.reshape(-1).astype(object)
    value[index] = length
    return value if any(isinstance(number, Dim) for number in value) else value.astype(np.int64)


OPENINGS: Mapping[str, tuple[int, Opening]] = {"Expand": (1, _expand), "Reshape": (1, _reshape), "Slice": (2, _slice)}
