"""Rules of `lower` for what only moves numbers: another view where that is enough, copies where it is not."""

from __future__ import annotations

from dataclasses import replace

from pulse.graph import Node
from pulse.lowering import Lowering
from pulse.step import Step, View


def expand(lo: Lowering, node: Node) -> None:
    """A view that repeats."""
    lo.views[node.outputs[0]] = lo.read(node).broadcast(lo.shape(node))


def gather(lo: Lowering, node: Node) -> None:
    """Copies of what lies apart by the same step: one when the indices count up or down."""
    x, axis = lo.read(node), node.integer("axis", 0)
    indices = [int(index) % x.shape[axis] for index in lo.constant(node, 1).reshape(-1)]
    out = lo.write(node).shaped((*x.shape[:axis], len(indices), *x.shape[axis + 1 :]))
    start = 0
    while start < len(indices):
        count, step = _run(indices, start)
        lo.copy(node, out.cut(axis, start, count), x.cut(axis, indices[start], count, step))
        start += count


def _run(indices: list[int], start: int) -> tuple[int, int]:
    """How many of the indices from `start` on are apart by one step, and that step."""
    if len(indices) == start + 1:
        return 1, 1
    step = indices[start + 1] - indices[start]
    end = start + 2
    while end < len(indices) and indices[end] - indices[end - 1] == step:
        end += 1
    return end - start, step


def concat(lo: Lowering, node: Node) -> None:
    """A copy of every part into its place."""
    reads = [lo.read(node, index) for index in range(len(node.inputs))]
    out, axis, start = lo.write(node, max(reads, key=View.there).order), node.integer("axis", 0), 0
    for x in reads:
        lo.copy(node, out.cut(axis, start, x.shape[axis]), x)
        start += x.shape[axis]


def pad(lo: Lowering, node: Node) -> None:
    """A copy into an array that holds one number."""
    x, out = lo.read(node), lo.write(node)
    inside = out
    for axis, start in enumerate(node.integers("before", ())):
        inside = inside.cut(axis, start, x.shape[axis])
    lo.step(node, (out, inside), (x,), value=node.number("value", 0.0))


def stuff(lo: Lowering, node: Node) -> None:
    """A copy with zeros behind every item."""
    x, out = lo.read(node), lo.write(node)
    inside = out
    for axis, (start, step) in enumerate(
        zip(node.integers("before", ()), node.integers("strides", ()), strict=True), 2
    ):
        inside = inside.cut(axis, start, x.shape[axis], step)
    lo.append(Step("Pad", node.name, (out, inside), (x,), {"value": 0.0}))


def resize(lo: Lowering, node: Node) -> None:
    """A copy that reads every item as often as it is repeated."""
    x, out = lo.read(node), lo.write(node)
    for axis, factor in reversed([*enumerate(node.integers("factors", ()))]):
        if factor > 1:
            out = out.split(axis, x.shape[axis])
            shape, strides = (*x.shape[: axis + 1], factor), (*x.strides[: axis + 1], 0)
            x = replace(x, shape=(*shape, *x.shape[axis + 1 :]), strides=(*strides, *x.strides[axis + 1 :]))
    lo.copy(node, out, x)


def sliced(lo: Lowering, node: Node) -> None:
    """A view of what is taken."""
    view, shape = lo.read(node), lo.shape(node)
    for axis, start, step in zip(*(node.integers(key, ()) for key in ("axes", "starts", "steps")), strict=True):
        view = view.cut(axis, start, shape[axis], step)
    lo.views[node.outputs[0]] = view


def unfold(lo: Lowering, node: Node) -> None:
    """A view with the items of each window on an axis of their own."""
    x, axis = lo.read(node), node.integer("axis", 0)
    apart = (x.strides[axis] * node.integer(key, 1) for key in ("stride", "dilation"))
    strides = (*x.strides[:axis], *apart, *x.strides[axis + 1 :])
    lo.views[node.outputs[0]] = replace(x, shape=lo.shape(node), strides=strides)


def transpose(lo: Lowering, node: Node) -> None:
    """A view with its axes in another order."""
    lo.views[node.outputs[0]] = lo.read(node).transposed(node.integers("perm", ()))


def reshape(lo: Lowering, node: Node) -> None:
    """A view, if its elements lie side by side."""
    lo.views[node.outputs[0]] = lo.packed(node, lo.read(node)).shaped(lo.shape(node))
