"""Facts of what makes more items than it gets: along time by whole factors, along other axes as it likes."""

from __future__ import annotations

from dataclasses import dataclass

from pulse.argument import Given, axis_of, need, numbers, weight
from pulse.dim import Dim, Length
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
_CROPPING = "tf_crop_and_resize"
_ALL = (0.0, 1.0)
_POLICIES = {"not_larger": min, "not_smaller": max}


@dataclass(frozen=True)
class Resized:
    """What a `Resize` does along one axis: `size` places for `length` items, which are those of the part `crop`."""

    length: Length
    size: Length
    scale: float
    crop: tuple[float, float] = _ALL


def resize(node: Node, given: Given) -> list[Fact]:
    """The fact of a value whose items are repeated along time, and resized along other axes."""
    x = need(node, given, 0)
    along = resized(node, given)
    for axis, row in enumerate(along):
        if isinstance(row.length, Dim) and not repeats(node, row):
            raise NotStreamable(
                f"{node} interpolates along axis {axis}, which is time; repeat its items by a whole factor to "
                f"{MAX_FACTOR}, with mode='nearest' and asymmetric places and floor"
            )
    return [fact(tuple(row.size for row in along), x.dtype)]


def factors(node: Node, given: Given) -> tuple[int, ...]:
    """How often a `Resize` repeats the items of each axis, and does nothing else; 0 for an axis where it does."""
    return tuple(repeats(node, row) for row in resized(node, given))


def repeats(node: Node, row: Resized) -> int:
    """How often the items of an axis are repeated; 0 if they are more than that."""
    place = node.text("coordinate_transformation_mode", "half_pixel")
    if row.scale == 1 and row.size == row.length and row.crop == _ALL:
        return 1
    times, how = int(row.scale), (place, node.text("nearest_mode", "round_prefer_floor"))
    whole = times == row.scale and row.size == row.length * times and times <= MAX_FACTOR
    return times if whole and node.text("mode", "nearest") == "nearest" and how in _REPEATING else 0


def resized(node: Node, given: Given) -> tuple[Resized, ...]:
    """What a `Resize` does, axis by axis."""
    shape = need(node, given, 0).shape
    axes = [axis_of(node, axis, len(shape)) for axis in node.integers("axes", tuple(range(len(shape))))]
    lengths = [shape[axis] for axis in axes]
    found = {axis: Resized(length, length, 1.0) for axis, length in enumerate(shape)}
    asked = zip(axes, lengths, _asked(node, given, lengths), _crops(node, given, len(axes)), strict=True)
    found |= {axis: Resized(length, size, scale, crop) for axis, length, (size, scale), crop in asked}
    return tuple(found[axis] for axis in range(len(shape)))


def _asked(node: Node, given: Given, lengths: list[Length]) -> list[tuple[Length, float]]:
    """The size and scale of every axis that is named, by scales or sizes."""
    scales = _floats(node, given, 2)
    if scales:
        return [(_scaled(node, length, scale), scale) for length, scale in zip(lengths, scales, strict=True)]
    sizes = numbers(node, given, 3) or []
    scales = [_ratio(size, length) for size, length in zip(sizes, lengths, strict=True)]
    policy = node.text("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return list(zip(sizes, scales, strict=True))
    scale = _POLICIES[policy](scales) if policy in _POLICIES else 0.0
    return [(int(length * scale + 0.5) if isinstance(length, int) else length, scale) for length in lengths]


def _scaled(node: Node, length: Length, scale: float) -> Length:
    if isinstance(length, int):
        return int(length * scale)
    return length * int(scale)


def _ratio(size: Length, length: Length) -> float:
    """How many times `length` goes into `size`; 0 for time, if that is no whole number."""
    if isinstance(size, int) and isinstance(length, int):
        return size / length
    factor = size // length
    return float(factor) if isinstance(factor, int) and length * factor == size else 0.0


def _crops(node: Node, given: Given, axes: int) -> list[tuple[float, float]]:
    """The first and last part of every axis that is named."""
    crops = _floats(node, given, 1) if node.text("coordinate_transformation_mode", "") == _CROPPING else []
    return list(zip(crops[:axes], crops[axes:], strict=True)) or [_ALL] * axes


def _floats(node: Node, given: Given, index: int) -> list[float]:
    """The numbers that an input is known to hold, none if it is left out."""
    item = given[index] if index < len(given) else None
    if item is not None and item.value is None:
        raise NotStreamable(f"{node} computes its input {index} from one of the model; it must be a constant")
    return [] if item is None or item.value is None else [float(number) for number in item.value.reshape(-1)]


def conv_transpose(node: Node, given: Given) -> list[Fact]:
    """The fact of a transposed convolution."""
    x, w = need(node, given, 0), weight(node, given, 1)
    group = node.integer("group", 1)
    if len(x.shape) != w.ndim or x.shape[1] != w.shape[0] or group < 1 or w.shape[0] % group:
        raise GraphError(f"{node} gets {x.shape[1]} channels; its weights {w.shape} in {group} groups do not fit")
    if len(given) > 2 and given[2] is not None and weight(node, given, 2).shape != (w.shape[1] * group,):
        raise GraphError(f"{node} has a bias that does not fit its weights")
    slides, strides = turned(node, w.shape[2:], x.shape[2:])
    lengths = zip(x.shape[2:], strides, slides, strict=True)
    places = (slide.length(length * stride) for length, stride, slide in lengths)
    return [fact((x.shape[0], w.shape[1] * group, *places))]
