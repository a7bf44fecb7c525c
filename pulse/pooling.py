"""`pooling`: reductions over all of time, which never come out of an endless stream, take its last items instead.

Or they run: every result takes all items that came so far, so that the last one is what the batch model makes of them.

Behind such a reduction the batch model has no time any more; the pulsed one has one result for every item. If that
meets other items of time again, as the weights of squeeze and excite do, time stays on its axis. Otherwise it goes on
in place of the batch, so that a classifier behind it, which flattens, sees a batch of results.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pulse.deviation import with_variances
from pulse.dim import Length
from pulse.errors import NotStreamable
from pulse.graph import Array, Fact, Graph, Node

POOLING = ("GlobalAveragePool", "GlobalMaxPool", "ReduceMax", "ReduceMean", "ReduceVariance")
RUNNING = "running"  # the name of the window of all items so far
ALL_SO_FAR = 0  # its size
_OF_SHAPES = ("Shape", "Size")  # read shapes, and no items
MAX_WINDOW = 1 << 13  # items


def over_window(graph: Graph, window: int | str) -> Graph:
    """The graph whose reductions take the last items of time, or all so far, once they are found to go over it."""
    items = ALL_SO_FAR if window == RUNNING else window
    if not isinstance(items, int) or (window != RUNNING and not 1 <= items <= MAX_WINDOW):
        raise NotStreamable(
            f"pooling: a window of {window} items is impossible; 1 to {MAX_WINDOW} are allowed, and {RUNNING!r}"
        )
    graph = with_variances(graph)
    told: dict[str, Node] = {}
    constants = dict(graph.constants)
    for node in graph.nodes:
        if node.op in POOLING:
            behind = _behind(graph, node)
            marks = {"window": items, "beside": int(behind is None)}
            told[node.name] = replace(node, attributes={**node.attributes, **marks})
            told |= _counted_by_time(graph, behind or set(), constants)
    return replace(graph, nodes=tuple(told.get(node.name, node) for node in graph.nodes), constants=constants)


def _behind(graph: Graph, pool: Node) -> set[str] | None:
    """All that comes of `pool`; `None` if something reads that together with what comes of time on another way."""
    behind, others = set(pool.outputs), {name for name, item in graph.inputs.items() if item.stream}
    beside = _pools_beside(graph, pool)
    for node in graph.nodes:
        if node.name == pool.name or node.op in _OF_SHAPES:
            continue
        if node.name in beside:
            behind.update(node.outputs)
            continue
        if behind.isdisjoint(node.inputs):
            others.update(node.outputs if not others.isdisjoint(node.inputs) else ())
        elif others.isdisjoint(node.inputs):
            behind.update(node.outputs)
        else:
            return None
    return behind


def _pools_beside(graph: Graph, pool: Node) -> set[str]:
    """The pools over the same axes that `pool` does not come of, nor they of it: their results go the same way."""
    alike = [node for node in graph.nodes if node.op in POOLING and _axes(graph, node) == _axes(graph, pool)]
    of = {node.name: _comes_of(graph, node) for node in alike}
    return {node.name for node in alike if node.name not in of[pool.name] and pool.name not in of[node.name]}


def _axes(graph: Graph, pool: Node) -> list[int] | None:
    axes = graph.constants.get(pool.inputs[1]) if len(pool.inputs) > 1 else None
    return None if axes is None else [int(axis) for axis in axes.reshape(-1)]


def _comes_of(graph: Graph, last: Node) -> set[str]:
    """The names of the nodes that `last` is computed from, its own included."""
    producers, found, waiting = graph.producers(), set[str](), [last]
    while waiting:
        node = waiting.pop()
        if node.name not in found:
            found.add(node.name)
            waiting += [producers[name] for name in node.inputs if name in producers]
    return found


def _counted_by_time(graph: Graph, behind: set[str], constants: dict[str, Array]) -> dict[str, Node]:
    """Reshapes whose shape has a batch of 1 in it: that is where time is now, so they keep what there is."""
    told = {}
    for node in graph.nodes:
        shape = graph.constants.get(node.inputs[1]) if node.op == "Reshape" and node.inputs[0] in behind else None
        if shape is not None and shape.size and shape.reshape(-1)[0] == 1 and not node.integer("allowzero", 0):
            name = f"{node.outputs[0]}.shape"
            constants[name] = np.concatenate([[0], shape.reshape(-1)[1:]])
            told[node.name] = replace(node, inputs=(node.inputs[0], name))
    return told


def pooled(node: Node, x: Fact, axes: tuple[int, ...]) -> tuple[Length, ...]:
    """The shape of a reduction over `axes`, one of which is time."""
    assert x.stream is not None
    kept = tuple(1 if axis in axes and axis != x.stream.axis else length for axis, length in enumerate(x.shape))
    keeps = bool(node.integer("keepdims", 1))
    if node.integer("beside", 0) or x.stream.axis == 0:
        if not keeps:
            raise NotStreamable(f"{node} drops the axis of time, which goes on behind it; export it with keepdim=True")
        return kept
    if kept[0] != 1:
        raise NotStreamable(f"{node} pools several streams at once; export it with a batch of 1")
    if 0 in axes:
        raise NotStreamable(f"{node} reduces the batch together with time; reduce time alone")
    swapped = {**dict(enumerate(kept)), 0: x.stream.length, x.stream.axis: 1}
    return tuple(length for axis, length in swapped.items() if keeps or axis not in axes)
