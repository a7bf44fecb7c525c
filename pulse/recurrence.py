"""LSTM, GRU and RNN as steps: one product of all of a pulse with the weights of the input, then one walk along it.

Along time the state survives the pulse. Along another axis it is made anew each time, and can be handed out.
"""

from __future__ import annotations

import numpy as np

from pulse.cells import BEGUN
from pulse.graph import Array, Node
from pulse.lowering import Lowering
from pulse.step import Step, View


def lstm(lo: Lowering, node: Node) -> None:
    """The steps of an LSTM."""
    gates, n, hidden = _gates(lo, node, _bias(lo, node, 4).sum(axis=0))
    state = [_state(lo, node, (n, hidden), index) for index in (1, 2)]
    peepholes = lo.weight(lo.constant(node, 7).reshape(3, hidden)) if lo.has(node, 7) else None
    writes = (_out(lo, node), *state, _left(lo, node), lo.arena((n, 4 * hidden)))
    reads = (gates, lo.weight(lo.constant(node, 2)[0].T), *(_initial(lo, node, index) for index in (5, 6)), peepholes)
    lo.step(node, writes, reads, activations=node.text("activations", ""), clip=node.number("clip", 0.0))


def gru(lo: Lowering, node: Node) -> None:
    """The steps of a GRU. The recurrent bias of its last gate stays apart, as it goes through the reset gate."""
    bias = _bias(lo, node, 3)
    hidden = bias.shape[1] // 3
    apart = bias[1, 2 * hidden :].copy()
    bias[1, 2 * hidden :] = 0
    gates, n, hidden = _gates(lo, node, bias.sum(axis=0))
    recurrent: Array = lo.constant(node, 2)[0].T
    writes = (_out(lo, node), _state(lo, node, (n, hidden), 1), _left(lo, node), lo.arena((n, 4 * hidden)))
    parts = (recurrent[:, : 2 * hidden], recurrent[:, 2 * hidden :], apart)
    reads = (gates, *(lo.weight(part) for part in parts), _initial(lo, node, 5))
    linear = node.integer("linear_before_reset", 0)
    names, clip = node.text("activations", ""), node.number("clip", 0.0)
    lo.step(node, writes, reads, activations=names, clip=clip, linear=linear)


def rnn(lo: Lowering, node: Node) -> None:
    """The steps of a plain recurrent layer."""
    gates, n, hidden = _gates(lo, node, _bias(lo, node, 1).sum(axis=0))
    writes = (_out(lo, node), _state(lo, node, (n, hidden), 1), _left(lo, node))
    reads = (gates, lo.weight(lo.constant(node, 2)[0].T), _initial(lo, node, 5))
    lo.step(node, writes, reads, activations=node.text("activations", ""), clip=node.number("clip", 0.0))


def _bias(lo: Lowering, node: Node, parts: int) -> Array:
    """The biases of the input and of the state, (2, parts*hidden)."""
    size = parts * lo.constant(node, 2).shape[-1]
    return lo.constant(node, 3).reshape(2, size).copy() if lo.has(node, 3) else np.zeros((2, size), np.float32)


def _gates(lo: Lowering, node: Node, bias: Array) -> tuple[View, int, int]:
    """x @ weights + bias (items, n, parts*hidden), and n and hidden."""
    weight: Array = lo.constant(node, 1)[0].T
    x = lo.packed(node, _time_first(lo.read(node), node))
    gates = lo.arena((*x.shape[:2], weight.shape[1]))
    lo.steps.append(Step("MatMul", node.name, (gates,), (x, lo.weight(weight)), {}))
    lo.steps.append(Step("Add", node.name, (gates,), (gates, lo.weight(bias).broadcast(gates.shape)), {}))
    return gates, x.shape[1], lo.constant(node, 2).shape[-1]


def _out(lo: Lowering, node: Node) -> View:
    """Where the items go, (items, n, hidden)."""
    out = lo.write(node)
    direction = 2 if node.integer("layout", 0) else 1
    return _time_first(out.shaped((*out.shape[:direction], *out.shape[direction + 1 :])), node)


def _time_first(x: View, node: Node) -> View:
    return x.transposed((1, 0, 2)) if node.integer("layout", 0) else x


def _walks_in_time(lo: Lowering, node: Node) -> bool:
    return lo.along_time(node, node.integer("layout", 0))


def _state(lo: Lowering, node: Node, shape: tuple[int, int], output: int) -> View:
    """What is remembered (n, hidden), and at the end is the output of that index, unless the walk never ends."""
    if _walks_in_time(lo, node):
        return lo.state(shape, 0.0)
    state = lo.arena(shape)
    lo.copy(node, state, _initial(lo, node, 4 + output) or lo.weight(np.zeros(shape, np.float32)))
    if output < len(node.outputs):
        direction = 1 if node.integer("layout", 0) else 0
        lo.views[node.outputs[output]] = state.shaped((*shape[:direction], 1, *shape[direction:]))
    return state


def _left(lo: Lowering, node: Node) -> View:
    """The items of the warm-up; a state that is made anew begins at once."""
    if _walks_in_time(lo, node):
        return lo.state((1,), float(node.integer("wait", 0)))
    left = lo.arena((1,))
    lo.copy(node, left, lo.weight(np.full(1, BEGUN, np.float32)))
    return left


def _initial(lo: Lowering, node: Node, index: int) -> View | None:
    """What the state begins with (n, hidden), unless that is 0."""
    if not lo.has(node, index) or not np.any(lo.graph.constants.get(node.inputs[index], True)):
        return None
    value = lo.packed(node, lo.read(node, index))
    return value.shaped((value.shape[0] * value.shape[1], value.shape[2]))
