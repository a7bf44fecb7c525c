"""`stateless`: the pulsed graph with its memory outside, for engines that keep nothing between two calls.

Every `Delay` becomes an input, the items that it holds before the pulse, and an output, those it holds after it; the
caller hands each on to the next pulse. Behind the inputs and outputs of the network they stand in the same order.
"""

from __future__ import annotations

from dataclasses import replace

from pulse.graph import Fact, Graph, Node, ordered
from pulse.peers import NotWritten

BEFORE, AFTER = ".before", ".after"  # what the names of caches end with


def stateless(graph: Graph) -> Graph:
    """The pulsed graph without `Delay` and `Skip`; all caches start as zeros."""
    nodes: list[Node] = []
    inputs, outputs, facts = dict(graph.inputs), dict(graph.outputs), dict(graph.facts)
    same: dict[str, str] = {}  # what a `Skip` makes is what it takes
    for node in graph.nodes:
        node = replace(node, inputs=tuple(same.get(name, name) for name in node.inputs))
        if node.op == "Skip":
            same[node.outputs[0]] = node.inputs[0]
        elif node.op == "Delay":
            cache = _remember(node, nodes, facts)
            inputs[cache + BEFORE] = facts[cache + BEFORE]
            outputs[cache + AFTER] = cache + AFTER
        else:
            nodes.append(node)
    outputs = {name: same.get(value, value) for name, value in outputs.items()}
    return ordered(replace(graph, nodes=tuple(nodes), inputs=inputs, outputs=outputs, facts=facts))


def _remember(node: Node, nodes: list[Node], facts: dict[str, Fact]) -> str:
    """Join what was held to the pulse, and take from it what goes on and what is held from now on."""
    (x,), (late,) = node.inputs, node.outputs
    if node.number("value", 0.0):
        raise NotWritten(node, "its memory does not start as zeros")
    stream = facts[x].stream
    assert stream is not None
    axis, items = stream.axis, facts[x].sizes[stream.axis]
    extra, overlap = node.integer("extra", 0), node.integer("overlap", 0)
    joined = late + ".joined" if extra else late
    nodes.append(Node("Concat", joined, (late + BEFORE, x), (joined,), {"axis": axis}))
    cuts = [(late + AFTER, items, extra + overlap)] + ([(late, 0, overlap + items)] if extra else [])
    for name, start, count in cuts:
        nodes.append(Node("Slice", name, (joined,), (name,), {"axes": (axis,), "starts": (start,), "steps": (1,)}))
        facts[name] = _long(facts[x], axis, count)
    facts[late + BEFORE] = facts[late + AFTER]
    facts[joined] = _long(facts[x], axis, extra + overlap + items)
    return late


def _long(fact: Fact, axis: int, items: int) -> Fact:
    """The fact of as many items of the same stream."""
    return replace(fact, shape=(*fact.shape[:axis], items, *fact.shape[axis + 1 :]))
