"""`pooling`: reductions over all of time, which never come out of an endless stream, take its last items instead.

Or they run: every result takes all items that came so far, so that the last one is what the batch model makes of them.

Behind such a reduction the batch model has no time any more; the pulsed one has one result for every item. If that
meets other items of time again, as the weights of squeeze and excite do, time stays on its axis. Otherwise it goes on
in place of the batch, so that a classifier behind it, which flattens, sees a batch of results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pulse.argument import need
from pulse.deviation import with_variances
from pulse.errors import NotStreamable, PulseError
from pulse.graph import ABSENT, Array, Fact, Graph, Node, known
from pulse.infer import followed
from pulse.layers import ALL_SO_FAR, reduced

GLOBAL = ("GlobalAveragePool", "GlobalMaxPool")  # over all axes behind the channels
POOLING = (*GLOBAL, "ReduceMax", "ReduceMean", "ReduceVariance")
RUNNING = "running"  # the name of the window of all items so far
_OF_SHAPES = ("Shape", "Size")  # read shapes, and no items
MAX_WINDOW = 1 << 13  # items
MAX_POOLS = 256  # over time; each is followed through the whole graph


def over_window(graph: Graph, window: int | str) -> Graph:
    """The graph whose reductions take the last items of time, or all so far, where they go over it."""
    items = ALL_SO_FAR if window == RUNNING else window
    if not isinstance(items, int) or (window != RUNNING and not 1 <= items <= MAX_WINDOW):
        raise NotStreamable(
            f"pooling: a window of {window} items is impossible; 1 to {MAX_WINDOW} are allowed, and {RUNNING!r}"
        )
    graph = with_variances(graph)
    facts: dict[str, Fact] = {**graph.inputs, **{name: known(value) for name, value in graph.constants.items()}}
    told: dict[str, Node] = {}
    constants = dict(graph.constants)
    pools = 0
    for node in graph.nodes:
        if node.op in POOLING and _over_time(node, facts):
            pools += 1
            if pools > MAX_POOLS:
                raise NotStreamable(f"pooling: {node} is one reduction over time more than {MAX_POOLS}; use fewer")
            behind = _behind(graph, node)
            marks = {"window": items, "beside": int(behind is None)}
            told[node.name] = replace(node, attributes={**node.attributes, **marks})
            reshapes = _counted_by_time(graph, behind or set(), constants)
            told |= reshapes
            facts |= {made.inputs[1]: known(constants[made.inputs[1]]) for made in reshapes.values()}
        facts |= followed(told.get(node.name, node), facts)
    return replace(graph, nodes=tuple(told.get(node.name, node) for node in graph.nodes), constants=constants)


def _over_time(pool: Node, facts: Mapping[str, Fact]) -> bool:
    """Whether one of the axes that a reduction goes over is time; not if too little is known: `infer` is to say so."""
    try:
        given = [facts[name] if name else None for name in pool.inputs]
        x = need(pool, given, 0)
        axes = range(2, len(x.shape)) if pool.op in GLOBAL else reduced(pool, given)
    except (KeyError, PulseError):
        return False
    return x.stream is not None and x.stream.axis in axes


def _behind(graph: Graph, pool: Node) -> set[str] | None:
    """All that comes of `pool`; `None` if something reads that together with what comes of time on another way."""
    behind, others = {*pool.outputs}, {name for name, item in graph.inputs.items() if item.stream}
    beside = _pools_beside(graph, pool)
    for node in graph.nodes:
        read, made = ({*names} - {ABSENT} for names in (node.inputs, node.outputs))
        if node.name == pool.name or node.op in _OF_SHAPES:
            continue
        if node.name in beside:
            behind |= made
        elif behind.isdisjoint(read):
            others |= made if not others.isdisjoint(read) else set()
        elif others.isdisjoint(read):
            behind |= made
        else:
            return None
    return behind


def _pools_beside(graph: Graph, pool: Node) -> set[str]:
    """The pools over the same axes that `pool` does not come of, nor they of it: their results go the same way."""
    alike = {node.name for node in graph.nodes if node.op in POOLING and _axes(graph, node) == _axes(graph, pool)}
    return alike - _before(graph, pool) - _after(graph, pool)


def _axes(graph: Graph, pool: Node) -> list[int] | None:
    axes = graph.constants.get(pool.inputs[1]) if len(pool.inputs) > 1 else None
    return None if axes is None else [int(axis) for axis in axes.reshape(-1)]


def _before(graph: Graph, last: Node) -> set[str]:
    """The names of the nodes that `last` is computed from, its own included."""
    found, wanted = {last.name}, {*last.inputs} - {ABSENT}
    for node in reversed(graph.nodes):
        if not wanted.isdisjoint(node.outputs):
            found.add(node.name)
            wanted |= {*node.inputs} - {ABSENT}
    return found


def _after(graph: Graph, first: Node) -> set[str]:
    """The names of the nodes that are computed from `first`."""
    found, made = set[str](), {*first.outputs} - {ABSENT}
    for node in graph.nodes:
        if not made.isdisjoint(node.inputs):
            found.add(node.name)
            made |= {*node.outputs} - {ABSENT}
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
