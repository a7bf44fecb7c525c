"""`lower`: the pulsed graph becomes a `Plan`.

Theory of operation. Every value of the pulsed graph gets a `View` on a slot. What only moves an index (transpose,
slice, squeeze, broadcast) is another view and no step. A `Delay` keeps its items in a state slot, time last, so that a
window reads its taps from there as one more view: tap `j` of a convolution is the same memory, `j * dilation` items on.
What a convolution makes lies channel by channel within each place, so that a tap is one run of memory
for all channels, and elementwise steps keep the order of what they read. Slots get their places last, in `place`.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from pulse.errors import GraphError
from pulse.fuse import fuse
from pulse.graph import Graph, Node
from pulse.header import MAX_NUMBERS
from pulse.infer import COMBINING, ELEMENTWISE, REDUCING
from pulse.integer_rules import RULES as INTEGER_RULES
from pulse.layers import equation
from pulse.lowering import Lowering, by_place, columns, grouped, put_back, taps
from pulse.place import lives, placed, weights
from pulse.plan import Plan, with_golden
from pulse.reach import receptive_field
from pulse.recurrence import gru, lstm, rnn
from pulse.sliding import LOWEST
from pulse.step import ROOMS, Parameter, Step, View, handed_out, held, room_size

Rule = Callable[[Lowering, Node], None]


def lower(graph: Graph) -> Plan:
    """The plan of a pulsed graph, with the golden vector it is checked by when it is loaded."""
    return with_golden(planned(graph, fuse(graph)))


def planned(graph: Graph, fused: Graph) -> Plan:
    """The plan of a graph as it is after `fuse`, without a golden vector; outputs may be there that `graph` has not."""
    lowering = Lowering(fused)
    for node in fused.nodes:
        RULES[node.op](lowering, node)
    outputs = {name: lowering.output(value) for name, value in fused.outputs.items()}
    inputs = {name: lowering.views[name] for name in graph.inputs}
    _check_full(lowering.steps)
    slots = placed(lowering.drafts, lives(lowering.steps, inputs.values(), outputs.values()))
    for room in ROOMS:
        if room_size(slots, room) > MAX_NUMBERS:
            raise GraphError(f"lower: the plan needs {room_size(slots, room)} numbers of {room}, over {MAX_NUMBERS}")
    return Plan(
        pulse=_pulse(graph),
        delay=tuple(graph.delay_of(value) for value in graph.outputs.values()),
        stride=tuple(_stride(graph, value) for value in graph.outputs.values()),
        receptive_field=receptive_field(graph),
        inputs=inputs,
        outputs=outputs,
        input_dtypes=tuple(item.dtype for item in graph.inputs.values()),
        output_dtypes=tuple(handed_out(fused.facts[value].dtype) for value in fused.outputs.values()),
        slots=slots,
        steps=tuple(lowering.steps),
        weights=weights(lowering.drafts, slots),
        metadata=dict(graph.metadata),
    )


def _check_full(steps: Sequence[Step]) -> None:
    """No kernel needs to know what the mean of nothing is."""
    for step in steps:
        if not all(view.size for view in (*step.writes, *step.reads) if view):
            raise GraphError(f"lower: {step.node!r} computes with a value without elements")


def _stride(graph: Graph, value: str) -> int | Fraction:
    stream = graph.facts[value].stream
    stride = 1 / stream.length.rate if stream else Fraction(1)
    return stride.numerator if stride.denominator == 1 else stride


def _pulse(graph: Graph) -> int:
    """What comes without time comes whole, as one item."""
    streams = ((item, item.stream) for item in graph.inputs.values() if item.stream)
    return next((int(item.sizes[stream.axis] / stream.length.rate) for item, stream in streams), 1)


def _parameters(node: Node, *keys: str) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for key in keys:
        value = node.attributes.get(key)
        if isinstance(value, int | float | str):
            found[key] = value
    return found


def _elementwise(lo: Lowering, node: Node) -> None:
    x = lo.read(node)
    writes = lo.write(node, x.order), lo.arena(x.shape, x.order, kind=x.kind)
    lo.step(node, writes, (x,), **_parameters(node, "alpha", "beta", "low", "high"))


def _combining(lo: Lowering, node: Node) -> None:
    reads = tuple(lo.read(node, index).broadcast(lo.shape(node)) for index in range(len(node.inputs)))
    out = lo.write(node, max(reads, key=_spread).order)
    scratch = (lo.arena(out.shape, kind=out.kind),) if node.op == "Where" else ()
    lo.step(node, (out, *scratch), reads, **_parameters(node, "fmod"))


def _spread(view: View) -> int:
    """The elements that are there in memory, and not only repeated."""
    return math.prod(size for size, stride in zip(view.shape, view.strides, strict=True) if stride)


def _cast(lo: Lowering, node: Node) -> None:
    """What is held as the same kind, of which the new type has all numbers of the old one, needs no step."""
    before, after = (lo.graph.facts[name].dtype for name in (*node.inputs, *node.outputs))
    if held(before) == held(after) and after in ("float32", "int64"):
        lo.views[node.outputs[0]] = lo.read(node)
        return
    lo.step(node, (lo.write(node),), (lo.read(node),), to=after)


def _softmax(lo: Lowering, node: Node) -> None:
    x, axis = lo.read(node), node.integer("axis", -1)
    total = lo.arena((*x.shape[:axis], 1, *x.shape[axis + 1 :]))
    lo.step(node, (lo.write(node), lo.arena(x.shape), total), (x,), axis=axis)


def _reduce(lo: Lowering, node: Node) -> None:
    x, axes = lo.read(node), node.integers("axes", ())
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    lo.step(node, (lo.write(node).shaped(kept),), (x,), axes=axes)


def _delay(lo: Lowering, node: Node) -> None:
    time, extra, overlap = lo.time(node.inputs[0]), node.integer("extra", 0), node.integer("overlap", 0)
    x = lo.read(node).last(time)
    pulse, rank = x.shape[-1], len(x.shape)
    order = (rank - 1, *(axis for axis in x.order if axis != rank - 1))
    ring = lo.state((*x.shape[:-1], extra + overlap + pulse), node.number("value", 0.0), order, kind=x.kind)
    lo.step(node, (ring,), (x,))
    lo.views[node.outputs[0]] = put_back(ring.cut(len(x.shape) - 1, 0, overlap + pulse), time)


def _fill(lo: Lowering, node: Node) -> None:
    time = lo.time(node.inputs[0])
    left = lo.state((1,), float(node.integer("until", 0)))
    lo.step(node, (lo.write(node).last(time), left), (lo.read(node).last(time),), value=node.number("value", 0.0))


def _cum_sum(lo: Lowering, node: Node) -> None:
    axis = node.integer("axis", 0)
    x, out = lo.read(node).last(axis), lo.write(node).last(axis)
    if node.integer("reverse", 0):
        x, out = (view.cut(len(view.shape) - 1, view.shape[-1] - 1, view.shape[-1], -1) for view in (x, out))
    total = lo.state((*x.shape[:-1], 1), 0.0, kind=x.kind) if lo.along_time(node, axis) else None
    lo.step(node, (out, total), (x,), exclusive=node.integer("exclusive", 0))


def _running_max(lo: Lowering, node: Node) -> None:
    out, left, x = _running(lo, node)
    lo.step(node, (out, left, lo.state((*x.shape[:-1], 1), LOWEST[x.kind], kind=x.kind)), (x,))


def _running_mean(lo: Lowering, node: Node) -> None:
    out, left, x = _running(lo, node)
    memory = (lo.state((1,), 0.0, kind="float64"), lo.state(x.shape[:-1], 0.0, kind="float64"))
    lo.step(node, (out, left, *memory, lo.arena(x.shape[:-1], kind="float64")), (x,))


def _running_variance(lo: Lowering, node: Node) -> None:
    out, left, x = _running(lo, node)
    memory = (lo.state(shape, 0.0, kind="float64") for shape in ((1,), x.shape[:-1], x.shape[:-1]))
    scratch = (lo.arena(x.shape[:-1], kind="float64") for _ in range(2))
    lo.step(node, (out, left, *memory, *scratch), (x,), correction=node.integer("correction", 0))


def _running(lo: Lowering, node: Node) -> tuple[View, View, View]:
    """Where the results go, the items of the warm-up that are left, and the input; time last."""
    time = lo.time(node.inputs[0])
    return lo.write(node).last(time), lo.state((1,), float(node.integer("wait", 0))), lo.read(node).last(time)


def _edge(lo: Lowering, node: Node) -> None:
    time, first = lo.time(node.inputs[0]), lo.state((1,), float(node.integer("first", 0)))
    out, past = lo.write(node).last(time), lo.read(node).last(time)
    lo.step(node, (out, first), (past,), items=node.integer("items", 0))


def _front(lo: Lowering, node: Node) -> None:
    time = lo.time(node.inputs[0])
    place = lo.state((1,), -float(node.integer("begin", 0)))
    out, past = lo.write(node).last(time), lo.read(node).last(time)
    lo.step(node, (out, place), (past,), step=node.integer("step", 1))


def _conv(lo: Lowering, node: Node) -> None:
    x, w, group = lo.read(node), lo.constant(node, 1), node.integer("group", 1)
    filters, channels, *kernel = w.shape
    n, made, *places = lo.shape(node)
    items, inside = math.prod(places), range(2, 2 + len(places))
    w = np.moveaxis(w.reshape(group, filters // group, channels, *kernel), (1, 2), (-1, -2))
    weight = lo.weight(w.reshape(group, -1, filters // group))
    bias = lo.weight(lo.constant(node, 2).reshape(group, 1, filters // group)) if lo.has(node, 2) else None
    seen = by_place(taps(x.split(1, group), 3, node, tuple(places)), len(kernel))
    gathered, matrix = columns(lo, seen, (n, group, items, weight.shape[1]))
    addend = None
    if lo.has(node, 3):
        addend = lo.read(node, 3).transposed((0, *inside, 1))
        addend = addend if len(places) == 1 else lo.packed(node, addend).shaped((n, items, filters))
        addend = grouped(addend, group)
    out = lo.arena((n, *places, made))
    lo.views[node.outputs[0]] = put_back(out, 1)
    out = grouped(out.shaped((n, items, made)), group)
    product = out if made == filters else lo.arena((n, group, items, filters // group))
    writes, reads = (out, product, gathered), (seen, matrix, weight, bias, addend)
    lo.step(node, writes, reads, activation=node.text("activation", ""))


def _pool(lo: Lowering, node: Node) -> None:
    seen = taps(lo.read(node), 2, node, lo.shape(node)[2:])
    lo.step(node, (lo.write(node),), (seen,))


def _gate(lo: Lowering, node: Node) -> None:
    x = lo.read(node).last(1)
    lo.step(node, (lo.write(node, (0, 2, 1)).last(1), lo.arena(x.shape)), (x,))


def _matmul(lo: Lowering, node: Node) -> None:
    x, y = (lo.packed(node, lo.read(node, index)) for index in (0, 1))
    lo.step(node, (lo.write(node),), (x, y))


def _einsum(lo: Lowering, node: Node) -> None:
    reads = [lo.read(node, index) for index in range(len(node.inputs))]
    labels, made = equation(node, [len(x.shape) for x in reads])
    text = f"{','.join(labels)}->{made}"
    spare = (label for label in string.ascii_letters if label not in text)
    for number in (label for label in sorted({*text}) if label.isdigit()):  # axes that dots stand for
        text = text.replace(number, next(spare))
    lo.step(node, (lo.write(node),), reads, equation=text)


def _expand(lo: Lowering, node: Node) -> None:
    lo.views[node.outputs[0]] = lo.read(node).broadcast(lo.shape(node))


def _gather(lo: Lowering, node: Node) -> None:
    """Copies of what lies apart by the same step: one when the indices count up or down."""
    x, axis = lo.read(node), node.integer("axis", 0)
    indices = [int(index) % x.shape[axis] for index in lo.constant(node, 1).reshape(-1)]
    out = lo.write(node).shaped((*x.shape[:axis], len(indices), *x.shape[axis + 1 :]))
    start = 0
    while start < len(indices):
        count, step = _run(indices[start:])
        lo.copy(node, out.cut(axis, start, count), x.cut(axis, indices[start], count, step))
        start += count


def _take(lo: Lowering, node: Node) -> None:
    indices = lo.read(node)
    lo.step(node, (lo.write(node), lo.arena(indices.shape, kind=indices.kind)), (indices, lo.read(node, 1)))


def _run(indices: list[int]) -> tuple[int, int]:
    """How many of the first indices are apart by one step, and that step."""
    if len(indices) == 1:
        return 1, 1
    step = indices[1] - indices[0]
    count = 2
    while count < len(indices) and indices[count] - indices[count - 1] == step:
        count += 1
    return count, step


def _concat(lo: Lowering, node: Node) -> None:
    reads = [lo.read(node, index) for index in range(len(node.inputs))]
    out, axis, start = lo.write(node, max(reads, key=_spread).order), node.integer("axis", 0), 0
    for x in reads:
        lo.copy(node, out.cut(axis, start, x.shape[axis]), x)
        start += x.shape[axis]


def _pad(lo: Lowering, node: Node) -> None:
    x, out = lo.read(node), lo.write(node)
    inside = out
    for axis, start in enumerate(node.integers("before", ())):
        inside = inside.cut(axis, start, x.shape[axis])
    lo.step(node, (out, inside), (x,), value=node.number("value", 0.0))


def _stuff(lo: Lowering, node: Node) -> None:
    x, out = lo.read(node), lo.write(node)
    inside = out
    for axis, (start, step) in enumerate(
        zip(node.integers("before", ()), node.integers("strides", ()), strict=True), 2
    ):
        inside = inside.cut(axis, start, x.shape[axis], step)
    lo.steps.append(Step("Pad", node.name, (out, inside), (x,), {"value": 0.0}))


def _resize(lo: Lowering, node: Node) -> None:
    """A copy that reads every item as often as it is repeated."""
    x, out = lo.read(node), lo.write(node)
    for axis, factor in reversed([*enumerate(node.integers("factors", ()))]):
        if factor > 1:
            out = out.split(axis, x.shape[axis])
            shape, strides = (*x.shape[: axis + 1], factor), (*x.strides[: axis + 1], 0)
            x = replace(x, shape=(*shape, *x.shape[axis + 1 :]), strides=(*strides, *x.strides[axis + 1 :]))
    lo.copy(node, out, x)


def _slice(lo: Lowering, node: Node) -> None:
    view, shape = lo.read(node), lo.shape(node)
    for axis, start, step in zip(*(node.integers(key, ()) for key in ("axes", "starts", "steps")), strict=True):
        view = view.cut(axis, start, shape[axis], step)
    lo.views[node.outputs[0]] = view


def _recall(lo: Lowering, node: Node) -> None:
    """Its output is an array of its own: what reads it may do so after the next states are stored."""
    name = node.outputs[0]
    out, left = lo.write(node), lo.state((1,), float(node.integer("wait", 0)))
    state = lo.state(out.shape, 0.0, kind=out.kind)
    lo.views |= {f"{name}.stored": state, f"{name}.left": left}
    lo.step(node, (out,), (state, left, lo.read(node)))


def _keep(lo: Lowering, node: Node) -> None:
    reads = (lo.views[f"{node.inputs[0]}.left"], lo.read(node, 1), lo.read(node, 2))
    lo.step(node, (lo.write(node),), reads, item=node.integer("item", 0))


def _store(lo: Lowering, node: Node) -> None:
    many, items = node.integer("states", 0), node.integer("items", 0)
    for index, recalled in enumerate(node.inputs[:many]):
        writes = lo.views[f"{recalled}.stored"], lo.views[f"{recalled}.left"]
        lo.step(node, writes, (lo.read(node, many + index),), items=items)
    for index, name in enumerate(node.outputs):
        lo.views[name] = lo.read(node, 2 * many + index)


def _unfold(lo: Lowering, node: Node) -> None:
    x, axis = lo.read(node), node.integer("axis", 0)
    apart = (x.strides[axis] * node.integer(key, 1) for key in ("stride", "dilation"))
    strides = (*x.strides[:axis], *apart, *x.strides[axis + 1 :])
    lo.views[node.outputs[0]] = replace(x, shape=lo.shape(node), strides=strides)


def _transpose(lo: Lowering, node: Node) -> None:
    lo.views[node.outputs[0]] = lo.read(node).transposed(node.integers("perm", ()))


def _reshape(lo: Lowering, node: Node) -> None:
    lo.views[node.outputs[0]] = lo.packed(node, lo.read(node)).shaped(lo.shape(node))


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(COMBINING, _combining),
    **dict.fromkeys(REDUCING, _reduce),
    **INTEGER_RULES,
    "AveragePool": _pool,
    "Cast": _cast,
    "Clip": _elementwise,
    "Concat": _concat,
    "Conv": _conv,
    "CumSum": _cum_sum,
    "Delay": _delay,
    "Edge": _edge,
    "Einsum": _einsum,
    "Expand": _expand,
    "Fill": _fill,
    "Front": _front,
    "GRU": gru,
    "Gate": _gate,
    "Gather": _gather,
    "Keep": _keep,
    "LSTM": lstm,
    "LogSoftmax": _softmax,
    "MatMul": _matmul,
    "MaxPool": _pool,
    "Pad": _pad,
    "RNN": rnn,
    "Recall": _recall,
    "Reshape": _reshape,
    "Resize": _resize,
    "RunningMax": _running_max,
    "RunningMean": _running_mean,
    "RunningVariance": _running_variance,
    "Slice": _slice,
    "Softmax": _softmax,
    "Store": _store,
    "Stuff": _stuff,
    "Take": _take,
    "Transpose": _transpose,
    "Unfold": _unfold,
}
