"""The pulsed graph while it grows: what every rule of `pulsify` builds with. No rule for any op is here."""

from __future__ import annotations

import math
from dataclasses import replace

from pulse.dim import Dim
from pulse.errors import NotStreamable
from pulse.graph import Array, Attribute, Fact, Graph, Node, known

MAX_DELAY = 1 << 15  # items


class Pulsifier:
    """The pulsed graph while it grows; `batch` is the graph it is made from."""

    def __init__(self, batch: Graph, pulse: int) -> None:
        self._known = dict(batch.facts)
        self.batch = replace(batch, facts=self._known)
        self.pulse = pulse
        self.steps = math.lcm(*(length.rate.denominator for length in _lengths(batch)))
        self.made_from = {node.name: node for node in batch.nodes}
        self.nodes: list[Node] = []
        self.facts: dict[str, Fact] = {}
        self.constants: dict[str, Array] = {}
        for name in (*batch.inputs, *batch.constants):
            self.facts[name] = self.pulsed(batch.facts[name], 0, f"the input {name!r}")

    def result(self) -> Graph:
        """The finished graph."""
        inputs = {name: self.facts[name] for name in self.batch.inputs}
        constants = {**self.batch.constants, **self.constants}
        return replace(self.batch, nodes=tuple(self.nodes), inputs=inputs, facts=self.facts, constants=constants)

    def pulsed(self, fact: Fact, delay: int, what: object) -> Fact:
        """What a batch fact becomes: time is as long as the items of one pulse."""
        if fact.stream is None:
            return fact
        items = fact.stream.length.rate * self.pulse
        if items.denominator != 1 or items < 1:
            raise NotStreamable(
                f"pulsify: {what} has {fact.stream.length.rate} items per input item, so a pulse of {self.pulse} is no "
                f"whole number of them; a multiple of {self.steps} works, such as {self.suggestion()}"
            )
        return replace(resized(fact, int(items)), stream=replace(fact.stream, delay=delay))

    def suggestion(self) -> int:
        """The smallest pulse that works and is not smaller than the one asked for."""
        return -(-self.pulse // self.steps) * self.steps

    def given(self, node: Node) -> list[Fact | None]:
        """The batch facts of the inputs of `node`."""
        return [self.batch.facts[name] if name else None for name in node.inputs]

    def axis(self, node: Node) -> int | None:
        """The stream axis of the first input of `node`, if it has one."""
        stream = self.batch.facts[node.inputs[0]].stream
        return stream.axis if stream else None

    def delay_before(self, node: Node) -> int:
        """The delay of the first input of `node`; what has no time is never late."""
        stream = self.facts[node.inputs[0]].stream
        return stream.delay if stream else 0

    def least_delay(self, name: str) -> int:
        """Items that must be waited for: with fewer, items would come out that the batch value, cut short, lacks."""
        length = self.batch.facts[name].stream
        return max(0, -length.length.at(0)) if length else 0

    def refuse(self, node: Node, why: str) -> NotStreamable:
        """The error that names the node."""
        return NotStreamable(f"pulsify: {node} {why}")

    def emit(self, node: Node, delay: int, **attributes: Attribute) -> None:
        """Add `node` with other `attributes`; its outputs are those of the batch graph, `delay` items late."""
        self.nodes.append(replace(node, attributes={**node.attributes, **attributes}))
        if delay > MAX_DELAY:
            raise self.refuse(
                self.made_from[node.name], f"would be {delay} items late; at most {MAX_DELAY} are allowed"
            )
        for name in node.outputs:
            assert delay >= self.least_delay(name)
            self.facts[name] = self.pulsed(self.batch.facts[name], delay, node)

    def between(self, op: str, name: str, inputs: tuple[str, ...], made: Fact, **attributes: Attribute) -> str:
        """Add a node that the batch graph does not have; `name` is its own and that of the value it makes."""
        self.nodes.append(Node(op, name, inputs, (name,), attributes))
        self.facts[name] = made
        return name

    def constant(self, name: str, value: Array) -> str:
        """Add a constant that the batch graph does not have."""
        self.constants[name], self.facts[name] = value, known(value)
        return name

    def know(self, name: str, item: Fact | None = None) -> str:
        """Let rules see a value without time that the batch graph does not have; its fact is that of the pulse."""
        self._known[name] = self.facts[name] if item is None else item
        return name

    def meet(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
        """The same values, all as late as the latest stream among them, and that delay."""
        streams = [self.facts[name].stream for name in names if name]
        latest = max((stream.delay for stream in streams if stream), default=0)
        return tuple(self.late(name, latest) if name else name for name in names), latest

    def late(self, name: str, until: int) -> str:
        """The value, brought to the delay `until`."""
        stream = self.facts[name].stream
        return self.delay(name, until - stream.delay) if stream else name

    def delay(self, name: str, extra: int, overlap: int = 0, value: float = 0.0) -> str:
        """The value `extra` items late and with the last `overlap` items in front; one node serves all who ask."""
        stream = self.facts[name].stream
        if extra == overlap == 0:
            return name
        assert stream is not None
        late = f"{name}.late{extra}" + (f"+{overlap}" if overlap else "") + (f"={value:g}" if value else "")
        if late not in self.facts:
            items = self.facts[name].sizes[stream.axis] + overlap
            attributes = {"extra": extra, "overlap": overlap, "value": value}
            self.nodes.append(Node("Delay", late, (name,), (late,), attributes))
            moved = replace(stream, delay=stream.delay + extra)
            self.facts[late] = replace(resized(self.facts[name], items), stream=moved)
        return late

    def fill(self, name: str, until: int, value: float) -> str:
        """The value with its items below `until` replaced by `value`."""
        filled = f"{name}.fill{until}={value:g}"
        if filled not in self.facts:
            self.nodes.append(Node("Fill", filled, (name,), (filled,), {"until": until, "value": value}))
            self.facts[filled] = self.facts[name]
        return filled


def _lengths(graph: Graph) -> list[Dim]:
    return [fact.stream.length for fact in graph.facts.values() if fact.stream]


def resized(fact: Fact, items: int) -> Fact:
    """The fact with `items` on the axis of time."""
    assert fact.stream is not None
    return replace(fact, shape=tuple(items if axis == fact.stream.axis else n for axis, n in enumerate(fact.shape)))
