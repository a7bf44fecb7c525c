"""Convolutions side by side become one, as processors are best at wide ones; `fuse` applies this last.

Two that read the same value through the same window are one with the filters of both, if neither needs what the other
makes. What they add themselves to is then one value too: in a network of residual and skip sums, both sums travel
together from layer to layer, and parts of them are views.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pulse.graph import Array, Fact, Graph, Node, known, ordered

_ADDEND = 3  # the input of a convolution that is added to its result


def joined(graph: Graph) -> Graph:
    """The same program with such pairs joined."""
    bits = {node.name: 1 << index for index, node in enumerate(graph.nodes)}
    before = _before(graph, bits)
    for first, second in _pairs(graph):
        a, b = bits[first.name], bits[second.name]
        if before[first.name] & b or before[second.name] & a:
            continue
        both = before[first.name] | before[second.name] | a | b
        before = {name: seen | both if seen & (a | b) else seen for name, seen in before.items()}
        before[first.name] = before[second.name] = both & ~(a | b)
        graph = _one(graph, first, second)
    return ordered(graph).check("join")


def _before(graph: Graph, bits: Mapping[str, int]) -> dict[str, int]:
    """For every node, by its name, all nodes that it needs, as bits of one number."""
    producers = graph.producers()
    before: dict[str, int] = {}
    for node in graph.nodes:
        before[node.name] = 0
        for name in node.inputs:
            if name in producers:
                before[node.name] |= before[producers[name].name] | bits[producers[name].name]
    return before


def _pairs(graph: Graph) -> list[tuple[Node, Node]]:
    """Convolutions that differ in their weights and addends only; each is in one pair at most."""
    pairs, waiting = [], dict[object, Node]()
    for node in graph.nodes:
        if node.op != "Conv" or node.integer("group", 1) != 1 or "activation" in node.attributes:
            continue
        kernel = graph.facts[node.inputs[1]].sizes[1:]
        key = (node.inputs[0], kernel, len(node.inputs) > _ADDEND, *sorted(node.attributes.items()))
        if key in waiting:
            pairs.append((waiting.pop(key), node))
        else:
            waiting[key] = node
    return pairs


def _one(graph: Graph, first: Node, second: Node) -> Graph:
    """The graph, not ordered, with one convolution for both, and their values as parts of its own."""
    name = f"{first.name}+{second.name}"
    sizes = tuple(graph.facts[node.outputs[0]].sizes[1] for node in (first, second))
    facts = {**graph.facts, name: _wide(graph.facts[first.outputs[0]], sum(sizes))}
    constants = {**graph.constants, **_weights(graph, name, first, second)}
    inputs, nodes = [first.inputs[0], f"{name}.w", f"{name}.b"], list[Node]()
    if len(first.inputs) > _ADDEND:
        addends = first.inputs[_ADDEND], second.inputs[_ADDEND]
        sums = _whole(graph, addends, sizes) or f"{name}.sums"
        if sums not in facts:
            facts[sums] = _wide(graph.facts[addends[0]], sum(sizes))
            nodes.append(Node("Concat", sums, addends, (sums,), {"axis": 1}))
        inputs.append(sums)
    nodes.append(Node("Conv", name, tuple(inputs), (name,), first.attributes))
    nodes.append(_part(first, name, 0))
    nodes.append(_part(second, name, sizes[0]))
    kept = (node for node in graph.nodes if node is not first and node is not second)
    facts |= {key: known(value) for key, value in constants.items() if key not in facts}
    return replace(graph, nodes=(*kept, *nodes), facts=facts, constants=constants)


def _part(node: Node, whole: str, start: int) -> Node:
    return Node("Slice", node.name, (whole,), node.outputs, {"axes": (1,), "starts": (start,), "steps": (1,)})


def _whole(graph: Graph, parts: tuple[str, str], sizes: tuple[int, ...]) -> str | None:
    """The value that has these parts side by side and nothing else, if there is one."""
    producers = graph.producers()
    cuts = [producers[name] for name in parts if name in producers and producers[name].op == "Slice"]
    if len(cuts) < 2 or cuts[0].inputs != cuts[1].inputs or graph.facts[cuts[0].inputs[0]].sizes[1] != sum(sizes):
        return None
    wanted = [_part(cut, cut.inputs[0], start) for cut, start in zip(cuts, (0, sizes[0]), strict=True)]
    return cuts[0].inputs[0] if wanted == cuts else None


def _wide(fact: Fact, channels: int) -> Fact:
    return replace(fact, shape=(fact.shape[0], channels, *fact.shape[2:]))


def _weights(graph: Graph, name: str, *nodes: Node) -> dict[str, Array]:
    """The weights and biases of the convolutions, one behind the other."""
    weights = [graph.constants[node.inputs[1]] for node in nodes]
    biases = [_bias(graph, node, len(weight)) for node, weight in zip(nodes, weights, strict=True)]
    return {f"{name}.w": np.concatenate(weights), f"{name}.b": np.concatenate(biases)}


def _bias(graph: Graph, node: Node, filters: int) -> Array:
    has = len(node.inputs) > 2 and node.inputs[2]
    return graph.constants[node.inputs[2]] if has else np.zeros(filters, np.float32)
