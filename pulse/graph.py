"""The graph between the compiler stages: nodes, and what is known of every value.

Graphs are immutable; a stage returns a new one. This module knows neither ONNX nor any single op.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pulse.dim import Dim, Length
from pulse.errors import GraphError, NotStreamable

Array: TypeAlias = npt.NDArray[Any]
Attribute: TypeAlias = "int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Array | Graph"
MAX_ELEMENTS = 4 << 20  # in a constant, and in one item of a stream
MAX_RANK = 8
ABSENT = ""  # the name ONNX gives to an optional input that is left out


class TimeByTimeError(NotStreamable):
    """A value would have time on two axes."""


@dataclass(frozen=True)
class Stream:
    """Where time is: its axis, its length in the batch model, and the items by which the pulsed value lags."""

    axis: int
    length: Dim
    delay: int = 0


@dataclass(frozen=True)
class Fact:
    """What is known of a value. `value` holds a known content; integers in it may be `Dim`."""

    dtype: str
    shape: tuple[Length, ...]
    stream: Stream | None = None
    value: Array | None = field(default=None, compare=False, repr=False)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape as numbers; only for values without `S` in their shape."""
        if any(isinstance(length, Dim) for length in self.shape):
            raise GraphError(f"the shape {shown(self.shape)} is not known in numbers")
        return tuple(int(length) for length in self.shape if isinstance(length, int))

    def __str__(self) -> str:
        text = f"{self.dtype} {shown(self.shape)}"
        if self.stream is None:
            return text + (" known" if self.value is not None else "")
        return f"{text} @{self.stream.axis}" + (f" Δ{self.stream.delay}" if self.stream.delay else "")


def fact(shape: tuple[Length, ...], dtype: str = "float32") -> Fact:
    """The fact of a batch value: time is the axis whose length contains `S`."""
    streams = [Stream(axis, length) for axis, length in enumerate(shape) if isinstance(length, Dim)]
    if len(streams) > 1:
        raise TimeByTimeError(f"a value of shape {shown(shape)}, with the stream on more than one axis")
    return Fact(dtype, shape, streams[0] if streams else None)


def known(value: Array) -> Fact:
    """The fact of a constant; arrays of objects are integers that may contain `S`."""
    dtype = "int64" if value.dtype == object else value.dtype.name
    return Fact(dtype, tuple(int(size) for size in value.shape), None, value)


def shown(shape: tuple[Length, ...]) -> str:
    """A shape as people write it."""
    return "(" + ", ".join(str(length) for length in shape) + ")"


@dataclass(frozen=True)
class Node:
    """One operation; `name` is unique in its graph."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"node {self.name!r} ({self.op})"

    def integer(self, key: str, default: int) -> int:
        """The integer attribute `key`."""
        value = self.attributes.get(key, default)
        if not isinstance(value, int):
            raise GraphError(f"{self}: attribute {key} must be an integer")
        return value

    def integers(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """The attribute `key`, a list of integers."""
        value = self.attributes.get(key, default)
        if not isinstance(value, tuple) or not all(isinstance(number, int) for number in value):
            raise GraphError(f"{self}: attribute {key} must be a list of integers")
        return tuple(int(number) for number in value)

    def number(self, key: str, default: float) -> float:
        """The number attribute `key`."""
        value = self.attributes.get(key, default)
        if not isinstance(value, int | float):
            raise GraphError(f"{self}: attribute {key} must be a number")
        return float(value)

    def texts(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """The attribute `key`, a list of texts."""
        value = self.attributes.get(key, default)
        if not isinstance(value, tuple) or not all(isinstance(text, str) for text in value):
            raise GraphError(f"{self}: attribute {key} must be a list of texts")
        return tuple(str(text) for text in value)

    def text(self, key: str, default: str) -> str:
        """The text attribute `key`."""
        value = self.attributes.get(key, default)
        if not isinstance(value, str):
            raise GraphError(f"{self}: attribute {key} must be text")
        return value


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order. `facts` is empty after `load`; later stages know every value.

    `outputs` says which value is handed out under which name.
    """

    nodes: tuple[Node, ...]
    inputs: Mapping[str, Fact]
    outputs: Mapping[str, str]
    constants: Mapping[str, Array]
    facts: Mapping[str, Fact] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def producers(self) -> dict[str, Node]:
        """The node behind every computed value."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    def uses(self) -> Counter[str]:
        """How often every value is read; being an output of the graph is one more use."""
        read = [name for node in self.nodes for name in node.inputs if name]
        return Counter([*read, *self.outputs.values()])

    def delay_of(self, name: str) -> int:
        """Items by which a pulsed value lags; constants are never late."""
        stream = self.facts[name].stream
        return stream.delay if stream else 0

    def check(self, stage: str) -> Graph:
        """Itself if legal; otherwise `GraphError` saying after which stage it broke."""
        ready = {*self.inputs, *self.constants}
        for node in self.nodes:
            for name in node.inputs:
                if name != ABSENT and name not in ready:
                    raise GraphError(f"{stage}: {node} reads {name!r}, which nothing before it produces")
            for name in filter(None, node.outputs):
                if name in ready:
                    raise GraphError(f"{stage}: {node} writes {name!r}, which exists already")
                if self.facts and name not in self.facts:
                    raise GraphError(f"{stage}: nothing is known of {name!r}, written by {node}")
            delays = {item.stream.delay for name in node.inputs if (item := self.facts.get(name)) and item.stream}
            if len(delays) > 1:
                raise GraphError(f"{stage}: {node} reads streams with different delays {sorted(delays)}")
            ready.update(name for name in node.outputs if name)
        for name in self.outputs.values():
            if name not in ready:
                raise GraphError(f"{stage}: nothing produces the output {name!r}")
        for _, many in Counter(node.name for node in self.nodes).most_common(1):
            if many > 1:
                raise GraphError(f"{stage}: two nodes have one name")
        return self

    def dump(self) -> str:
        """One line per input, node and output, for people."""
        lines = [f"input   {name}: {fact}" for name, fact in self.inputs.items()]
        lines += [f"{node.op} {node.name!r}: {self._line(node)}" for node in self.nodes]
        return "\n".join([*lines, *(f"output  {self._value(name)}" for name in self.outputs.values())])

    def _line(self, node: Node) -> str:
        attributes = [f"{key}={_short(value)}" for key, value in sorted(node.attributes.items())]
        reads = ", ".join([name or "-" for name in node.inputs] + attributes)
        return f"{reads} -> {', '.join(self._value(name) for name in node.outputs)}"

    def _value(self, name: str) -> str:
        return f"{name}: {self.facts[name]}" if name in self.facts else name


def _short(value: Attribute) -> str:
    if isinstance(value, Graph):
        return f"{len(value.nodes)} nodes"
    return f"array{value.shape}" if isinstance(value, np.ndarray) else str(value)


def ordered(graph: Graph) -> Graph:
    """The same graph in topological order, without what reaches no output; otherwise the order stays as it is."""
    producers = graph.producers()
    used = _reaching(graph, producers)
    done: set[str] = set()
    order: list[Node] = []
    for node in graph.nodes:
        if node.name in used:
            _append(node, producers, done, order)
    read = {name for node in order for name in node.inputs} | set(graph.outputs.values())
    constants = {name: value for name, value in graph.constants.items() if name in read}
    return replace(graph, nodes=tuple(order), constants=constants)


def _reaching(graph: Graph, producers: Mapping[str, Node]) -> set[str]:
    """The names of the nodes that reach an output."""
    used: set[str] = set()
    waiting = [producers[name] for name in graph.outputs.values() if name in producers]
    while waiting:
        node = waiting.pop()
        if node.name not in used:
            used.add(node.name)
            waiting += [producers[name] for name in node.inputs if name in producers]
    return used


def _append(node: Node, producers: Mapping[str, Node], done: set[str], order: list[Node]) -> None:
    """Add `node` to `order`, behind all that it reads. Not recursive: a chain of thousands of nodes is legal."""
    waiting = [(node, False)]
    begun: set[str] = set()
    while waiting:
        node, inputs_done = waiting.pop()
        if node.name in done:
            continue
        if inputs_done:
            done.add(node.name)
            order.append(node)
            continue
        if node.name in begun:
            raise GraphError(f"{node} is part of a loop")
        begun.add(node.name)
        waiting.append((node, True))
        waiting += [(producers[name], False) for name in reversed(node.inputs) if name in producers]
