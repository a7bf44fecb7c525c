"""Recurrent layers that walk backwards, along an axis that is not time, as layers that walk forwards."""

from __future__ import annotations

import numpy as np

from pulse.graph import Attribute
from pulse.memory import PARTS, STATES, activations, directions
from pulse.rewrite import Patch, Site, Written

_FIRST = -(1 << 31)  # an end in front of all items
_WEIGHTS = (1, 2, 3, 7)  # inputs that have the directions along their first axis


def forwards(site: Site) -> Patch | None:
    """backwards(x) = reverse(forwards(reverse(x))), and two directions side by side are two layers"""
    node = site.node
    if node.op not in PARTS or directions(node) == (False,):
        return None
    y, layout = Written(site), node.integer("layout", 0)
    made = [_one(site, y, index) for index in range(len(directions(node)))]
    axes = (2 if layout else 1, layout, layout)
    for index, axis in enumerate(axes[: len(node.outputs)]):
        y.output(index, y.add("Concat", *(outputs[index] for outputs in made), axis=axis))
    return y.result()


def _one(site: Site, y: Written, index: int) -> list[str]:
    """The outputs of one direction."""
    node, backwards, layout = site.node, directions(site.node)[index], site.node.integer("layout", 0)
    inputs = [_reversed(y, y.x, layout) if backwards else y.x]
    for place in range(1, len(node.inputs)):
        name, axis = node.inputs[place], layout if place in STATES else 0
        taken = name and place in (*_WEIGHTS, *STATES)
        inputs.append(_slice(y, name, (index, index + 1, axis, 1)) if taken else "")
    names = activations(node)
    kinds = len(names) // len(directions(node))
    own: dict[str, Attribute] = {"direction": "forward", "activations": names[index * kinds : (index + 1) * kinds]}
    first, *states = y.several(node.op, len(node.outputs), *inputs, **{**node.attributes, **own})
    return [_reversed(y, first, layout) if backwards else first, *states]


def _reversed(y: Written, x: str, axis: int) -> str:
    return _slice(y, x, (-1, _FIRST, axis, -1))


def _slice(y: Written, x: str, cut: tuple[int, int, int, int]) -> str:
    """A part of `x`: first item, end, axis and step."""
    return y.add("Slice", x, *(y.constant(np.array([number])) for number in cut))
