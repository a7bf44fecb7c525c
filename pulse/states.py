"""Rules of `lower` for what survives between pulses: delays, sums and means of all that came, states of a scan."""

from __future__ import annotations

from pulse.graph import Node
from pulse.lowering import Lowering
from pulse.sliding import LOWEST
from pulse.step import View


def delay(lo: Lowering, node: Node) -> None:
    """A ring that the pulse goes into, and the view of it `extra` items before the pulse and its overlap."""
    time, extra, overlap = lo.time(node.inputs[0]), node.integer("extra", 0), node.integer("overlap", 0)
    x = lo.read(node).last(time)
    pulse, rank = x.shape[-1], len(x.shape)
    order = (rank - 1, *(axis for axis in x.order if axis != rank - 1))
    ring = lo.state((*x.shape[:-1], extra + overlap + pulse), node.number("value", 0.0), order, kind=x.kind)
    lo.step(node, (ring,), (x,))
    lo.views[node.outputs[0]] = ring.cut(len(x.shape) - 1, 0, overlap + pulse).back(time)


def fill(lo: Lowering, node: Node) -> None:
    """A copy with a number in place of the first items; how many are left is kept."""
    time = lo.time(node.inputs[0])
    left = lo.state((1,), float(node.integer("until", 0)))
    lo.step(node, (lo.write(node).last(time), left), (lo.read(node).last(time),), value=node.number("value", 0.0))


def cum_sum(lo: Lowering, node: Node) -> None:
    """The sum so far is kept if it goes along time."""
    axis = node.integer("axis", 0)
    x, out = lo.read(node).last(axis), lo.write(node).last(axis)
    if node.integer("reverse", 0):
        x, out = (view.cut(len(view.shape) - 1, view.shape[-1] - 1, view.shape[-1], -1) for view in (x, out))
    total = lo.state((*x.shape[:-1], 1), 0.0, kind=x.kind) if lo.along_time(node, axis) else None
    lo.step(node, (out, total), (x,), exclusive=node.integer("exclusive", 0))


def running_max(lo: Lowering, node: Node) -> None:
    """The maximum so far is kept."""
    out, left, x = _running(lo, node)
    lo.step(node, (out, left, lo.state((*x.shape[:-1], 1), LOWEST[x.kind], kind=x.kind)), (x,))


def running_mean(lo: Lowering, node: Node) -> None:
    """The count and the mean so far are kept, in 64 bits."""
    out, left, x = _running(lo, node)
    memory = (lo.state((1,), 0.0, kind="float64"), lo.state(x.shape[:-1], 0.0, kind="float64"))
    lo.step(node, (out, left, *memory, lo.arena(x.shape[:-1], kind="float64")), (x,))


def running_variance(lo: Lowering, node: Node) -> None:
    """The count, the mean and the squares so far are kept, in 64 bits."""
    out, left, x = _running(lo, node)
    memory = (lo.state(shape, 0.0, kind="float64") for shape in ((1,), x.shape[:-1], x.shape[:-1]))
    scratch = (lo.arena(x.shape[:-1], kind="float64") for _ in range(2))
    lo.step(node, (out, left, *memory, *scratch), (x,), correction=node.integer("correction", 0))


def _running(lo: Lowering, node: Node) -> tuple[View, View, View]:
    """Where the results go, the items of the warm-up that are left, and the input; time last."""
    time = lo.time(node.inputs[0])
    return lo.write(node).last(time), lo.state((1,), float(node.integer("wait", 0))), lo.read(node).last(time)


def edge(lo: Lowering, node: Node) -> None:
    """What lies in front of the first item is like it."""
    time, first = lo.time(node.inputs[0]), lo.state((1,), float(node.integer("first", 0)))
    out, past = lo.write(node).last(time), lo.read(node).last(time)
    lo.step(node, (out, first), (past,), items=node.integer("items", 0))


def front(lo: Lowering, node: Node) -> None:
    """The front of time, mirrored."""
    time = lo.time(node.inputs[0])
    place = lo.state((1,), -float(node.integer("begin", 0)))
    out, past = lo.write(node).last(time), lo.read(node).last(time)
    lo.step(node, (out, place), (past,), step=node.integer("step", 1))


def recall(lo: Lowering, node: Node) -> None:
    """Its output is an array of its own: what reads it may do so after the next states are stored."""
    name = node.outputs[0]
    out, left = lo.write(node), lo.state((1,), float(node.integer("wait", 0)))
    state = lo.state(out.shape, 0.0, kind=out.kind)
    lo.views |= {f"{name}.stored": state, f"{name}.left": left}
    lo.step(node, (out,), (state, left, lo.read(node)))


def keep(lo: Lowering, node: Node) -> None:
    """What a scan computes, or what its state began with while its first item has not come."""
    reads = (lo.views[f"{node.inputs[0]}.left"], lo.read(node, 1), lo.read(node, 2))
    lo.step(node, (lo.write(node),), reads, item=node.integer("item", 0))


def store(lo: Lowering, node: Node) -> None:
    """What the next pulse recalls."""
    many, items = node.integer("states", 0), node.integer("items", 0)
    for index, recalled in enumerate(node.inputs[:many]):
        writes = lo.views[f"{recalled}.stored"], lo.views[f"{recalled}.left"]
        lo.step(node, writes, (lo.read(node, many + index),), items=items)
    for index, name in enumerate(node.outputs):
        lo.views[name] = lo.read(node, 2 * many + index)
