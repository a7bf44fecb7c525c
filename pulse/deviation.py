"""Variances as exporters write them, found again: the mean of squares of what is left when a mean is taken away.

A mean that runs is another one for every item, so the squares of what is left now say nothing of the variance later.
Hence it has an op of its own, `ReduceVariance`, before anything is known of shapes; `correction` is what it divides by
less than the number of items.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pulse.graph import Array, Graph, Node, ordered


def with_variances(graph: Graph) -> Graph:
    """The graph with a `ReduceVariance` in place of every variance that is written out."""
    for found in (_variance, _corrected):
        producers = graph.producers()
        swapped = {node.name: found(graph, producers, node) or node for node in graph.nodes}
        graph = replace(graph, nodes=tuple(swapped[node.name] for node in graph.nodes))
    return ordered(graph)


def _made(producers: dict[str, Node], node: Node, index: int, *ops: str) -> Node | None:
    """The node behind an input, if it is one of `ops`."""
    made = producers.get(node.inputs[index]) if index < len(node.inputs) else None
    return made if made is not None and made.op in ops else None


def _content(graph: Graph, node: Node, index: int) -> Array | None:
    return graph.constants.get(node.inputs[index]) if index < len(node.inputs) else None


def _variance(graph: Graph, producers: dict[str, Node], node: Node) -> Node | None:
    """mean((x - mean(x))^2)"""
    square = _made(producers, node, 0, "Mul", "Pow") if node.op == "ReduceMean" else None
    apart = _made(producers, square, 0, "Sub") if square and _is_square(graph, square) else None
    means = [(_made(producers, apart, index, "ReduceMean"), 1 - index) for index in (1, 0)] if apart else []
    mean = next((mean for mean, other in means if mean and apart and mean.inputs[0] == apart.inputs[other]), None)
    if mean is None:
        return None
    axes, others = _content(graph, node, 1), _content(graph, mean, 1)
    if not mean.integer("keepdims", 1) or axes is None or others is None or not np.array_equal(axes, others):
        return None
    return replace(node, op="ReduceVariance", inputs=(mean.inputs[0], node.inputs[1]))


def _is_square(graph: Graph, node: Node) -> bool:
    if node.op == "Mul":
        return node.inputs[0] == node.inputs[1]
    power = _content(graph, node, 1)
    return power is not None and power.size == 1 and bool(np.all(power == 2))


def _corrected(graph: Graph, producers: dict[str, Node], node: Node) -> Node | None:
    """variance(x) * n / (n - 1), with n items"""
    times = _made(producers, node, 0, "Mul") if node.op == "Div" else None
    less = _made(producers, node, 1, "Sub") if times else None
    variance = _made(producers, times, 0, "ReduceVariance") if times else None
    if times is None or less is None or variance is None or less.inputs[0] != times.inputs[1]:
        return None
    one = _content(graph, less, 1)
    if one is None or one.size != 1 or not np.all(one == 1) or not _is_count(graph, producers, (less, variance)):
        return None
    attributes = {**variance.attributes, "correction": 1}
    return replace(node, op="ReduceVariance", inputs=variance.inputs, attributes=attributes)


def _is_count(graph: Graph, producers: dict[str, Node], pair: tuple[Node, Node]) -> bool:
    """Whether the first input of the first node is the number of items that the second one reduces."""
    less, variance = pair
    cast = _made(producers, less, 0, "Cast")
    product = _made(producers, cast, 0, "ReduceProd") if cast else None
    lengths = _made(producers, product, 0, "Gather") if product else None
    shape = _made(producers, lengths, 0, "Shape") if lengths else None
    if lengths is None or shape is None or shape.inputs[0] != variance.inputs[0] or shape.integer("start", 0):
        return False
    taken, axes = _content(graph, lengths, 1), _content(graph, variance, 1)
    return taken is not None and axes is not None and np.array_equal(taken.reshape(-1), axes.reshape(-1))
