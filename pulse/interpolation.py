"""`Resize` along an axis that is not time: a choice of items, or a product with a constant matrix."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from pulse.errors import GraphError, NotStreamable
from pulse.graph import MAX_ELEMENTS, Array, Node
from pulse.rewrite import Patch, Site, Written
from pulse.upsampling import Resized, repeats, resized

_LETTERS = "abcdefgh"  # of the axes of a value, and z of a new one
_CUBIC = -0.75

Curve = Callable[[Array], Array]


def resize_to_product(site: Site) -> Patch | None:
    """resize(x) = matrix @ x along an axis, or gather(x), and what only repeats items is left"""
    node = site.node
    rows = resized(node, site.given) if node.op == "Resize" else ()
    times = [repeats(node, row) for row in rows]
    if all(times):
        return None
    y, x = Written(site), node.inputs[0]
    for axis, row in enumerate(rows):
        x = x if times[axis] else _along(site, y, (x, axis), row)
    scales = y.constant(np.array([many or 1 for many in times], np.float32))
    return y.patch("Resize", x, "", scales, coordinate_transformation_mode="asymmetric", nearest_mode="floor")


def _along(site: Site, y: Written, at: tuple[str, int], row: Resized) -> str:
    """The value resized along one of its axes."""
    (x, axis), rank = at, len(site.graph.facts[y.x].shape)
    places, matrix = _places(site.node, row), _matrix(site.node, row)
    if np.all((matrix == 0) | (matrix == 1)):
        x = y.add("Gather", x, y.constant(np.argmax(matrix, axis=1)), axis=axis)
    else:
        labels = _LETTERS[:rank]
        made = labels.replace(labels[axis], "z")
        x = y.add("Einsum", x, y.constant(matrix), equation=f"{labels},z{labels[axis]}->{made}")
    assert isinstance(row.length, int)
    outside = (places < 0) | (places > row.length - 1)
    if site.node.text("coordinate_transformation_mode", "") != "tf_crop_and_resize" or not np.any(outside):
        return x
    mask = y.constant(outside.reshape(-1, *[1] * (rank - 1 - axis)))
    return y.add("Where", mask, site.node.number("extrapolation_value", 0.0), x)


def _places(node: Node, row: Resized) -> Array:
    """Where every place of the new axis lies on the old one."""
    how = node.text("coordinate_transformation_mode", "half_pixel")
    assert isinstance(row.length, int) and isinstance(row.size, int)
    index, length, wide = np.arange(row.size, dtype=np.float64), row.length, row.scale * row.length
    match how:
        case "asymmetric":
            return np.asarray(index / row.scale)
        case "align_corners":
            return index * ((length - 1) / (wide - 1) if wide != 1 else 0.0)
        case "half_pixel":
            return (index + 0.5) / row.scale - 0.5
        case "pytorch_half_pixel":
            return (index + 0.5) / row.scale - 0.5 if wide > 1 else index * 0.0
        case "half_pixel_symmetric":
            return length / 2 * (1 - row.size / wide) + (index + 0.5) / row.scale - 0.5
        case "tf_crop_and_resize":
            first, last = (part * (length - 1) for part in row.crop)
            return first + index * ((last - first) / (wide - 1)) if wide > 1 else (first + last) / 2 + index * 0.0
    raise NotStreamable(f"{node} finds its places by {how}, which is not supported")


_NEAREST: Mapping[str, Curve] = {
    "ceil": np.ceil,
    "floor": np.floor,
    "round_prefer_ceil": lambda places: np.floor(places + 0.5),
    "round_prefer_floor": lambda places: np.ceil(places - 0.5),
}


def _matrix(node: Node, row: Resized) -> Array:
    """How much of every item goes to every place, (places, items)."""
    length, places = row.length, _places(node, row)
    assert isinstance(length, int)
    if len(places) * length > MAX_ELEMENTS:
        raise GraphError(f"{node} resizes an axis of {length} items to {len(places)}, which is too large")
    if node.text("mode", "nearest") == "nearest":
        near = _NEAREST[node.text("nearest_mode", "round_prefer_floor")](places)
        return np.eye(length, dtype=np.float32)[np.clip(near, 0, length - 1).astype(np.int64)]
    reach, curve = _curve(node)
    shrink = min(row.scale, 1.0) if node.integer("antialias", 0) else 1.0
    matrix = np.zeros((len(places), length))
    for place, found in zip(places, matrix, strict=True):
        first = math.floor(place)
        items = np.arange(first - math.ceil(reach / shrink), first + math.ceil(reach / shrink) + 1)
        parts = curve(np.abs(items - place) * shrink)
        if node.integer("exclude_outside", 0):
            parts = parts * ((items >= 0) & (items < length))
        np.add.at(found, np.clip(items, 0, length - 1), parts / parts.sum())
    return matrix.astype(np.float32)


def _curve(node: Node) -> tuple[int, Curve]:
    """How far an item is seen, and how much of it at each distance."""
    match node.text("mode", "nearest"):
        case "linear":
            return 1, lambda far: np.maximum(1 - far, 0)
        case "cubic":
            a = node.number("cubic_coeff_a", _CUBIC)
            near, beyond = [a + 2, -a - 3, 0, 1], [a, -5 * a, 8 * a, -4 * a]
            return 2, lambda far: np.where(far <= 1, np.polyval(near, far), np.polyval(beyond, far) * (far < 2))
    raise NotStreamable(f"{node} resizes by {node.text('mode', '')}, which is not supported")
