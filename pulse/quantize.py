"""`quantize`: the convolutions of a pulsed graph, and what lies between them, in integers.

Theory of operation. `calibrate` says between which numbers each value moves. An int8 number `q` then stands for
`(q - zero) * scale`, with a zero that is exact, so that pads, rings of delays and what a Relu cuts are exact too.
Weights have a scale for each filter and no zero; they keep within -127 and 127. A convolution of int8 is a sum in int32
that one multiplication for each filter, rounded once, brings to another scale:

- as int8, where only convolutions read it;
- behind a gate (tanh and sigmoid too) through an argument in steps of 1/8192, which is as exact as 16 bits are, and a
  curve of straight pieces, as int8;
- as a sum, where it is added to others or leaves the integers: int32 at the one fine scale of all sums that ever meet.
  Weights and int8 numbers are bounded, so the largest sum there can be is known, and the scale is such that it fits:
  nothing overflows, and sums along a residual or a skip path are rounded to int8 only where a convolution reads them.

Every value is made in the form in which it is asked for: a delay, a slice or a pad of int8 is one of int8. What
nothing asks for as float32 any more is gone, and `Quantize` and `Dequantize` stand where forms meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from pulse.errors import NotStreamable
from pulse.graph import Array, Attribute, Fact, Graph, Node, known, ordered
from pulse.integer import HIGHEST, LOWEST, STEPS, UNIT
from pulse.scale import LEAST, Scale, multiplier, scale_of, shift

Range = tuple[float, float]
MOVES = ("Delay", "Fill", "Gather", "Pad", "Reshape", "Resize", "Slice", "Transpose")  # what computes nothing
_PADDED = ("Delay", "Fill", "Pad")
_CHOOSING = ("Gather", "Slice")
CURVED = ("Gate", "Sigmoid", "Tanh")
INT8, SUM = "q8", "q32"  # the types of the facts
_ADDEND = 3  # the input of a convolution that is added to its result
_WEIGHT = 127
_ROOM = 1 << 28  # steps that the largest of all sums may take
_BIAS = 1 << 20  # steps that a bias may take, before its filter gets a coarser scale
_DEEPEST = 1 << 15  # products of which int32 holds the sum


@dataclass(frozen=True)
class _Weights:
    """Of one convolution: integers, and what one of them times one of its input stands for, for each filter."""

    matrix: Array
    bias: Array
    steps: Array

    @property
    def sums(self) -> Array:
        """The largest sum of each filter that there can be."""
        rows: Array = np.abs(self.matrix.astype(np.int64)).reshape(len(self.matrix), -1).sum(axis=1)
        return rows * (HIGHEST - LOWEST) + np.abs(self.bias)

    @property
    def largest(self) -> float:
        """What none of them can be beyond, whichever of the scales it had."""
        return float(self.sums.max() * self.steps.max())


def _weights(graph: Graph, node: Node, x: Scale) -> _Weights:
    w = np.asarray(graph.constants[node.inputs[1]], np.float64)
    flat = w.reshape(len(w), -1)
    bias = np.zeros(len(w)) if not _has(node, 2) else np.asarray(graph.constants[node.inputs[2]], np.float64)
    steps = np.maximum(np.abs(flat).max(axis=1) / _WEIGHT * x.step, np.abs(bias) / _BIAS)
    steps = np.maximum(steps, max(float(steps.max()) * 2.0**-20, LEAST * x.step))
    matrix = np.rint(flat / (steps / x.step)[:, None]).astype(np.int8)
    offset = np.rint(bias / steps).astype(np.int64) - x.zero * matrix.astype(np.int64).sum(axis=1)
    return _Weights(matrix.reshape(w.shape), offset, steps)


def _has(node: Node, index: int) -> bool:
    return index < len(node.inputs) and bool(node.inputs[index])


class _Ways:
    """How integers go through a graph: what is known of it before any number is."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._producers = graph.producers()
        self.chosen = {node.outputs[0]: node for node in graph.nodes if _is_quantisable(graph, node)}
        if not self.chosen:
            raise NotStreamable("quantize: there is no convolution with constant weights, so nothing becomes int8")
        self._inside = self._read_as_int8()

    def _read_as_int8(self) -> set[str]:
        """The values that nothing reads but convolutions, directly or through what only moves numbers."""
        inside = set(self.graph.facts) - set(self.graph.outputs.values())
        for node in reversed(self.graph.nodes):
            moved = _moves(node) and node.outputs[0] in inside
            for index, name in enumerate(node.inputs):
                if not moved and not (node.outputs[0] in self.chosen and index == 0):
                    inside.discard(name)
        return inside

    def curve(self, name: str) -> str:
        """What the convolution that makes a value does to it."""
        return self.chosen[name].text("activation", "") if name in self.chosen else ""

    def summed(self, name: str) -> bool:
        """Whether a convolution hands out its sums."""
        known = name in self.chosen and self.curve(name) not in CURVED
        return known and (name not in self._inside or _has(self.chosen[name], _ADDEND))

    def producer(self, name: str, *ops: str) -> Node | None:
        """The node that makes a value, if it is one of `ops`."""
        node = self._producers.get(name)
        return node if node is not None and node.op in ops else None

    def moved(self, name: str) -> Node | None:
        """The node that makes a value, if it computes nothing."""
        node = self.producer(name, *MOVES)
        return node if node is not None and _moves(node) else None

    def root(self, name: str) -> str:
        """The value whose numbers these are."""
        while node := self.moved(name):
            name = node.inputs[0]
        return name

    def narrow(self, name: str) -> str:
        """The value that becomes int8 so that this one does: of parts of a sum, each has a scale of its own."""
        wide = self.root(name) in self.chosen and not self.plainly(self.root(name))
        while (node := self.moved(name)) and (wide or node.op not in _CHOOSING):
            name = node.inputs[0]
        return name

    def terms(self, name: str) -> list[str]:
        """The values that a sum is made of: convolutions, or what becomes int8."""
        found, waiting = [], [name]
        while waiting:
            root = self.root(name := waiting.pop())
            if node := self.producer(root, "Concat"):
                waiting += node.inputs
            else:
                found.append(root if self.plainly(root) else self.narrow(name))
        return found

    def plainly(self, name: str) -> bool:
        """Whether a value is the sums of a convolution as they are."""
        return self.summed(name) and not self.curve(name)

    def watched(self) -> set[str]:
        """The values of which `quantize` must know the range."""
        made = {name for name in self.chosen if not self.summed(name)}
        read = {self.narrow(node.inputs[0]) for node in self.chosen.values()}
        addends = (node.inputs[_ADDEND] for node in self.chosen.values() if _has(node, _ADDEND))
        return made | read | {term for name in addends for term in self.terms(name) if not self.plainly(term)}


@dataclass(frozen=True)
class Form:
    """A value in integers: whose it is, and what its numbers stand for."""

    value: str
    scale: Scale
    dtype: str


@dataclass(frozen=True)
class Quantised:
    """A graph in integers, and the forms that are computed in it, by their names."""

    graph: Graph
    forms: Mapping[str, Form]


def watched(graph: Graph) -> set[str]:
    """The values of which `quantize` must know between which numbers they move."""
    return _Ways(graph).watched()


def quantize(graph: Graph, ranges: Mapping[str, Range]) -> Quantised:
    """The same network in integers, as far as it can be; `ranges` says between which numbers every value moves."""
    return _Forms(graph, ranges).whole()


class _Forms:
    """The forms of all values while they grow, each made where it is first asked for: as int8, as sums, as before."""

    def __init__(self, graph: Graph, ranges: Mapping[str, Range]) -> None:
        self._graph = graph
        self._ways = _Ways(graph)
        self._ranges = ranges
        self._nodes: list[Node] = []
        self._facts: dict[str, Fact] = dict(graph.facts)
        self._constants: dict[str, Array] = dict(graph.constants)
        self._forms: dict[str, Form] = {}
        chosen = self._ways.chosen
        self._weights = {name: _weights(graph, node, self._scale(node.inputs[0])) for name, node in chosen.items()}
        self._steps = self._common_steps()

    def whole(self) -> Quantised:
        """The graph of all forms that an output needs."""
        for node in self._graph.nodes:
            if node.outputs[0] in self._ways.chosen:
                self._conv(node)
                self._as_before(node)
            else:
                self._nodes.append(node)
        grown = replace(self._graph, nodes=tuple(self._nodes), facts=self._facts, constants=self._constants)
        made = ordered(grown).check("quantize")
        names = {name for node in made.nodes for name in node.outputs}
        return Quantised(made, {name: form for name, form in self._forms.items() if name in names})

    def _scale(self, name: str) -> Scale:
        """That of a value as int8."""
        name = self._ways.narrow(name)
        low, high = self._ranges[name]
        match self._ways.curve(name):
            case "Sigmoid":
                return Scale(1 / (HIGHEST - LOWEST + 1), LOWEST)
            case "Gate" | "Tanh":
                return Scale(1 / min(UNIT - 1, max(HIGHEST, int(HIGHEST / max(-low, high, LEAST)))))
        return scale_of(low, high)

    def _common_steps(self) -> dict[str, float]:
        """The step of every term of a sum: one for all that meet, with room for the largest that can come of them."""
        meets: dict[str, str] = {}
        largest: dict[str, float] = {}

        def first(name: str) -> str:
            while meets.setdefault(name, name) != name:
                name = meets[name]
            return name

        for name, node in self._ways.chosen.items():
            terms = self._ways.terms(node.inputs[_ADDEND]) if _has(node, _ADDEND) else []
            for term in terms:
                meets[first(term)] = first(name)
                if not self._ways.plainly(term):
                    largest[term] = max(largest.get(term, 0.0), self._scale(term).largest)
            largest[name] = self._weights[name].largest + max((largest[term] for term in terms), default=0.0)
        whole: dict[str, float] = {}
        for name, size in largest.items():
            whole[first(name)] = max(whole.get(first(name), 0.0), size)
        return {name: max(whole[first(name)] / _ROOM, LEAST) for name in largest}

    def _step(self, name: str) -> float:
        """That of a value as sums."""
        return self._steps[self._ways.terms(name)[0]]

    def _add(self, node: Node, name: str, dtype: str) -> str:
        """A node whose one output is the value `name` in another form."""
        self._nodes.append(replace(node, outputs=(node.name,)))
        self._facts[node.name] = replace(self._graph.facts[name], dtype=dtype)
        return node.name

    def _int8(self, name: str) -> str:
        """The name of a value as int8."""
        made, scale = f"{name}.int8", self._scale(name)
        if made in self._facts:
            return made
        if name != self._ways.narrow(name) and (node := self._ways.moved(name)):
            padding = {"value": float(scale.zero)} if node.op in _PADDED else {}
            inputs, attributes = (self._int8(node.inputs[0]), *node.inputs[1:]), {**node.attributes, **padding}
            return self._add(replace(node, name=made, inputs=inputs, attributes=attributes), name, INT8)
        relu = self._ways.producer(name, "Relu")
        source = relu.inputs[0] if relu else name
        root = self._ways.root(source)
        if self._ways.plainly(root) or (root == name and self._ways.summed(root)):
            # Below the zero of what a Relu makes there is no int8, so that it needs no step.
            summed = self._sum(source) if self._ways.plainly(root) else f"{root}.sum"
            return self._rescaled(summed, made, name, (Scale(self._step(root)), scale))
        attributes = {"scale": scale.step, "zero": scale.zero}
        self._forms[made] = Form(name, scale, INT8)
        return self._add(Node("Quantize", made, (name,), (made,), attributes), name, INT8)

    def _sum(self, name: str) -> str:
        """The name of a value as sums."""
        made = f"{name}.{'sum' if self._ways.plainly(name) else 'term'}"
        if made in self._facts:
            return made
        node = self._ways.producer(name, "Concat") or self._ways.moved(name)
        if node is None or self._ways.terms(name) == [name]:
            return self._rescaled(self._int8(name), made, name, (self._scale(name), Scale(self._step(name))))
        inputs = [self._sum(part) for part in node.inputs] if node.op == "Concat" else [self._sum(node.inputs[0])]
        rest = () if node.op == "Concat" else node.inputs[1:]
        return self._add(replace(node, name=made, inputs=(*inputs, *rest)), name, SUM)

    def _rescaled(self, x: str, made: str, name: str, scales: tuple[Scale, Scale]) -> str:
        before, after = scales
        factor = before.step / after.step
        left = shift(factor)
        _check_room(name, HIGHEST - LOWEST if x.endswith(".int8") else _ROOM, left)
        attributes = {"before": before.zero, "zero": after.zero, "multiplier": multiplier(factor, left), "left": left}
        dtype = INT8 if made.endswith("8") else SUM
        self._forms[made] = Form(name, after, dtype)
        return self._add(Node("Requantize", made, (x,), (made,), attributes), name, dtype)

    def _conv(self, node: Node) -> None:
        """A convolution in the form in which it is read."""
        name, weights, curve = node.outputs[0], self._weights[node.outputs[0]], self._ways.curve(node.outputs[0])
        attributes = {key: value for key, value in node.attributes.items() if key != "activation"}
        if self._ways.summed(name):
            made, dtype, scale = f"{name}.sum", SUM, Scale(self._step(name))
            factors = weights.steps / scale.step
        else:
            made, dtype, scale = f"{name}.int8", INT8, self._scale(name)
            factors = weights.steps / scale.step
            attributes["zero"] = scale.zero
            if curve in CURVED:
                factors = weights.steps * STEPS * _arguments(curve, len(weights.steps))
                attributes |= {"activation": curve, "gain": round(1 / scale.step)}
        left = shift(float(factors.max()))
        _check_room(node.name, float(weights.sums.max()), left)
        attributes["left"] = left
        multipliers = np.array([multiplier(float(factor), left) for factor in factors], np.int32)
        inputs = [self._int8(node.inputs[0])]
        for key, array in {"w": weights.matrix, "b": weights.bias, "m": multipliers}.items():
            inputs.append(f"{name}.{key}8")
            self._constants[inputs[-1]] = array
            self._facts[inputs[-1]] = known(array)
        if _has(node, _ADDEND):
            inputs.append(self._sum(node.inputs[_ADDEND]))
        if not self._ways.summed(name) or self._ways.plainly(name):
            self._forms[made] = Form(name, scale, dtype)
        self._add(Node("QuantizedConv", made, tuple(inputs), (made,), attributes), name, dtype)

    def _as_before(self, node: Node) -> None:
        """What a convolution makes as float32, for those who still ask for it."""
        name = node.outputs[0]
        if not self._ways.summed(name):
            scale = self._scale(name)
            self._dequantized(f"{name}.int8", name, scale)
        elif self._ways.plainly(name):
            self._dequantized(f"{name}.sum", name, Scale(self._step(name)))
        else:
            between = f"{name}.float"
            self._facts[between] = self._graph.facts[name]
            self._dequantized(f"{name}.sum", between, Scale(self._step(name)))
            self._nodes.append(Node("Relu", f"{name}.relu", (between,), (name,)))

    def _dequantized(self, x: str, name: str, scale: Scale) -> None:
        attributes: dict[str, Attribute] = {"scale": scale.step, "zero": scale.zero}
        self._nodes.append(Node("Dequantize", f"{name}.real", (x,), (name,), attributes))


def _arguments(curve: str, filters: int) -> Array:
    """What each filter is multiplied with in front of its curve: sigmoid(x) is made of tanh(x / 2)."""
    halved = np.arange(filters) >= filters // 2 if curve == "Gate" else np.full(filters, curve == "Sigmoid")
    return np.where(halved, 0.5, 1.0)


def _is_quantisable(graph: Graph, node: Node) -> bool:
    """Whether it is a convolution by numbers that are known, and not more than int32 can add up."""
    numbers = [graph.constants.get(name) for name in node.inputs[1:_ADDEND] if name] if node.op == "Conv" else [None]
    known = [array for array in numbers if array is not None and np.isfinite(array).all()]
    return len(known) == len(numbers) and known[0].size <= _DEEPEST * len(known[0])


def _check_room(what: str, largest: float, left: int) -> None:
    if largest * 2**left >= 1 << 31:
        raise NotStreamable(
            f"quantize: {what!r} moves so much less in what it is calibrated with than it could that int32 has no room "
            "for both; calibrate it with more"
        )


def _moves(node: Node) -> bool:
    """Whether a node computes nothing, and adds nothing but 0."""
    return node.op in MOVES and not node.attributes.get("value", 0)
