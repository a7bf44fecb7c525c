"""Facts of what mixes numbers: windows, products, normalisations, reductions."""

from __future__ import annotations

from pulse.argument import Given, axis_of, need, numbers, shapes, weight
from pulse.dim import Length, product
from pulse.errors import GraphError, NotStreamable
from pulse.graph import Fact, Node, fact
from pulse.window import windows


def conv(node: Node, given: Given) -> list[Fact]:
    x, w = need(node, given, 0), weight(node, given, 1)
    if len(x.shape) != w.ndim:
        raise GraphError(f"{node} gets {len(x.shape)} axes for weights of {w.ndim}")
    group = node.integer("group", 1)
    if group < 1 or w.shape[0] % group or x.shape[1] != w.shape[1] * group:
        raise GraphError(f"{node} gets {x.shape[1]} channels; its weights {w.shape} in {group} groups do not fit")
    if len(given) > 2 and given[2] is not None and weight(node, given, 2).shape != w.shape[:1]:
        raise GraphError(f"{node} has a bias that does not fit its weights")
    return [fact((x.shape[0], w.shape[0], *_places(node, x, w.shape[2:])))]


def pool(node: Node, given: Given) -> list[Fact]:
    x = need(node, given, 0)
    if node.integer("storage_order", 0):
        raise NotStreamable(f"{node} counts its items by columns; export it with storage_order=0")
    return [fact((*x.shape[:2], *_places(node, x, node.integers("kernel_shape", ()))))]


def power_pool(node: Node, given: Given) -> list[Fact]:
    if node.integer("ceil_mode", 0) or node.integer("p", 2) < 1:
        raise NotStreamable(f"{node} has a power below 1, or rounds its length up; export it with ceil_mode=False")
    return pool(node, given)


def _places(node: Node, x: Fact, kernel: tuple[int, ...]) -> list[Length]:
    slides = windows(node, kernel, x.shape[2:])
    return [slide.length(length) for slide, length in zip(slides, x.shape[2:], strict=True)]


def normalise(node: Node, given: Given) -> list[Fact]:
    x = need(node, given, 0)
    for index in range(1, 5):
        if weight(node, given, index).shape != (x.shape[1],):
            raise GraphError(f"{node} has statistics that do not fit its {x.shape[1]} channels")
    if node.integer("training_mode", 0):
        raise NotStreamable(f"{node} is in training mode; call model.eval() before the export")
    return [fact(x.shape)]


def softmax(node: Node, given: Given) -> list[Fact]:
    x = need(node, given, 0)
    axis = axis_of(node, node.integer("axis", -1), len(x.shape))
    if "flattened" in node.attributes and product(x.shape[axis + 1 :]) != 1:
        raise NotStreamable(f"{node} flattens its axes, as opsets before 13 do; export it with opset 13 or newer")
    return [fact(x.shape)]


def matmul(node: Node, given: Given) -> list[Fact]:
    x, w = need(node, given, 0), weight(node, given, 1)
    if w.ndim != 2 or len(x.shape) < 2:
        raise NotStreamable(f"{node} multiplies {shapes(given)}; only constant matrices on the right are supported")
    if x.shape[-1] != w.shape[0]:
        raise GraphError(f"{node} multiplies {shapes(given)}, which do not fit")
    return [fact((*x.shape[:-1], w.shape[1]))]


def gemm(node: Node, given: Given) -> list[Fact]:
    x, w = need(node, given, 0), weight(node, given, 1)
    if node.integer("transA", 0):
        raise NotStreamable(f"{node} transposes the stream; transpose it in front of the node instead")
    w = w.T if node.integer("transB", 0) else w
    if w.ndim != 2 or len(x.shape) != 2 or x.shape[1] != w.shape[0]:
        raise GraphError(f"{node} multiplies {shapes(given)}, which do not fit")
    if len(given) > 2 and given[2] is not None:
        weight(node, given, 2)
    return [fact((x.shape[0], w.shape[1]))]


def reduced(node: Node, given: Given) -> tuple[int, ...]:
    """The axes that a `Reduce...` node removes."""
    rank = len(need(node, given, 0).shape)
    axes = numbers(node, given, 1)
    if not axes:
        return () if node.integer("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted({axis_of(node, axis, rank) for axis in axes}))


def reduce(node: Node, given: Given) -> list[Fact]:
    return _reduced(node, need(node, given, 0), reduced(node, given))


def global_pool(node: Node, given: Given) -> list[Fact]:
    x = need(node, given, 0)
    return _reduced(node, x, tuple(range(2, len(x.shape))))


def _reduced(node: Node, x: Fact, axes: tuple[int, ...]) -> list[Fact]:
    if x.stream and x.stream.axis in axes:
        raise NotStreamable(
            f"{node} reduces over time, so nothing comes out before the stream ends; "
            "use an average pool or a convolution over a fixed number of items"
        )
    if node.integer("keepdims", 1):
        return [fact(tuple(1 if axis in axes else length for axis, length in enumerate(x.shape)))]
    return [fact(tuple(length for axis, length in enumerate(x.shape) if axis not in axes))]
