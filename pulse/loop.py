"""A `Loop` over the items of time, as tf2onnx writes the recurrent layers of Keras, as a `Scan`.

Its graph counts, takes the item of that number, and goes on while it has counted to the length of time. What counts and
what decides is left out; what stays the same in every round is read from outside. That all it counts to is the length
of time is left to `infer`, which knows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pulse.errors import UnsupportedOp
from pulse.graph import ABSENT, Array, Attribute, Fact, Graph, Node, ordered
from pulse.opset import WITH_BODIES

_BOOL = 9  # the code of ONNX: this cast is no plain one
_CASTS = ("Cast", "Identity")
_DEEPEST = 24  # nodes between a count and who asks for it
_NOT_YET_KNOWN = Fact("float32", ())


def as_scan(node: Node, body: Graph, outside: Graph) -> Node:
    """The `Scan` that a `Loop` with the graph `body` is; `outside` is the graph around it."""
    loop = _Loop(node, body, outside)
    taken = [item for item in body.nodes if loop.takes(item)]
    goes_on = loop.goes_on(node.inputs[1]) and loop.goes_on(loop.made[0])
    if not taken or not goes_on or node.inputs[0] == ABSENT:
        raise _refused(node)
    states = [index for index in range(len(loop.states)) if index not in (*loop.same, *loop.counting)]
    last = 1 + len(loop.states)
    made = [loop.made[1 + index] for index in states] + loop.made[last:]
    own = [*(loop.states[index] for index in states), *(item.outputs[0] for item in taken)]
    inner = loop.without(taken, own, made)
    sources = [loop.outer(item.inputs[0]) for item in taken]
    captured = list(inner.inputs)[len(own) :]
    if not {*loop.counts, *list(body.inputs)[:2]}.isdisjoint(captured):
        raise _refused(node)
    others = [index for index in range(len(loop.states)) if index not in states]
    collected = node.outputs[last - 1 :] or (f"{node.name}.collected",)
    rest = [name for index in (*states, *others) for name in node.outputs[index : index + 1]]
    reads = (*(node.inputs[2 + index] for index in states), *sources, *captured, node.inputs[0], *loop.lengths)
    axes = tuple(item.integer("axis", 0) for item in taken)
    attributes: dict[str, Attribute] = {"axes": axes, "collected": (0,) * (len(loop.made) - last), "body": inner}
    return Node("Scan", node.name, reads, (*collected, *rest), attributes)


class _Loop:
    """What the values of a loop stand for; `lengths` are the numbers that it counts to."""

    def __init__(self, node: Node, body: Graph, outside: Graph) -> None:
        self._body, self._inside, self._outside = body, body.producers(), outside.producers()
        self._constants = {**outside.constants, **body.constants}
        self._own = list(body.inputs)[: len(node.inputs)]
        count, _, *self.states = self._own
        self.made = list(body.outputs.values())
        self.lengths: list[str] = []
        rounds = [*zip(self.states, node.inputs[2:], self.made[1:], strict=False)]
        self.same = {place for place, (name, _, after) in enumerate(rounds) if self._plain(after, "Identity") == name}
        self._outer = {self.states[place]: node.inputs[2 + place] for place in self.same}
        self.counting = {place for place, row in enumerate(rounds) if self._counts(*row)}
        self.counts = {count, *(self.states[place] for place in self.counting)}
        self._after = {self._plain(self.made[1 + place]) for place in self.counting}

    def outer(self, name: str) -> str:
        """The name outside of what stays the same in every round."""
        return self._outer.get(name, name)

    def takes(self, node: Node) -> bool:
        """Whether a node of the graph takes the item of the number that it has counted to."""
        if node.op != "Gather" or self._plain(node.inputs[1]) not in self.counts:
            return False
        source = self.outer(node.inputs[0])
        return source not in self._inside and source not in self._own

    def goes_on(self, name: str, depth: int = _DEEPEST) -> bool:
        """Whether a condition holds in every round but the last, if all `lengths` are as many as there are rounds."""
        name = self._plain(name)
        node, value = self._producer(name), self._constants.get(name)
        if name == ABSENT or value is not None:
            return value is None or bool(np.all(value))
        if node is None or not depth:
            return False
        if node.op == "And":
            return all(self.goes_on(read, depth - 1) for read in node.inputs)
        count, length = (self._plain(read) for read in node.inputs) if node.op == "Less" else ("", "")
        if not self._below(count) or length in self._inside or length in self._body.constants:
            return False
        self.lengths.append(self.outer(length))
        return True

    def without(self, taken: list[Node], own: list[str], made: list[str]) -> Graph:
        """The graph of one item, which reads what is its `own`, and from outside what it must."""
        items = {node.outputs[0] for node in taken}
        left = [node for node in self._body.nodes if node.outputs[0] not in items]
        kept = tuple(replace(node, inputs=tuple(map(self.outer, node.inputs))) for node in left)
        outputs = {str(index): self.outer(name) for index, name in enumerate(made)}
        graph = ordered(Graph(kept, {}, outputs, self._body.constants))
        known = {*own, *graph.constants, *graph.producers()}
        reads = [*(name for node in graph.nodes for name in node.inputs if name), *outputs.values()]
        captured = dict.fromkeys(name for name in reads if name not in known)
        return replace(graph, inputs=dict.fromkeys((*own, *captured), _NOT_YET_KNOWN)).check("load")

    def _producer(self, name: str) -> Node | None:
        return self._inside.get(name) or self._outside.get(name)

    def _plain(self, name: str, *ops: str) -> str:
        """What a value is before `ops`; a whole number stays what it is when it is cast."""
        for _ in range(_DEEPEST):
            node = self._producer(name)
            if node is None or node.op not in (ops or _CASTS) or node.integer("to", 0) == _BOOL:
                break
            name = node.inputs[0]
        return name

    def _counts(self, name: str, begin: str, after: str) -> bool:
        """Whether a state is 0, 1, 2 and so on."""
        node, first = self._inside.get(self._plain(after)), self._constants.get(begin)
        if node is None or node.op != "Add" or first is None or first.shape != () or first != 0:
            return False
        step = next((other for other in node.inputs if self._plain(other) != name), "")
        value = self._constants.get(step)
        return name in map(self._plain, node.inputs) and value is not None and value.size == 1 and bool(value == 1)

    def _below(self, name: str) -> bool:
        """Whether a value is a number of a round, or of the next one, or 0."""
        value: Array | None = self._constants.get(name)
        return name in self.counts or name in self._after or (value is not None and not np.any(value))


def _refused(node: Node) -> UnsupportedOp:
    said = f"load: {node} is a graph within the graph that does not walk along time"
    return UnsupportedOp(f"{said}; {WITH_BODIES['Loop']}")
