"""`lower`: the pulsed graph becomes a `Plan`.

Theory of operation. Every value of the pulsed graph gets a `View` on a slot. What only moves an index (transpose,
slice, squeeze, broadcast) is another view and no step. A `Delay` keeps its items in a state slot, time last, so that a
window reads its taps from there as one more view: tap `j` of a convolution is the same memory, `j * dilation` items on.
What a convolution makes lies channel by channel within each place, so that a tap is one run of memory
for all channels, and elementwise steps keep the order of what they read. Slots get their places last, in `place`.

The rules by purpose: what only moves numbers in `copies`, what survives between pulses in `states` and `recurrence`,
what multiplies or slides in `products`, and the rest here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from pulse import copies, products, states
from pulse.errors import GraphError
from pulse.fuse import fuse
from pulse.graph import Graph, Node
from pulse.header import MAX_NUMBERS
from pulse.infer import COMBINING, ELEMENTWISE, REDUCING
from pulse.integer_rules import RULES as INTEGER_RULES
from pulse.lowering import Lowering
from pulse.place import lives, placed, weights
from pulse.plan import Plan, with_golden
from pulse.reach import receptive_field
from pulse.recurrence import gru, lstm, rnn
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
    out = lo.write(node, max(reads, key=View.there).order)
    scratch = (lo.arena(out.shape, kind=out.kind),) if node.op == "Where" else ()
    lo.step(node, (out, *scratch), reads, **_parameters(node, "fmod"))


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


def _take(lo: Lowering, node: Node) -> None:
    indices = lo.read(node)
    lo.step(node, (lo.write(node), lo.arena(indices.shape, kind=indices.kind)), (indices, lo.read(node, 1)))


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(COMBINING, _combining),
    **dict.fromkeys(REDUCING, _reduce),
    **INTEGER_RULES,
    "AveragePool": products.pool,
    "Cast": _cast,
    "Clip": _elementwise,
    "Concat": copies.concat,
    "Conv": products.conv,
    "CumSum": states.cum_sum,
    "Delay": states.delay,
    "Edge": states.edge,
    "Einsum": products.einsum,
    "Expand": copies.expand,
    "Fill": states.fill,
    "Front": states.front,
    "GRU": gru,
    "Gate": products.gate,
    "Gather": copies.gather,
    "Keep": states.keep,
    "LSTM": lstm,
    "LogSoftmax": _softmax,
    "MatMul": products.matmul,
    "MaxPool": products.pool,
    "Pad": copies.pad,
    "RNN": rnn,
    "Recall": states.recall,
    "Reshape": copies.reshape,
    "Resize": copies.resize,
    "RunningMax": states.running_max,
    "RunningMean": states.running_mean,
    "RunningVariance": states.running_variance,
    "Slice": copies.sliced,
    "Softmax": _softmax,
    "Store": states.store,
    "Stuff": copies.stuff,
    "Take": _take,
    "Transpose": copies.transpose,
    "Unfold": copies.unfold,
}
