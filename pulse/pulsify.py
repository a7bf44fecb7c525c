"""`pulsify`: the graph over a whole stream becomes the graph over one pulse, with memory in `Delay` nodes.

Theory of operation. The pulsed graph sees `pulse` items of the stream at a time. A value of it carries a delay `D`:
its item `k + D`, counted from the first one after a reset, is item `k` of the batch value; the first `D` items are
whatever warm-up leaves there. Five nodes exist only here:

* `Delay(x, extra, overlap)`: the last `overlap` items before the pulse and the pulse itself, all `extra` items late.
  Its memory starts as `value`, which is 0 unless a padding says otherwise.
* `Fill(x, until, value)`: the same items, but those with an index below `until` are `value`. This is how padding in
  front of time is written where warm-up would have left something else.
* `Skip(x, items)`: the same items under another delay; a slice from the front of time costs nothing but delay.
* `Edge(x, first)`: what a delay has kept, but what is in front of its item `first` is like that one.
* `Front(x, begin, step)`: the front of time mirrored into the items that a delay has kept.
* `Stuff(x, strides)`: zeros behind every item, which makes a transposed convolution a plain one.

A window (convolution, pool) with span `(k-1)*d + 1`, stride `s` and `b` items padded in front needs an overlap of
`max(0, (k-1)*d + 1 - s)` and waits `extra` items so that `D + extra + overlap - b` is a multiple of `s` and not
negative; divided by `s` that is the new delay (`Window`). The padding of the front are the items below `D` of its
input: with `D = 0` they are the memory's initial content, otherwise a `Fill` writes them. What is padded behind the
end changes nothing: the end of an endless stream never comes out. What is cut off there is waited for: an item is in
`x[:-2]` only once two more have come.

What remembers without a bound (a recurrent layer, a sum or a mean over all that came) must not see warm-up at all:
its state begins with item `D` of its input. What makes `f` items of one is `f` times as late.

Where streams meet, `meet` delays all to the latest. Everything else follows the stream axis through an op that does
not touch it. A node for which neither holds is refused with a sentence; nothing is guessed.

What has no time (an input given anew with every pulse, and all that comes of it alone) is never late, and nothing of
it survives: what walks along an axis that is not time begins anew in every pulse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from pulse import memory, scan, sliding, upsampling
from pulse.argument import axis_of
from pulse.dim import Length, product
from pulse.errors import NotStreamable
from pulse.graph import Attribute, Fact, Graph, Node
from pulse.header import MAX_PULSE
from pulse.infer import COMBINING, ELEMENTWISE, REDUCING, infer
from pulse.layers import reduced
from pulse.moves import cuts, pads
from pulse.pulsifier import Pulsifier
from pulse.window import Window

Rule = Callable[[Pulsifier, Node], None]


def pulsify(graph: Graph, pulse: int) -> Graph:
    """The graph over `pulse` items at a time; `NotStreamable` names the node that prevents it."""
    if not 1 <= pulse <= MAX_PULSE:
        raise NotStreamable(f"pulsify: a pulse of {pulse} items is impossible; 1 to {MAX_PULSE} are allowed")
    timed = any(item.stream for item in graph.inputs.values())
    for name, value in graph.outputs.items():
        if timed and graph.facts[value].stream is None:
            raise NotStreamable(f"pulsify: the output {name!r} does not depend on time")
    pulsifier = Pulsifier(graph, pulse)
    for node in graph.nodes:
        _add(pulsifier, node)
    return pulsifier.result().check("pulsify")


def _add(p: Pulsifier, node: Node) -> None:
    if node.op not in RULES:
        raise p.refuse(node, "has no streaming rule")
    RULES[node.op](p, node)


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
    limits: dict[str, Attribute] = {key: value for key, value in (("low", low), ("high", high)) if value is not None}
    p.emit(replace(node, inputs=node.inputs[:1]), p.delay_before(node), **limits)


def _scalar(p: Pulsifier, node: Node, index: int) -> int | float | None:
    if index >= len(node.inputs) or not node.inputs[index]:
        return None
    value = p.batch.facts[node.inputs[index]].value
    if value is None or value.size != 1 or value.dtype == object:
        raise p.refuse(node, f"has an input {index} that is not one constant number")
    number: int | float = value.reshape(-1)[0].item()
    return number


def _gather(p: Pulsifier, node: Node) -> None:
    table, indices = node.inputs
    if p.batch.facts[indices].value is None and p.batch.facts[table].stream:
        raise p.refuse(
            node,
            "takes items of time at places that it computes; those of a window are taken where they count along time, "
            "such as torch.arange(S)[:, None] + torch.arange(width) into what was padded in front",
        )
    if p.batch.facts[indices].value is None:
        taken = Node("Take", node.name, (indices, table), node.outputs)
        p.emit(taken, p.delay_before(taken))
        return
    axis = axis_of(node, node.integer("axis", 0), len(p.batch.facts[table].shape))
    p.emit(node, p.delay_before(node), axis=axis)


def _expand(p: Pulsifier, node: Node) -> None:
    name = node.inputs[0]
    delay = p.delay_before(node) if p.axis(node) is not None else p.least_delay(node.outputs[0])
    p.emit(replace(node, inputs=(name,)), delay)


def _constant_of_shape(p: Pulsifier, node: Node) -> None:
    """The same number at all times needs no memory, and no more than one place."""
    value = node.attributes.get("value", np.zeros(1, np.float32))
    assert isinstance(value, np.ndarray)
    one = p.constant(f"{node.name}.value", value.reshape(-1))
    p.emit(Node("Expand", node.name, (one,), node.outputs), p.least_delay(node.outputs[0]))


def _reshape(p: Pulsifier, node: Node) -> None:
    before, after = p.batch.facts[node.inputs[0]], p.batch.facts[node.outputs[0]]
    if _of_time(before) != _of_time(after):
        raise p.refuse(node, "mixes time with another axis; transpose so that time stays an axis of its own")
    p.emit(Node("Reshape", node.name, node.inputs[:1], node.outputs), p.delay_before(node))


def _of_time(fact: Fact) -> tuple[Length, Length] | None:
    """How long time is, and how many items are in front of it."""
    return (fact.stream.length, product(fact.shape[: fact.stream.axis])) if fact.stream else None


def _transpose(p: Pulsifier, node: Node) -> None:
    back = tuple(reversed(range(len(p.batch.facts[node.inputs[0]].shape))))
    p.emit(node, p.delay_before(node), perm=node.integers("perm", back))


def _slice(p: Pulsifier, node: Node) -> None:
    taken, time = cuts(node, p.given(node)), p.axis(node)
    items, _, step = (0, 0, 1) if time is None else taken.pop(time, (0, 0, 1))
    name, slide, late = node.inputs[0], Window(1, 1, step, 0, 0), p.delay_before(node) + items
    wait = slide.extra(late) + step * max(0, p.least_delay(node.outputs[0]) - slide.delay(late))
    name, delay = p.delay(name, wait), (late + wait) // step
    shape = p.batch.facts[node.inputs[0]].shape
    taken = {axis: cut for axis, cut in taken.items() if cut != (0, shape[axis], 1)}
    if time is not None and step > 1:
        taken[time] = (0, 0, step)
    if not taken:
        p.emit(Node("Skip", node.name, (name,), node.outputs, {"items": items}), delay)
        return
    axes = tuple(sorted(taken))
    starts, steps = tuple(taken[axis][0] for axis in axes), tuple(taken[axis][2] for axis in axes)
    p.emit(Node("Slice", node.name, (name,), node.outputs), delay, axes=axes, starts=starts, steps=steps)


def _pad(p: Pulsifier, node: Node) -> None:
    mode, time = node.text("mode", "constant"), p.axis(node)
    before, after = pads(node, p.given(node))
    first = 0 if time is None else before[time]
    if mode != "constant":
        _mirrored(p, node, first, 2 if mode == "reflect" else 1)
        return
    number = _scalar(p, node, 2) or 0
    value = float(number)
    if value != number:
        raise p.refuse(node, f"pads with {number}, which is no number of float64; pad with a smaller one")
    name, delay = node.inputs[0], p.delay_before(node)
    if first:
        wait = max(0, first - delay)
        name = p.delay(name, wait, 0, value)
        name = p.fill(name, delay + wait, value) if delay else name
        delay += wait - first
    if time is not None:
        before[time] = after[time] = 0
    if any(before) or any(after):
        off_time = Node("Pad", node.name, (name,), node.outputs, {"before": tuple(before), "value": value})
        p.emit(off_time, delay)
    else:
        p.emit(Node("Skip", node.name, (name,), node.outputs, {"items": -first}), delay)


def _recur(p: Pulsifier, node: Node) -> None:
    """The state begins with the first item: as many items as its input is late are passed over, if it walks there."""
    inputs, delay = p.meet(node.inputs)
    wait = delay if p.axis(node) == node.integer("layout", 0) else 0
    p.emit(replace(node, inputs=inputs), delay, wait=wait, activations=",".join(memory.activations(node)))


def _scan(p: Pulsifier, node: Node) -> None:
    scan.unrolled(p, node, infer(scan.opened(node, p.given(node))), lambda inner: _add(p, inner))


def _run(p: Pulsifier, node: Node) -> None:
    """The same for what is known of all items so far, by its maximum, mean or variance."""
    delay = p.delay_before(node)
    p.emit(node, delay, wait=delay)


def _sum_up(p: Pulsifier, node: Node) -> None:
    """What warm-up leaves is nothing to a sum if it is 0."""
    delay, axis = p.delay_before(node), memory.sum_axis(node, p.given(node))
    name = p.fill(node.inputs[0], delay, 0.0) if delay and axis == p.axis(node) else node.inputs[0]
    p.emit(Node("CumSum", node.name, (name,), node.outputs, node.attributes), delay, axis=axis)


def _mirrored(p: Pulsifier, node: Node, first: int, step: int) -> None:
    """The front shows what comes `step` times as far behind it, so that much is waited for."""
    delay = p.delay_before(node)
    if not first:
        p.emit(Node("Skip", node.name, node.inputs[:1], node.outputs, {"items": 0}), delay)
        return
    past = p.delay(node.inputs[0], 0, first * step)
    begin = delay + first * (step - 1)
    p.emit(Node("Front", node.name, (past,), node.outputs, {"begin": begin, "step": step}), begin)


def _repeat(p: Pulsifier, node: Node) -> None:
    """Every item comes several times, so it is late by as many more."""
    times, time = upsampling.factors(node, p.given(node)), p.axis(node)
    delay = p.delay_before(node) * (1 if time is None else times[time])
    p.emit(Node("Resize", node.name, node.inputs[:1], node.outputs), delay, factors=times)


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _follow),
    **dict.fromkeys(COMBINING, _follow),
    **dict.fromkeys(REDUCING, _reduce),
    "AveragePool": sliding.average_pool,
    "Cast": _follow,
    "Clip": _clip,
    "Concat": _off_axis,
    "ConstantOfShape": _constant_of_shape,
    "Conv": sliding.conv,
    **dict.fromkeys(memory.PARTS, _recur),
    "ConvTranspose": sliding.conv_transpose,
    "CumSum": _sum_up,
    "Einsum": _follow,
    "Expand": _expand,
    "Flatten": _reshape,
    "Gather": _gather,
    "LogSoftmax": _off_axis,
    "MatMul": _follow,
    "MaxPool": sliding.max_pool,
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _repeat,
    "RunningMax": _run,
    "RunningMean": _run,
    "RunningVariance": _run,
    "Scan": _scan,
    "Slice": _slice,
    "Softmax": _off_axis,
    "Squeeze": _reshape,
    "Transpose": _transpose,
    "Unfold": sliding.unfold,
    "Unsqueeze": _reshape,
}
