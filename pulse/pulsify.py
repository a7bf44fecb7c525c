"""`pulsify`: the graph over a whole stream becomes the graph over one pulse, with memory in `Delay` nodes.

Theory of operation. The pulsed graph sees `pulse` items of the stream at a time. A value of it carries a delay `D`:
its item `k + D`, counted from the first one after a reset, is item `k` of the batch value; the first `D` items are
whatever warm-up leaves there. Three nodes exist only here:

* `Delay(x, extra, overlap)`: the last `overlap` items before the pulse and the pulse itself, all `extra` items late.
  Its memory starts as `value`, which is 0 unless a padding says otherwise.
* `Fill(x, until, value)`: the same items, but those with an index below `until` are `value`. This is how padding in
  front of time is written where warm-up would have left something else.
* `Skip(x, items)`: the same items under another delay; a slice from the front of time costs nothing but delay.

A window (convolution, pool) with span `(k-1)*d + 1`, stride `s` and `b` items padded in front needs an overlap of
`max(0, (k-1)*d + 1 - s)` and waits `extra` items so that `D + extra + overlap - b` is a multiple of `s` and not
negative; divided by `s` that is the new delay (`Window`). The padding of the front are the items below `D` of its
input: with `D = 0` they are the memory's initial content, otherwise a `Fill` writes them. What is padded behind the
end changes nothing: the end of an endless stream never comes out. What is cut off there is waited for: an item is in
`x[:-2]` only once two more have come.

Where streams meet, `meet` delays all to the latest. Everything else follows the stream axis through an op that does
not touch it. A node for which neither holds is refused with a sentence; nothing is guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from pulse.dim import Dim, Length, product
from pulse.errors import NotStreamable
from pulse.graph import Attribute, Fact, Graph, Node
from pulse.header import MAX_PULSE
from pulse.infer import COMBINING, ELEMENTWISE, REDUCING, axis_of, cuts, pads, reduced
from pulse.window import window

MAX_DELAY = 1 << 15  # items
LOWEST = -3.4028234663852886e38  # of float32: what a max pool pads with

Rule = Callable[["Pulsifier", Node], None]


def pulsify(graph: Graph, pulse: int) -> Graph:
    """The graph over `pulse` items at a time; `NotStreamable` names the node that prevents it."""
    if not 1 <= pulse <= MAX_PULSE:
        raise NotStreamable(f"pulsify: a pulse of {pulse} items is impossible; 1 to {MAX_PULSE} are allowed")
    for name, value in graph.outputs.items():
        if graph.facts[value].stream is None:
            raise NotStreamable(f"pulsify: the output {name!r} does not depend on time")
    pulsifier = Pulsifier(graph, pulse)
    for node in graph.nodes:
        if node.op not in RULES:
            raise pulsifier.refuse(node, "has no streaming rule")
        if not any(graph.facts[name].stream for name in node.inputs if name):
            raise pulsifier.refuse(node, "depends on constants only, and is not computed beforehand")
        RULES[node.op](pulsifier, node)
    return pulsifier.result().check("pulsify")


class Pulsifier:
    """The pulsed graph while it grows; `batch` is the graph it is made from."""

    def __init__(self, batch: Graph, pulse: int) -> None:
        self.batch = batch
        self.pulse = pulse
        self.steps = math.lcm(*(length.rate.denominator for length in _lengths(batch)))
        self.made_from = {node.name: node for node in batch.nodes}
        self.nodes: list[Node] = []
        self.facts: dict[str, Fact] = {}
        for name in (*batch.inputs, *batch.constants):
            self.facts[name] = self.pulsed(batch.facts[name], 0, f"the input {name!r}")

    def result(self) -> Graph:
        """The finished graph."""
        inputs = {name: self.facts[name] for name in self.batch.inputs}
        return replace(self.batch, nodes=tuple(self.nodes), inputs=inputs, facts=self.facts)

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
        return replace(_resized(fact, int(items)), stream=replace(fact.stream, delay=delay))

    def suggestion(self) -> int:
        """The smallest pulse that works and is not smaller than the one asked for."""
        return -(-self.pulse // self.steps) * self.steps

    def given(self, node: Node) -> list[Fact | None]:
        """The batch facts of the inputs of `node`."""
        return [self.batch.facts[name] if name else None for name in node.inputs]

    def axis(self, node: Node) -> int:
        """The stream axis of the first input of `node`, which must be a stream."""
        stream = self.batch.facts[node.inputs[0]].stream
        if stream is None:
            raise self.refuse(node, "takes a constant where the stream should be; swap its inputs")
        return stream.axis

    def delay_before(self, node: Node) -> int:
        """The delay of the first input of `node`, which must be a stream."""
        self.axis(node)
        stream = self.facts[node.inputs[0]].stream
        assert stream is not None
        return stream.delay

    def least_delay(self, name: str) -> int:
        """Items that must be waited for: with fewer, items would come out that the batch value, cut short, lacks."""
        length = self.batch.facts[name].stream
        return -(length.length.offset // length.length.divisor) if length else 0

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
        assert stream is not None
        if extra == overlap == 0:
            return name
        late = f"{name}.late{extra}" + (f"+{overlap}" if overlap else "") + (f"={value:g}" if value else "")
        if late not in self.facts:
            items = self.facts[name].sizes[stream.axis] + overlap
            attributes = {"extra": extra, "overlap": overlap, "value": value}
            self.nodes.append(Node("Delay", late, (name,), (late,), attributes))
            moved = replace(stream, delay=stream.delay + extra)
            self.facts[late] = replace(_resized(self.facts[name], items), stream=moved)
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


def _resized(fact: Fact, items: int) -> Fact:
    assert fact.stream is not None
    return replace(fact, shape=tuple(items if axis == fact.stream.axis else n for axis, n in enumerate(fact.shape)))


def _follow(p: Pulsifier, node: Node) -> None:
    """For ops that treat every item of time alike."""
    inputs, delay = p.meet(node.inputs)
    p.emit(replace(node, inputs=inputs), delay)


def _off_axis(p: Pulsifier, node: Node) -> None:
    """For ops along one axis, which must not be time."""
    axis = axis_of(node, node.integer("axis", -1), len(p.batch.facts[node.outputs[0]].shape))
    stream = p.batch.facts[node.outputs[0]].stream
    if stream and stream.axis == axis:
        raise p.refuse(node, f"works along axis {axis}, which is time; it would need the whole stream at once")
    inputs, delay = p.meet(node.inputs)
    p.emit(replace(node, inputs=inputs), delay, axis=axis)


def _reduce(p: Pulsifier, node: Node) -> None:
    axes = reduced(node, p.given(node))
    p.emit(replace(node, inputs=node.inputs[:1]), p.delay_before(node), axes=axes)


def _clip(p: Pulsifier, node: Node) -> None:
    low, high = (_scalar(p, node, index) for index in (1, 2))
    limits = {key: value for key, value in (("low", low), ("high", high)) if value is not None}
    p.emit(replace(node, inputs=node.inputs[:1]), p.delay_before(node), **limits)


def _scalar(p: Pulsifier, node: Node, index: int) -> float | None:
    if index >= len(node.inputs) or not node.inputs[index]:
        return None
    value = p.batch.facts[node.inputs[index]].value
    if value is None or value.size != 1:
        raise p.refuse(node, f"takes its input {index} from the stream; it must be one constant number")
    return float(value.reshape(-1)[0])


def _matmul(p: Pulsifier, node: Node) -> None:
    if p.axis(node) == len(p.batch.facts[node.inputs[0]].shape) - 1:
        raise p.refuse(node, "multiplies along time; transpose so that time is not the last axis")
    _follow(p, node)


def _reshape(p: Pulsifier, node: Node) -> None:
    before, after = p.batch.facts[node.inputs[0]], p.batch.facts[node.outputs[0]]
    same = before.stream and after.stream and before.stream.length == after.stream.length
    if not same or _in_front(before) != _in_front(after):
        raise p.refuse(node, "mixes time with another axis; transpose so that time stays an axis of its own")
    p.emit(Node("Reshape", node.name, node.inputs[:1], node.outputs), p.delay_before(node))


def _in_front(fact: Fact) -> Length:
    assert fact.stream is not None
    return product(fact.shape[: fact.stream.axis])


def _transpose(p: Pulsifier, node: Node) -> None:
    back = tuple(reversed(range(len(p.batch.facts[node.inputs[0]].shape))))
    p.emit(node, p.delay_before(node), perm=node.integers("perm", back))


def _slice(p: Pulsifier, node: Node) -> None:
    taken = cuts(node, p.given(node))
    time = p.axis(node)
    items, name, delay = taken.pop(time, (0, 0, 1))[0], node.inputs[0], p.delay_before(node)
    wait = max(0, p.least_delay(node.outputs[0]) - delay - items)
    name, delay = p.delay(name, wait), delay + wait
    if taken:
        output = f"{node.outputs[0]}.off_time" if items else node.outputs[0]
        axes = tuple(sorted(taken))
        whole = replace(p.facts[name], shape=_cut(p.facts[name].shape, taken))
        starts, steps = tuple(taken[axis][0] for axis in axes), tuple(taken[axis][2] for axis in axes)
        attributes: dict[str, Attribute] = {"axes": axes, "starts": starts, "steps": steps}
        p.nodes.append(Node("Slice", f"{node.name}.off_time", (name,), (output,), attributes))
        p.facts[output] = whole
        name = output
    if items or not taken:
        p.emit(Node("Skip", node.name, (name,), node.outputs, {"items": items}), delay + items)


def _cut(shape: tuple[Length, ...], taken: Mapping[int, tuple[int, Length, int]]) -> tuple[Length, ...]:
    return tuple(taken[axis][1] if axis in taken else length for axis, length in enumerate(shape))


def _pad(p: Pulsifier, node: Node) -> None:
    time = p.axis(node)
    before, after = pads(node, p.given(node))
    value = _scalar(p, node, 2) or 0.0
    name, delay, first = node.inputs[0], p.delay_before(node), before[time]
    if first:
        wait = max(0, first - delay)
        name = p.delay(name, wait, 0, value)
        name = p.fill(name, delay + wait, value) if delay else name
        delay += wait - first
    before[time] = after[time] = 0
    if any(before) or any(after):
        off_time = Node("Pad", node.name, (name,), node.outputs, {"before": tuple(before), "value": value})
        p.emit(off_time, delay)
    else:
        p.emit(Node("Skip", node.name, (name,), node.outputs, {"items": -first}), delay)


def _conv(p: Pulsifier, node: Node) -> None:
    kernel = p.batch.facts[node.inputs[1]].sizes[2:]
    _windowed(p, node, kernel, 0.0)


def _max_pool(p: Pulsifier, node: Node) -> None:
    _windowed(p, node, node.integers("kernel_shape", ()), LOWEST)


def _average_pool(p: Pulsifier, node: Node) -> None:
    kernel = node.integers("kernel_shape", ())
    if window(node, kernel).before and not node.integer("count_include_pad", 0):
        raise p.refuse(
            node, "averages fewer items at the front of time; export it with count_include_pad=True or without padding"
        )
    _windowed(p, node, kernel, 0.0)


def _windowed(p: Pulsifier, node: Node, kernel: tuple[int, ...], outside: float) -> None:
    """A window along the last axis; `outside` is what its padding holds."""
    if p.axis(node) != 2:
        raise p.refuse(node, f"slides along axis 2, but time is axis {p.axis(node)}; transpose in front of it")
    slide, delay, name = window(node, kernel), p.delay_before(node), node.inputs[0]
    if slide.before and delay:
        name = p.fill(name, delay, outside)
    name = p.delay(name, slide.extra(delay), slide.overlap, outside if slide.before else 0.0)
    attributes: dict[str, Attribute] = {"kernel": slide.kernel, "dilation": slide.dilation, "stride": slide.stride}
    if node.op == "Conv":
        attributes["group"] = node.integer("group", 1)
    pulsed = Node(node.op, node.name, (name, *node.inputs[1:]), node.outputs, attributes)
    p.emit(pulsed, slide.delay(delay))


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _follow),
    **dict.fromkeys(COMBINING, _follow),
    **dict.fromkeys(REDUCING, _reduce),
    "AveragePool": _average_pool,
    "Clip": _clip,
    "Concat": _off_axis,
    "Conv": _conv,
    "Flatten": _reshape,
    "LogSoftmax": _off_axis,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "Softmax": _off_axis,
    "Squeeze": _reshape,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
