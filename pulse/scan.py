"""`Scan`: a graph that is computed for one item of time after the other, and hands its states on to the next one.

Theory of operation. The graph within has no time: it is inferred and decluttered as any other, from the facts of one
item. In a pulse its nodes are there once for each item. Three nodes tie them together:

* `Recall(initial)`: the states that the pulse before has left, or those that all begins with.
* `Keep(recalled, old, new)`: the new state, but the old one for an item of the warm-up, which no state may see.
* `Store(recalled, last, collected)`: leaves the last states for the next pulse, and hands on what was collected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pulse.argument import Given, axis_of, need
from pulse.dim import Length
from pulse.errors import GraphError, NotStreamable
from pulse.graph import Fact, Graph, Node, fact
from pulse.pulsifier import Pulsifier

MAX_UNROLLED = 1 << 14  # nodes of one pulse


@dataclass(frozen=True)
class _Parts:
    """Where what is among the inputs and outputs of a node."""

    body: Graph
    states: int
    axes: tuple[int, ...]
    collected: tuple[int, ...]

    @property
    def items(self) -> range:
        """The inputs that are walked along."""
        return range(self.states, self.states + len(self.axes))


def _parts(node: Node) -> _Parts:
    body, axes, collected = node.attributes["body"], node.integers("axes", ()), node.integers("collected", ())
    assert isinstance(body, Graph)
    return _Parts(body, len(body.outputs) - len(collected), axes, collected)


def opened(node: Node, given: Given) -> Graph:
    """The graph within, given what one item gives it."""
    parts, facts, constants = _parts(node), {}, {}
    for index, name in enumerate(parts.body.inputs):
        item = need(node, given, index)
        if index in parts.items:
            axis = axis_of(node, parts.axes[index - parts.states], len(item.shape))
            if item.stream and item.stream.axis != axis:
                raise NotStreamable(f"{node} walks along axis {axis}, which is not time; transpose in front of it")
            facts[name] = fact((*item.shape[:axis], *item.shape[axis + 1 :]), item.dtype)
            continue
        if item.stream:
            what = "begins with a state that depends" if index < parts.states else f"reads {name!r}, which depends"
            raise NotStreamable(f"{node} {what} on time, from outside its graph; let it walk along that too")
        facts[name] = fact(item.shape, item.dtype)
        if item.value is not None and index >= parts.states:
            constants[name] = item.value
    length = _length(node, given)
    for index in range(len(parts.body.inputs), len(node.inputs)):
        rounds = need(node, given, index).value
        if rounds is None or rounds.size != 1 or rounds.reshape(-1)[0] != length:
            raise NotStreamable(f"{node} does not walk along all of time; let it go on to the last item")
    return replace(parts.body, inputs=facts, constants={**parts.body.constants, **constants}, facts={})


def _length(node: Node, given: Given) -> Length:
    """How many items there are."""
    parts = _parts(node)
    items = [need(node, given, index) for index in parts.items]
    axes = [axis_of(node, axis, len(item.shape)) for axis, item in zip(parts.axes, items, strict=True)]
    lengths = {item.shape[axis] for axis, item in zip(axes, items, strict=True)}
    if len(lengths) > 1:
        raise GraphError(f"{node} walks along {' and '.join(sorted(str(length) for length in lengths))} items at once")
    return lengths.pop()


def handed_out(node: Node, given: Given, body: Graph) -> list[Fact]:
    """The facts of the outputs, from those of the graph within."""
    parts, length = _parts(node), _length(node, given)
    made = [body.facts[value] for value in body.outputs.values()]
    states, items = made[: parts.states], made[parts.states :]
    for index, last in enumerate(states):
        first = need(node, given, index)
        if (first.shape, first.dtype) != (last.shape, last.dtype):
            raise GraphError(f"{node} makes the state {last} of {first}")
    if not isinstance(length, int) and any(node.outputs[len(items) :]):
        raise NotStreamable(f"{node} hands out its last state, which never comes; collect all of its states instead")
    axes = [axis_of(node, axis, len(item.shape) + 1) for axis, item in zip(parts.collected, items, strict=True)]
    shapes = [(*item.shape[:axis], length, *item.shape[axis:]) for axis, item in zip(axes, items, strict=True)]
    collected = [fact(shape, item.dtype) for shape, item in zip(shapes, items, strict=True)]
    return [*collected, *(fact(item.shape, item.dtype) for item in states)]


def unrolled(p: Pulsifier, node: Node, body: Graph, emit: Callable[[Node], None]) -> None:
    """The nodes of one pulse; `emit` adds one of the graph within, of which `body` has the facts."""
    walk = _Unrolling(p, node, body)
    if walk.items * len(body.nodes) > MAX_UNROLLED:
        raise p.refuse(
            node,
            f"makes {walk.items * len(body.nodes)} nodes of {walk.items} items, more than {MAX_UNROLLED}; "
            f"a pulse that is {-(-walk.items * len(body.nodes) // MAX_UNROLLED)} times shorter works",
        )
    for item in range(walk.items):
        for inner in walk.nodes(item):
            emit(inner)
        walk.hand_on(item)
    walk.finish()


class _Unrolling:
    """One `Scan` in one pulse: the states and what was collected so far."""

    def __init__(self, p: Pulsifier, node: Node, body: Graph) -> None:
        self.p, self.node, self.body, self.parts = p, node, body, _parts(node)
        states, many = self.parts.states, len(self.parts.axes)
        self.walked, self.delay = p.meet(node.inputs[states : states + many])
        shape = p.facts[self.walked[0]].sizes
        self.items = shape[self.parts.axes[0] % len(shape)]
        self.timed = p.facts[self.walked[0]].stream is not None
        self.names = dict(zip(list(body.inputs)[states + many :], node.inputs[states + many :], strict=False))
        for name, value in body.constants.items():
            self.names[name] = p.constant(f"{node.name}.{name}", value)
            p.know(self.names[name])
        self.recalled = [self._recalled(index) for index in range(states)]
        self.states = list(self.recalled)
        self.collected: list[list[str]] = [[] for _ in self.parts.collected]

    def _recalled(self, index: int) -> str:
        initial, name = self.node.inputs[index], f"{self.node.name}.state{index}"
        if not self.timed:
            return initial
        made = replace(self.p.facts[initial], value=None)
        return self.p.know(self.p.between("Recall", name, (initial,), made, wait=self.delay))

    def nodes(self, item: int) -> Iterator[Node]:
        """The graph within for one item of the pulse."""
        p, prefix, inputs = self.p, f"{self.node.name}[{item}]", list(self.body.inputs)
        self.names |= dict(zip(inputs, self.states, strict=False))
        rows = zip(inputs[self.parts.states :], self.walked, self.parts.axes, strict=False)
        self.names |= {name: self._taken(f"{prefix}.{name}", walked, axis, item) for name, walked, axis in rows}
        for inner in self.body.nodes:
            for name in filter(None, inner.outputs):
                self.names[name] = p.know(f"{prefix}.{name}", self.body.facts[name])
            reads, made = (tuple(self.names.get(name, "") for name in names) for names in (inner.inputs, inner.outputs))
            yield replace(inner, name=f"{prefix}.{inner.name}", inputs=reads, outputs=made)

    def _taken(self, name: str, walked: str, axis: int, item: int) -> str:
        """One item of what is walked along."""
        whole = self.p.facts[walked]
        place = axis % len(whole.shape)
        one, cut = _one(whole, place), {"axes": (place,), "starts": (item,), "steps": (1,)}
        thin = self.p.between("Slice", f"{name}.1", (walked,), one, **cut)
        inside = fact((*one.shape[:place], *one.shape[place + 1 :]), whole.dtype)
        return self.p.know(self.p.between("Reshape", name, (thin,), inside))

    def hand_on(self, item: int) -> None:
        """Behind an item: its states are those of the next one, and what it hands out is collected."""
        made = [self.names[value] for value in self.body.outputs.values()]
        for index, new in enumerate(made[: self.parts.states]):
            if self.delay and self.timed:
                reads, name = (self.recalled[index], self.states[index], new), f"{self.node.name}[{item}].state{index}"
                kept = replace(self.p.facts[self.recalled[index]], value=None)
                new = self.p.know(self.p.between("Keep", name, reads, kept, item=item))
            self.states[index] = new
        for row, name in zip(self.collected, made[self.parts.states :], strict=True):
            row.append(name)

    def finish(self) -> None:
        """Behind the last item: what was collected is joined, and the states stay for the next pulse."""
        rows = zip(self.node.outputs, self.collected, self.parts.collected, strict=False)
        values = [*(self._joined(name, row, axis) if name else "" for name, row, axis in rows), *self.states]
        handed = {name: value for name, value in zip(self.node.outputs, values, strict=False) if name}
        recalled, last = (self.recalled, self.states) if self.timed else ([], [])
        store = Node("Store", self.node.name, (*recalled, *last, *handed.values()), tuple(handed))
        self.p.emit(store, self.delay, states=len(recalled), items=self.items)

    def _joined(self, output: str, row: list[str], axis: int) -> str:
        whole = self.p.pulsed(self.p.batch.facts[output], self.delay, self.node)
        place = axis % len(whole.shape)
        one = _one(whole, place)
        items = [self.p.between("Reshape", f"{output}.{index}", (name,), one) for index, name in enumerate(row)]
        return self.p.between("Concat", f"{output}.joined", tuple(items), whole, axis=place)


def _one(whole: Fact, place: int) -> Fact:
    """The fact of one item of an axis, which stays."""
    return fact(tuple(1 if index == place else size for index, size in enumerate(whole.sizes)), whole.dtype)
