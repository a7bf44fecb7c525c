"""Rewriting a graph by rules, to a fixed point.

A rule looks at one node and returns a `Patch` or `None`; the driver owns the loop. Patches that share no node are
applied in one sweep, and the facts are inferred again by whoever called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pulse.errors import GraphError
from pulse.graph import Array, Attribute, Fact, Graph, Node, ordered

_MAX_SWEEPS = 100  # a rule set that has not settled by then feeds itself


@dataclass(frozen=True)
class Patch:
    """Nodes to remove and to add, new constants, and values that stand for the outputs of removed nodes.

    The last node of `remove` is the one whose place the new ones take.
    """

    why: str
    remove: tuple[Node, ...]
    add: tuple[Node, ...] = ()
    constants: Mapping[str, Array] = field(default_factory=dict)
    alias: Mapping[str, str] = field(default_factory=dict)


class Site:
    """A node with its surroundings: what a rule may look at."""

    def __init__(self, graph: Graph, node: Node, producers: Mapping[str, Node], uses: Counter[str]) -> None:
        self.graph = graph
        self.node = node
        self._producers = producers
        self._uses = uses

    def producer(self, name: str, *ops: str) -> Node | None:
        """The node that computes `name`, if it is one of `ops`."""
        node = self._producers.get(name)
        return node if node is not None and node.op in ops else None

    def sole(self, name: str, *ops: str) -> Node | None:
        """The same, if nothing but one input reads `name`."""
        return self.producer(name, *ops) if self._uses[name] == 1 else None

    def constant(self, index: int) -> Array | None:
        """The content of the input `index`, if it is known."""
        inputs = self.node.inputs
        return self.graph.facts[inputs[index]].value if index < len(inputs) and inputs[index] else None

    @property
    def given(self) -> list[Fact | None]:
        """The facts of the inputs, `None` for one left out."""
        return [self.graph.facts[name] if name else None for name in self.node.inputs]


class Written:
    """A node written as other nodes: they grow here, and become one patch. `x` is its first input."""

    def __init__(self, site: Site) -> None:
        self.node = site.node
        self.x = site.node.inputs[0]
        self._nodes: list[Node] = []
        self._constants: dict[str, Array] = {}

    def add(self, op: str, *inputs: str | float, **attributes: Attribute) -> str:
        """The value of one more node; numbers are constants of float32."""
        return self._node(op, f"{self.node.outputs[0]}.{len(self._nodes)}", inputs, attributes)

    def constant(self, value: Array) -> str:
        """The name of one more constant."""
        name = f"{self.node.outputs[0]}.c{len(self._constants)}"
        self._constants[name] = value
        return name

    def several(self, op: str, outputs: int, *inputs: str, **attributes: Attribute) -> tuple[str, ...]:
        """The values of one more node that has as many outputs."""
        names = tuple(f"{self.node.outputs[0]}.{len(self._nodes)}.{index}" for index in range(outputs))
        self._nodes.append(Node(op, f"{self.node.name}.{len(self._nodes)}", inputs, names, attributes))
        return names

    def output(self, index: int, value: str) -> None:
        """Hand a value out as the output of that index, if there is one."""
        if index < len(self.node.outputs) and self.node.outputs[index]:
            self._node("Identity", self.node.outputs[index], (value,), {})

    def result(self) -> Patch:
        """All that was written."""
        return Patch(f"{self.node} is written out", (self.node,), tuple(self._nodes), self._constants)

    def patch(self, op: str, *inputs: str | float, **attributes: Attribute) -> Patch:
        """All that was written, and the node that makes the output."""
        self._node(op, self.node.outputs[0], inputs, attributes)
        return self.result()

    def _node(self, op: str, output: str, inputs: tuple[str | float, ...], attributes: dict[str, Attribute]) -> str:
        names = (item if isinstance(item, str) else self.constant(np.asarray(item, np.float32)) for item in inputs)
        self._nodes.append(Node(op, f"{self.node.name}.{len(self._nodes)}", tuple(names), (output,), attributes))
        return output


Rule = Callable[[Site], Patch | None]
Explain = Callable[[str], None]


def rewrite(
    graph: Graph, rules: Sequence[Rule], refresh: Callable[[Graph], Graph], explain: Explain | None = None
) -> Graph:
    """The graph after no rule fires any more; `refresh` brings the facts up to date after every sweep."""
    for _ in range(_MAX_SWEEPS):
        patches = _sweep(graph, rules)
        if not patches:
            return graph
        for patch in patches:
            if explain:
                explain(patch.why)
        graph = refresh(ordered(_apply(graph, patches)))
    raise GraphError(f"the rules {[rule.__name__ for rule in rules]} never settle")


def _sweep(graph: Graph, rules: Sequence[Rule]) -> list[Patch]:
    producers, uses = graph.producers(), graph.uses()
    touched: set[str] = set()
    patches = []
    for node in graph.nodes:
        if node.name in touched:
            continue
        site = Site(graph, node, producers, uses)
        patch = next((patch for rule in rules if (patch := rule(site)) is not None), None)
        if patch is not None and touched.isdisjoint(removed.name for removed in patch.remove):
            touched.update(removed.name for removed in patch.remove)
            patches.append(patch)
    return patches


def _apply(graph: Graph, patches: list[Patch]) -> Graph:
    removed = {node.name for patch in patches for node in patch.remove}
    alias = {old: new for patch in patches for old, new in patch.alias.items()}
    added = {patch.remove[-1].name: patch.add for patch in patches}
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += added.get(node.name, ()) if node.name in removed else (node,)
    renamed = [replace(node, inputs=tuple(_resolve(name, alias) for name in node.inputs)) for node in nodes]
    constants = dict(graph.constants)
    for patch in patches:
        constants |= patch.constants
    outputs = {name: _resolve(value, alias) for name, value in graph.outputs.items()}
    return replace(graph, nodes=tuple(renamed), outputs=outputs, constants=constants)


def _resolve(name: str, alias: Mapping[str, str]) -> str:
    while name in alias:
        name = alias[name]
    return name
