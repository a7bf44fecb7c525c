"""Facts of what makes more items than it gets, by whole factors."""

from __future__ import annotations

from pulse.argument import Given, axis_of, need, numbers, weight
from pulse.dim import Length
from pulse.errors import GraphError, NotStreamable
from pulse.graph import Fact, Node, fact
from pulse.window import turned

MAX_FACTOR = 64
# coordinate_transformation_mode and nearest_mode that repeat every item, whatever the factor
_REPEATING = {("asymmetric", "floor")}
_REPEATING |= {
    (place, near)
    for place in ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel")
    for near in ("round_prefer_floor", "round_prefer_ceil")
}


def resize(node: Node, given: Given) -> list[Fact]:
    """The fact of a value whose items are repeated."""
    x = need(node, given, 0)
    pairs = zip(x.shape, factors(node, given), strict=True)
    return [fact(tuple(length * factor for length, factor in pairs), x.dtype)]


def factors(node: Node, given: Given) -> tuple[int, ...]:
    """How often a `Resize` repeats the items of each axis."""
    x = need(node, given, 0)
    how = node.text("coordinate_transformation_mode", "half_pixel"), node.text("nearest_mode", "round_prefer_floor")
    if node.text("mode", "nearest") != "nearest" or how not in _REPEATING:
        raise NotStreamable(f"{node} interpolates; only mode='nearest' is supported, with asymmetric places and floor")
    axes = [axis_of(node, axis, len(x.shape)) for axis in node.integers("axes", tuple(range(len(x.shape))))]
    found = dict.fromkeys(range(len(x.shape)), 1) | dict(zip(axes, _asked(node, given, axes), strict=True))
    if not all(1 <= factor <= MAX_FACTOR for factor in found.values()):
        raise NotStreamable(
            f"{node} repeats by {list(found.values())}; only whole factors to {MAX_FACTOR} are supported"
        )
    return tuple(found[axis] for axis in range(len(x.shape)))


def _asked(node: Node, given: Given, axes: list[int]) -> list[int]:
    """The factors by scales or sizes; 0 for one that is not whole."""
    scales = given[2] if len(given) > 2 else None
    if scales is not None and scales.value is not None and scales.value.size:
        return [int(scale) if scale == int(scale) else 0 for scale in scales.value.reshape(-1)]
    x, sizes = need(node, given, 0), numbers(node, given, 3) or []
    return [_quotient(size, x.shape[axis]) for size, axis in zip(sizes, axes, strict=True)]


def _quotient(size: Length, length: Length) -> int:
    factor = size // length
    return factor if isinstance(factor, int) and length * factor == size else 0


def conv_transpose(node: Node, given: Given) -> list[Fact]:
    """The fact of a transposed convolution."""
    x, w = need(node, given, 0), weight(node, given, 1)
    group = node.integer("group", 1)
    if len(x.shape) != w.ndim or x.shape[1] != w.shape[0] or group < 1 or w.shape[0] % group:
        raise GraphError(f"{node} gets {x.shape[1]} channels; its weights {w.shape} in {group} groups do not fit")
    slides, strides = turned(node, w.shape[2:])
    lengths = zip(x.shape[2:], strides, slides, strict=True)
    places = (slide.length(length * stride) for length, stride, slide in lengths)
    return [fact((x.shape[0], w.shape[1] * group, *places))]
