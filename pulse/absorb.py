"""Rules by which a convolution takes in what is around it: pads, scales, offsets, and its twin under a gate.

They are part of `declutter`; each states its algebra.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pulse.dim import Length
from pulse.graph import Array, Node
from pulse.moves import pads
from pulse.rewrite import Patch, Site
from pulse.window import Window, windows


def pad_into_conv(site: Site) -> Patch | None:
    """conv(pad(x)) = conv(x) with more pads, conv(transpose(pad(x))) = conv(transpose(x)) with more pads"""
    node = site.node
    pad, move = _in_front(site, "Pad")
    if pad is None:
        return None
    given = [site.graph.facts[name] if name else None for name in pad.inputs]
    before, after = ([amounts[axis] for axis in _order(site, node, move)] for amounts in pads(pad, given))
    value = given[2].value if len(given) > 2 and given[2] is not None else np.zeros(1)
    if pad.text("mode", "constant") != "constant" or any(before[:2] + after[:2]) or value is None or np.any(value):
        return None
    inside = _windows(site, node)
    padded = (*(slide.before + more for slide, more in zip(inside, before[2:], strict=True)),)
    padded += (*(slide.after + more for slide, more in zip(inside, after[2:], strict=True)),)
    attributes = {**node.attributes, "pads": padded, "auto_pad": "NOTSET"}
    x, moved = _moved(move, pad.inputs[0])
    conv = Node("Conv", node.name, (x, *node.inputs[1:]), node.outputs, attributes)
    return Patch(f"{pad} goes into {node}", (*moved, node), (*moved, conv))


def _in_front(site: Site, *ops: str) -> tuple[Node | None, Node | None]:
    """What makes the input of a convolution and nothing else, if it is one of `ops`, and a transpose in between."""
    if site.node.op != "Conv":
        return None, None
    x = site.node.inputs[0]
    move = site.sole(x, "Transpose")
    made = site.producer(move.inputs[0], *ops) if move else site.producer(x, *ops)
    return made, move


def _order(site: Site, conv: Node, move: Node | None) -> tuple[int, ...]:
    """Where the axes of the input of a convolution are in front of the transpose."""
    rank = len(site.graph.facts[conv.inputs[0]].shape)
    return move.integers("perm", tuple(reversed(range(rank)))) if move else tuple(range(rank))


def _moved(move: Node | None, x: str) -> tuple[str, tuple[Node, ...]]:
    """What a convolution reads if it is to read `x` behind the transpose, and the transpose."""
    return (move.outputs[0], (replace(move, inputs=(x,)),)) if move else (x, ())


def scale_after_conv(site: Site) -> Patch | None:
    """(w * x + b) * c = (c w) * x + c b, (w * x + b) + c = w * x + (b + c), with c one number per channel"""
    node = site.node
    for stream, other in ((0, 1), (1, 0)) if node.op in ("Mul", "Add") else ():
        conv = site.sole(node.inputs[stream], "Conv")
        c = _per_channel(site.constant(other), site.graph.facts[node.outputs[0]].shape)
        if conv is None or c is None:
            continue
        w, b = _weights(site, conv)
        b = b * c if node.op == "Mul" else b + c
        w = w * c.reshape(-1, *[1] * (w.ndim - 1)) if node.op == "Mul" else w
        y, constants = _reweighted(conv, conv.inputs[0], node.outputs[0], (w, b))
        return Patch(f"{node} goes into {conv}", (conv, node), (y,), constants)
    return None


def scale_before_conv(site: Site) -> Patch | None:
    """w * (x c) + b = (w c) * x + b, w * (x + c) + b = w * x + (b + sum(w c)), where no zeros are padded in between"""
    conv, facts = site.node, site.graph.facts
    scale, move = _in_front(site, "Mul", "Add")
    if scale is None or site.sole(scale.outputs[0], scale.op) is None or conv.integer("group", 1) != 1:
        return None
    if scale.op == "Add" and any(slide.before + slide.after for slide in _windows(site, conv)):
        return None
    shape = facts[scale.outputs[0]].shape
    for x, other in (scale.inputs, reversed(scale.inputs)):
        value = facts[other].value
        if value is None or facts[x].shape != shape or value.ndim > len(shape):
            continue
        full = value.reshape((1,) * (len(shape) - value.ndim) + value.shape)
        c = _per_channel(full.transpose(_order(site, conv, move)), facts[conv.inputs[0]].shape)
        if c is None:
            continue
        w, b = _weights(site, conv)
        b = b + (w.sum(axis=tuple(range(2, w.ndim))) @ c if scale.op == "Add" else 0)
        w = w * c.reshape(1, -1, *[1] * (w.ndim - 2)) if scale.op == "Mul" else w
        read, moved = _moved(move, x)
        y, constants = _reweighted(conv, read, conv.outputs[0], (w, b))
        return Patch(f"{scale} goes into {conv}", (scale, *moved, conv), (*moved, y), constants)
    return None


def gate_of_two(site: Site) -> Patch | None:
    """tanh(v * x + a) * sigmoid(w * x + b) = tanh(y[:half]) * sigmoid(y[half:]), with y = (v, w) * x + (a, b)"""
    node = site.node
    for first, second in ((0, 1), (1, 0)) if node.op == "Mul" else ():
        tanh, sigmoid = site.sole(node.inputs[first], "Tanh"), site.sole(node.inputs[second], "Sigmoid")
        v = tanh and site.sole(tanh.inputs[0], "Conv")
        w = sigmoid and site.sole(sigmoid.inputs[0], "Conv")
        if v and w and v != w and _are_alike(site, v, w):
            return _one_conv(site, v, w)
    return None


def _are_alike(site: Site, v: Node, w: Node) -> bool:
    shapes = [site.graph.facts[conv.inputs[1]].shape for conv in (v, w)]
    plain = all(conv.integer("group", 1) == 1 for conv in (v, w))
    return plain and v.inputs[0] == w.inputs[0] and shapes[0] == shapes[1] and _windows(site, v) == _windows(site, w)


def _one_conv(site: Site, v: Node, w: Node) -> Patch:
    y = f"{v.outputs[0]}+{w.outputs[0]}"
    weights, biases = (np.concatenate(pair) for pair in zip(_weights(site, v), _weights(site, w), strict=True))
    half = len(weights) // 2
    constants = {f"{y}.w": weights.astype(np.float32), f"{y}.b": biases.astype(np.float32)}
    constants |= {f"{y}.{number}": np.array([number]) for number in (0, 1, half, 2 * half)}
    conv = Node("Conv", v.name, (v.inputs[0], f"{y}.w", f"{y}.b"), (y,), v.attributes)
    cut = [Node("Slice", f"{v.name}[:{half}]", (y, f"{y}.0", f"{y}.{half}", f"{y}.1"), v.outputs)]
    cut += [Node("Slice", f"{w.name}[{half}:]", (y, f"{y}.{half}", f"{y}.{2 * half}", f"{y}.1"), w.outputs)]
    return Patch(f"{w} joins {v}", (v, w), (conv, *cut), constants)


def _windows(site: Site, conv: Node) -> tuple[Window, ...]:
    facts = site.graph.facts
    return windows(conv, facts[conv.inputs[1]].sizes[2:], facts[conv.inputs[0]].shape[2:])


def _per_channel(value: Array | None, shape: tuple[Length, ...]) -> Array | None:
    """A constant beside a value of the shape `shape` as one number per channel, if it is that."""
    rank = len(shape)
    if value is None or rank < 3 or value.ndim > rank or not isinstance(shape[1], int):
        return None
    full = value.reshape((1,) * (rank - value.ndim) + value.shape)
    if full.shape not in ((1,) * rank, (1, shape[1], *[1] * (rank - 2))):
        return None
    return np.broadcast_to(full.reshape(-1), shape[1]).astype(np.float64)


def _weights(site: Site, conv: Node) -> tuple[Array, Array]:
    w = np.asarray(site.graph.facts[conv.inputs[1]].value, np.float64)
    if len(conv.inputs) > 2 and conv.inputs[2]:
        return w, np.asarray(site.graph.facts[conv.inputs[2]].value, np.float64)
    return w, np.zeros(len(w))


def _reweighted(conv: Node, x: str, y: str, weights: tuple[Array, Array]) -> tuple[Node, dict[str, Array]]:
    """The convolution of `x` with other weights, and their constants."""
    names = (f"{y}.w", f"{y}.b")
    constants = {name: value.astype(np.float32) for name, value in zip(names, weights, strict=True)}
    return Node("Conv", conv.name, (x, *names), (y,), conv.attributes), constants
