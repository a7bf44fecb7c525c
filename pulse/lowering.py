"""The steps and slots of a plan while they grow: what every rule of `lower` builds with. No rule for any op is here."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from pulse.errors import GraphError, NotStreamable
from pulse.graph import Array, Graph, Node
from pulse.header import MAX_NUMBERS, MAX_STEPS
from pulse.place import Draft
from pulse.step import KINDS, NUMBER, Parameter, Step, View, held, numbers, packed_strides


class Lowering:
    """One for each plan."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.drafts: list[Draft] = []
        self.steps: list[Step] = []
        self.views: dict[str, View] = {}
        for name, item in graph.inputs.items():
            self.views[name] = self.arena(item.sizes, kind=held(item.dtype))

    def arena(self, shape: tuple[int, ...], order: tuple[int, ...] | None = None, *, kind: str = "float32") -> View:
        """A new array for one pulse, whose elements lie side by side; `order` are its axes, the slowest first."""
        return self._laid(Draft("arena", numbers(math.prod(shape), kind), kind=kind), shape, order)

    def state(
        self, shape: tuple[int, ...], initial: float, order: tuple[int, ...] | None = None, *, kind: str = "float32"
    ) -> View:
        """The same for an array that survives between pulses."""
        return self._laid(Draft("state", numbers(math.prod(shape), kind), initial, kind), shape, order)

    def _laid(self, draft: Draft, shape: tuple[int, ...], order: tuple[int, ...] | None) -> View:
        order = order or tuple(range(len(shape)))
        view = self._slot(draft, tuple(shape[axis] for axis in order))
        return view.transposed(tuple(order.index(axis) for axis in range(len(shape))))

    def weight(self, value: Array, kind: str | None = None) -> View:
        """A constant array, held as this kind."""
        kind = kind or held(value.dtype.name)
        size = numbers(value.size, kind)
        content = np.zeros(NUMBER * size // KINDS[kind], kind)
        content[: value.size] = value.reshape(-1)
        return self._slot(Draft("weights", size, kind=kind, content=content.view(np.float32)), value.shape)

    def _slot(self, draft: Draft, shape: tuple[int, ...]) -> View:
        if draft.size > MAX_NUMBERS:
            raise GraphError(f"lower: an array of the shape {shape} is too large")
        self.drafts.append(draft)
        return View(len(self.drafts) - 1, 0, shape, packed_strides(shape), draft.kind)

    def read(self, node: Node, index: int = 0) -> View:
        """The view of an input."""
        name = node.inputs[index]
        if name not in self.views:
            self.views[name] = self.weight(self.constant(node, index))
        return self.views[name]

    def constant(self, node: Node, index: int) -> Array:
        """The content of an input that is a constant."""
        value = self.graph.constants.get(node.inputs[index])
        if value is None or value.dtype == object:
            raise NotStreamable(f"lower: {node} needs its input {index} as a constant of numbers")
        return value

    def has(self, node: Node, index: int) -> bool:
        """Whether the optional input is there."""
        return index < len(node.inputs) and bool(node.inputs[index])

    def shape(self, node: Node) -> tuple[int, ...]:
        """The shape of the output."""
        return self.graph.facts[node.outputs[0]].sizes

    def time(self, name: str) -> int:
        """The stream axis of a value."""
        stream = self.graph.facts[name].stream
        assert stream is not None
        return stream.axis

    def along_time(self, node: Node, axis: int) -> bool:
        """Whether that axis of the first input is time."""
        stream = self.graph.facts[node.inputs[0]].stream
        return stream is not None and stream.axis == axis

    def write(self, node: Node, order: tuple[int, ...] | None = None) -> View:
        """A new array for the output."""
        kind = held(self.graph.facts[node.outputs[0]].dtype)
        self.views[node.outputs[0]] = self.arena(self.shape(node), order, kind=kind)
        return self.views[node.outputs[0]]

    def step(
        self, node: Node, writes: Iterable[View | None], reads: Iterable[View | None], **parameters: Parameter
    ) -> None:
        """One more kernel call, by the kernel of the name of the op."""
        self.append(Step(node.op, node.name, tuple(writes), tuple(reads), parameters))

    def append(self, step: Step) -> None:
        """One more step."""
        if len(self.steps) == MAX_STEPS:
            raise GraphError(f"lower: {step.node!r} is one step more than {MAX_STEPS}; the network is too large")
        self.steps.append(step)

    def output(self, name: str) -> View:
        """Where a value of the graph is handed out; a constant is copied there."""
        if name in self.graph.constants:
            value = self.weight(self.graph.constants[name])
            self.views[name] = self.arena(value.shape, kind=value.kind)
            self._copy(name, self.views[name], value)
        return self.views[name]

    def copy(self, node: Node, to: View, x: View) -> None:
        """One more copy, if there is anything to be copied."""
        self._copy(node.name, to, x)

    def _copy(self, what: str, to: View, x: View) -> None:
        if x.size:
            self.append(Step("Copy", what, (to,), (x,), {}))

    def packed(self, node: Node, x: View) -> View:
        """`x`, or a copy of it whose elements lie side by side."""
        if x.packed:
            return x
        tight = self.arena(x.shape, kind=x.kind)
        self.copy(node, tight, x)
        return tight
