"""Facts of what mixes numbers: windows, products, normalisations, reductions."""

from __future__ import annotations

from dataclasses import replace

from pulse.argument import Given, alike, axis_of, broadcast, need, numbers, shapes, weight
from pulse.dim import Dim, Length, product
from pulse.errors import GraphError, NotStreamable
from pulse.graph import Fact, Node, fact
from pulse.window import windows

ALL_SO_FAR = 0  # the size of the window of a reduction over all items of time so far
NOT_ALL_OF_IT = (
    "as attention over all of it does, even if a mask then hides most, and would need the whole stream at once; attend "
    "to the last items only, such as padded.unfold(1, width, 1) with width - 1 items padded in front, or use "
    "convolutions or a recurrent layer"
)


def conv(node: Node, given: Given) -> list[Fact]:
    """(n, filters, *places), one place for each window."""
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
    """The same channels, one place for each window."""
    x = need(node, given, 0)
    return [fact((*x.shape[:2], *_places(node, x, node.integers("kernel_shape", ()))), x.dtype)]


def max_pool(node: Node, given: Given) -> list[Fact]:
    """The same as of any pool, and where in all of the input the maxima lie."""
    if need(node, given, 0).stream and any(node.outputs[1:]):
        raise NotStreamable(f"{node} hands out where its maxima lie in an endless stream; use the maxima alone")
    (made,) = pool(node, given)
    return [made, replace(made, dtype="int64")]


def power_pool(node: Node, given: Given) -> list[Fact]:
    """The same as of any pool."""
    if node.integer("ceil_mode", 0) or node.integer("p", 2) < 1:
        raise NotStreamable(f"{node} has a power below 1, or rounds its length up; export it with ceil_mode=False")
    return pool(node, given)


def _places(node: Node, x: Fact, kernel: tuple[int, ...]) -> list[Length]:
    slides = windows(node, kernel, x.shape[2:])
    return [slide.length(length) for slide, length in zip(slides, x.shape[2:], strict=True)]


def normalise(node: Node, given: Given) -> list[Fact]:
    """The shape stays; the statistics are constants, one for each channel."""
    x = need(node, given, 0)
    for index in range(1, 5):
        if weight(node, given, index).shape != (x.shape[1],):
            raise GraphError(f"{node} has statistics that do not fit its {x.shape[1]} channels")
    if node.integer("training_mode", 0):
        raise NotStreamable(f"{node} is in training mode; call model.eval() before the export")
    return [fact(x.shape)]


def softmax(node: Node, given: Given) -> list[Fact]:
    """The shape stays."""
    x = need(node, given, 0)
    axis = axis_of(node, node.integer("axis", -1), len(x.shape))
    if "flattened" in node.attributes and product(x.shape[axis + 1 :]) != 1:
        raise NotStreamable(f"{node} flattens its axes, as opsets before 13 do; export it with opset 13 or newer")
    return [fact(x.shape)]


def hard_max(node: Node, given: Given) -> list[Fact]:
    """The shape stays."""
    (made,) = softmax(node, given)
    axis = axis_of(node, node.integer("axis", -1), len(made.shape))
    if isinstance(made.shape[axis], Dim):
        raise NotStreamable(f"{node} works along axis {axis}, which is time; it would need the whole stream at once")
    return [made]


def normalised_axes(node: Node, given: Given) -> tuple[int, ...]:
    """The axes that a layer normalisation evens out: its own and all behind it."""
    rank = len(need(node, given, 0).shape)
    return tuple(range(axis_of(node, node.integer("axis", -1), rank), rank))


def layer_normalisation(node: Node, given: Given) -> list[Fact]:
    """The shape stays; time is none of the axes that are evened out. Then their mean, and one over their deviation."""
    x, axes = need(node, given, 0), normalised_axes(node, given)
    if broadcast(node, given, tuple(item.shape for item in given if item)) != x.shape:
        raise GraphError(f"{node} has a scale or bias that does not fit: {shapes(given)}")
    found = fact(tuple(1 if axis in axes else length for axis, length in enumerate(x.shape)))
    return [*_evened_out(node, given, axes, x.shape), found, found]


def group_normalisation(node: Node, given: Given) -> list[Fact]:
    """The shape stays; time is neither the channels nor behind them."""
    x, channels = need(node, given, 0), need(node, given, 0).shape[1]
    groups = node.integer("num_groups", 0) or channels
    if isinstance(channels, Dim) or isinstance(groups, Dim) or channels % groups:
        raise GraphError(f"{node} has {channels} channels in {groups} groups")
    for index in (1, 2):
        if weight(node, given, index).shape not in ((channels,), (groups,)):
            raise GraphError(f"{node} has a scale or bias that does not fit its {channels} channels")
    return _evened_out(node, given, tuple(range(1, len(x.shape))), x.shape)


def _evened_out(node: Node, given: Given, axes: tuple[int, ...], shape: tuple[Length, ...]) -> list[Fact]:
    if any(isinstance(shape[axis], Dim) for axis in axes):
        raise NotStreamable(
            f"{node} normalises over time, so nothing comes out before the stream ends; "
            "use batch normalisation, or layer normalisation over the channels only"
        )
    return [fact(shape)]


def matmul(node: Node, given: Given) -> list[Fact]:
    """(..., rows, columns); a vector is one row on the left, one column on the right, and its axis goes again."""
    first, second = need(node, given, 0).shape, need(node, given, 1).shape
    if not first or not second:
        raise GraphError(f"{node} multiplies {shapes(given)}, which do not fit")
    x, y = (1, *first)[-max(2, len(first)) :], second if len(second) > 1 else (*second, 1)
    if isinstance(x[-1], Dim) or isinstance(y[-2], Dim):
        raise NotStreamable(f"{node} multiplies along time; transpose so that time is not the axis it sums over")
    if x[-1] != y[-2]:
        raise GraphError(f"{node} multiplies {shapes(given)}, which do not fit")
    if isinstance(x[-2], Dim) and isinstance(y[-1], Dim):
        raise _time_by_time(node)
    rows, columns = x[-2:-1] if len(first) > 1 else (), y[-1:] if len(second) > 1 else ()
    dtype = alike(node, need(node, given, 0), need(node, given, 1))
    return [fact((*broadcast(node, given, (x[:-2], y[:-2])), *rows, *columns), dtype)]


def _time_by_time(node: Node) -> NotStreamable:
    return NotStreamable(f"{node} multiplies time with time, {NOT_ALL_OF_IT}")


def gemm(node: Node, given: Given) -> list[Fact]:
    """(rows, columns)."""
    x, y = need(node, given, 0).shape, need(node, given, 1).shape
    x = x[::-1] if node.integer("transA", 0) else x
    y = y[::-1] if node.integer("transB", 0) else y
    if len(x) != 2 or len(y) != 2:
        raise GraphError(f"{node} multiplies {shapes(given)}, which do not fit")
    if isinstance(x[1], Dim) or isinstance(y[0], Dim):
        raise NotStreamable(f"{node} multiplies along time; transpose so that time is not the axis it sums over")
    if x[1] != y[0]:
        raise GraphError(f"{node} multiplies {shapes(given)}, which do not fit")
    return [fact((x[0], y[1]), alike(node, *(item for item in given if item)))]


_ELLIPSIS = "..."


def einsum(node: Node, given: Given) -> list[Fact]:
    """The lengths of the labels that come out."""
    dtype = alike(node, *(need(node, given, index) for index in range(len(given))))
    items = [need(node, given, index).shape for index in range(len(given))]
    reads, made = equation(node, [len(shape) for shape in items])
    if [len(labels) for labels in reads] != [len(shape) for shape in items]:
        raise GraphError(f"{node} has the equation {node.text('equation', '')} for {shapes(given)}")
    lengths: dict[str, Length] = {}
    for labels, shape in zip(reads, items, strict=True):
        for label, length in zip(labels, shape, strict=True):
            if lengths.setdefault(label, length) != length:
                raise GraphError(f"{node} combines {shapes(given)}, and {lengths[label]} does not fit {length}")
    summed = [label for label in lengths if label not in made]
    if any(isinstance(lengths[label], Dim) for label in summed):
        raise NotStreamable(f"{node} sums over time, so nothing comes out before the stream ends")
    if sum(isinstance(lengths.get(label), Dim) for label in made) > 1:
        raise _time_by_time(node)
    if not set(made) <= set(lengths) or len(set(made)) < len(made):
        raise GraphError(f"{node} has the impossible equation {node.text('equation', '')}")
    return [fact(tuple(lengths[label] for label in made), dtype)]


def equation(node: Node, ranks: list[int]) -> tuple[list[str], str]:
    """The labels of the inputs and of the output; without an arrow those that occur once come out in their order."""
    left, arrow, made = node.text("equation", "").replace(" ", "").partition("->")
    plain, reads = (left + made).replace(",", "").replace(_ELLIPSIS, ""), left.split(",")
    if len(reads) != len(ranks):
        raise GraphError(f"{node} has the equation {node.text('equation', '')} for {len(ranks)} inputs")
    if (plain and not plain.isalpha()) or (arrow and (_ELLIPSIS in left) != (_ELLIPSIS in made)):
        raise NotStreamable(f"{node} has the equation {node.text('equation', '')}; only letters and dots are supported")
    if not arrow:
        made = "..." + "".join(sorted(label for label in set(left) - {",", "."} if left.count(label) == 1))
    stands_for = [rank - len(labels.replace(_ELLIPSIS, "")) for labels, rank in zip(reads, ranks, strict=True)]
    rows = list(zip(reads, stands_for, strict=True))
    longest = max((rank for labels, rank in rows if _ELLIPSIS in labels), default=0)
    return [labels.replace(_ELLIPSIS, _rest(rank)) for labels, rank in rows], made.replace(_ELLIPSIS, _rest(longest))


def _rest(rank: int) -> str:
    """Labels of the axes that an ellipsis stands for: numbers that count from the last one."""
    return "".join(str(number) for number in reversed(range(rank)))


def reduced(node: Node, given: Given) -> tuple[int, ...]:
    """The axes that a `Reduce...` node removes."""
    rank = len(need(node, given, 0).shape)
    axes = numbers(node, given, 1)
    if not axes:
        return () if node.integer("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted({axis_of(node, axis, rank) for axis in axes}))


def reduce(node: Node, given: Given) -> list[Fact]:
    """The axes that are reduced go, or stay with one item."""
    return _reduced(node, need(node, given, 0), reduced(node, given))


def variance(node: Node, given: Given) -> list[Fact]:
    """The same as of any reduction."""
    x, axes = need(node, given, 0), reduced(node, given)
    over_time, running = x.stream and x.stream.axis in axes, node.integer("window", 1) == ALL_SO_FAR
    if over_time and running and len(axes) > 1:
        raise NotStreamable(f"{node} takes the variance over time and other axes at once; compile with a fixed window")
    return _reduced(node, x, axes)


def global_pool(node: Node, given: Given) -> list[Fact]:
    """All axes behind the channels stay with one item."""
    x = need(node, given, 0)
    return _reduced(node, x, tuple(range(2, len(x.shape))))


def arg_extreme(node: Node, given: Given) -> list[Fact]:
    """The place of an extreme, as a whole number, along an axis that goes or stays with one item."""
    x = need(node, given, 0)
    axis = axis_of(node, node.integer("axis", 0), len(x.shape))
    return [replace(item, dtype="int64") for item in _reduced(node, x, (axis,))]


def _reduced(node: Node, x: Fact, axes: tuple[int, ...]) -> list[Fact]:
    if x.stream and x.stream.axis in axes and "window" in node.attributes:
        return [fact(_pooled(node, x, axes), x.dtype)]
    if x.stream and x.stream.axis in axes:
        raise NotStreamable(
            f"{node} reduces over time, so nothing comes out before the stream ends; "
            "use an average pool over a fixed number of items, or compile with a window of as many, or a running one"
        )
    if node.integer("keepdims", 1):
        return [fact(tuple(1 if axis in axes else length for axis, length in enumerate(x.shape)), x.dtype)]
    return [fact(tuple(length for axis, length in enumerate(x.shape) if axis not in axes), x.dtype)]


def _pooled(node: Node, x: Fact, axes: tuple[int, ...]) -> tuple[Length, ...]:
    """The shape of a reduction over `axes`, one of which is time."""
    assert x.stream is not None
    kept = tuple(1 if axis in axes and axis != x.stream.axis else length for axis, length in enumerate(x.shape))
    keeps = bool(node.integer("keepdims", 1))
    if node.integer("beside", 0) or x.stream.axis == 0:
        if not keeps:
            raise NotStreamable(f"{node} drops the axis of time, which goes on behind it; export it with keepdim=True")
        return kept
    if kept[0] != 1:
        raise NotStreamable(f"{node} pools several streams at once; export it with a batch of 1")
    if 0 in axes:
        raise NotStreamable(f"{node} reduces the batch together with time; reduce time alone")
    swapped = {**dict(enumerate(kept)), 0: x.stream.length, x.stream.axis: 1}
    return tuple(length for axis, length in swapped.items() if keeps or axis not in axes)
