"""How far values see: the receptive field, from the windows and delays of the pulsed graph.

What a recurrent layer or a running sum remembers has no end, and is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

from pulse.graph import Graph, Node


def receptive_field(graph: Graph) -> int:
    """Input items that reach one item of the output that sees most."""
    seen = fields(graph)
    return max((seen[value] for value in graph.outputs.values() if value in seen), default=1)


def fields(graph: Graph) -> Mapping[str, int]:
    """Input items that reach one item of every value that depends on an input with time.

    Walks with the first and last input item, relative to its own place, that every value sees.
    """
    streams = [name for name, item in graph.inputs.items() if item.stream]
    seen: dict[str, tuple[Fraction, Fraction]] = dict.fromkeys(streams, (Fraction(0), Fraction(0)))
    for node in graph.nodes:
        spans = [seen[name] for name in node.inputs if name in seen]
        if not spans:
            continue  # made from constants, such as the count of items under a window
        stream = graph.facts[node.inputs[0]].stream
        item = 1 / stream.length.rate if stream else Fraction(0)
        back = (node.integer("extra", 0) + node.integer("overlap", 0)) * item
        reach = _reach(node, stream.axis - 2 if stream else -1) * item
        span = min(span[0] for span in spans) - back, max(span[1] for span in spans) - back + reach
        seen.update(dict.fromkeys(node.outputs, span))
    return {name: math.ceil(last - first) + 1 for name, (first, last) in seen.items()}


def _reach(node: Node, axis: int) -> int:
    """Items behind the first one that a window sees, if it slides along time."""
    if node.op == "Unfold":
        return (node.integer("taps", 1) - 1) * node.integer("dilation", 1)
    kernel = node.integers("kernel", ())
    if not 0 <= axis < len(kernel):
        return 0
    return (kernel[axis] - 1) * node.integers("dilation", ())[axis]
