"""`infer`: every value gets a `Fact`, with lengths in terms of the stream symbol `S`.

One rule per op: from the facts of the inputs (`None` for one left out) to the facts of the outputs. What is computed
from known values only, such as the shape arithmetic around a `Slice`, is known itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from pulse.dim import Dim, DimError, Length, product
from pulse.errors import GraphError, NotStreamable, PulseError
from pulse.evaluate import evaluate
from pulse.graph import MAX_ELEMENTS, MAX_RANK, Array, Fact, Graph, Node, fact, known, shown
from pulse.window import window

MAX_KNOWN = 32 << 20  # elements of all constants together, folded ones included
_TO_THE_END = 1 << 31  # exporters write the largest 32-bit or 64-bit integer for "to the end"

Given = list[Fact | None]
Rule = Callable[[Node, Given], list[Fact]]


def infer(graph: Graph) -> Graph:
    """The same graph with a fact for every value."""
    facts: dict[str, Fact] = dict(graph.inputs)
    facts |= {name: known(value) for name, value in graph.constants.items()}
    room = MAX_KNOWN
    for node in graph.nodes:
        given = [facts[name] if name else None for name in node.inputs]
        outputs = _outputs(node, given)
        if len(outputs) < len(node.outputs):
            raise NotStreamable(f"infer: {node} has more outputs than are supported")
        room -= sum(found.value.size for found in outputs if found.value is not None)
        if room < 0:
            raise GraphError(f"infer: {node} is one constant too many: together they are too large")
        facts |= {name: found for name, found in zip(node.outputs, outputs, strict=False) if name}
    return replace(graph, facts=facts).check("infer")


def _outputs(node: Node, given: Given) -> list[Fact]:
    try:
        values = evaluate(node, given)
        if values is not None:
            return [known(value) for value in values]
        if node.op not in RULES:
            raise NotStreamable(f"{node} is supported on constants only, not on what depends on the input")
        outputs = RULES[node.op](node, given)
        for output in outputs:
            _check_size(node, output)
        return outputs
    except DimError as error:
        raise NotStreamable(f"infer: {node} makes a length that cannot be written down: {error}") from error
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise GraphError(f"infer: {node} does not fit its inputs {_shapes(given)}: {error}") from error
    except PulseError as error:
        raise type(error)(f"infer: {error}") from error


def _check_size(node: Node, output: Fact) -> None:
    sizes = [length for length in output.shape if isinstance(length, int)]
    if min(sizes, default=1) < 1:
        raise GraphError(f"{node} makes an empty value of the shape {shown(output.shape)}")
    if len(output.shape) > MAX_RANK or math.prod(sizes) > MAX_ELEMENTS:
        raise GraphError(f"{node} makes a value of the shape {shown(output.shape)}, which is too large")


def _shapes(given: Given) -> str:
    return " and ".join(shown(item.shape) if item else "-" for item in given)


def need(node: Node, given: Given, index: int) -> Fact:
    """The fact of an input that must be there."""
    item = given[index] if index < len(given) else None
    if item is None:
        raise GraphError(f"{node} lacks its input {index}")
    return item


def numbers(node: Node, given: Given, index: int) -> list[Length] | None:
    """The integers that an input is known to hold, or `None` if it is left out."""
    item = given[index] if index < len(given) else None
    if item is None:
        return None
    if item.value is None:
        raise NotStreamable(f"{node} takes its input {index} from the stream; it must be a constant")
    return [number if isinstance(number, Dim) else int(number) for number in item.value.reshape(-1)]


def axis_of(node: Node, axis: Length, rank: int) -> int:
    """A counted axis, from the front."""
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise GraphError(f"{node} names the axis {axis} of a value with {rank} axes")
    return axis % rank


def weight(node: Node, given: Given, index: int) -> Array:
    """The content of an input that must be a constant of float32."""
    value = need(node, given, index).value
    if value is None:
        raise NotStreamable(f"{node} takes its weights (input {index}) from the stream; they must be constants")
    return value


def _same(node: Node, given: Given) -> list[Fact]:
    item = need(node, given, 0)
    return [fact(item.shape, item.dtype)]


def _constant_rest(node: Node, given: Given) -> list[Fact]:
    for index in range(1, len(given)):
        if given[index] is not None:
            weight(node, given, index)
    return _same(node, given)


def _broadcast(node: Node, given: Given) -> list[Fact]:
    items = [need(node, given, index) for index in range(len(given))]
    rank = max(len(item.shape) for item in items)
    shape: list[Length] = [1] * rank
    for item in items:
        for axis, length in enumerate(item.shape, rank - len(item.shape)):
            if shape[axis] == 1:
                shape[axis] = length
            elif length not in (1, shape[axis]):
                raise GraphError(f"{node} combines {_shapes(given)}, and {shape[axis]} does not fit {length}")
    return [fact(tuple(shape), items[0].dtype)]


def _conv(node: Node, given: Given) -> list[Fact]:
    x, w = need(node, given, 0), weight(node, given, 1)
    if len(x.shape) != w.ndim:
        raise GraphError(f"{node} gets {len(x.shape)} axes for weights of {w.ndim}")
    slide = window(node, w.shape[2:])
    group = node.integer("group", 1)
    if group < 1 or w.shape[0] % group or x.shape[1] != w.shape[1] * group:
        raise GraphError(f"{node} gets {x.shape[1]} channels; its weights {w.shape} in {group} groups do not fit")
    if len(given) > 2 and given[2] is not None and weight(node, given, 2).shape != w.shape[:1]:
        raise GraphError(f"{node} has a bias that does not fit its weights")
    return [fact((x.shape[0], w.shape[0], slide.length(x.shape[2])))]


def _pool(node: Node, given: Given) -> list[Fact]:
    x = need(node, given, 0)
    if len(x.shape) != 3:
        raise NotStreamable(f"{node} pools {len(x.shape) - 2} axes; only 1-dimensional pools are supported")
    if node.integer("ceil_mode", 0) or node.integer("storage_order", 0):
        raise NotStreamable(f"{node} rounds its length up; export it with ceil_mode=False")
    return [fact((x.shape[0], x.shape[1], window(node, node.integers("kernel_shape", ())).length(x.shape[2])))]


def _normalise(node: Node, given: Given) -> list[Fact]:
    x = need(node, given, 0)
    for index in range(1, 5):
        if weight(node, given, index).shape != (x.shape[1],):
            raise GraphError(f"{node} has statistics that do not fit its {x.shape[1]} channels")
    if node.integer("training_mode", 0):
        raise NotStreamable(f"{node} is in training mode; call model.eval() before the export")
    return [fact(x.shape)]


def _softmax(node: Node, given: Given) -> list[Fact]:
    x = need(node, given, 0)
    axis = axis_of(node, node.integer("axis", -1), len(x.shape))
    if "flattened" in node.attributes and product(x.shape[axis + 1 :]) != 1:
        raise NotStreamable(f"{node} flattens its axes, as opsets before 13 do; export it with opset 13 or newer")
    return [fact(x.shape)]


def _transpose(node: Node, given: Given) -> list[Fact]:
    x = need(node, given, 0)
    axes = node.integers("perm", tuple(reversed(range(len(x.shape)))))
    if sorted(axes) != list(range(len(x.shape))):
        raise GraphError(f"{node} has the permutation {axes} for {len(x.shape)} axes")
    return [fact(tuple(x.shape[axis] for axis in axes), x.dtype)]


def cuts(node: Node, given: Given) -> dict[int, tuple[int, Length, int]]:
    """What a `Slice` takes: axis to (first item, number of items, step)."""
    x = need(node, given, 0)
    starts, ends = numbers(node, given, 1) or [], numbers(node, given, 2) or []
    axes = numbers(node, given, 3) or list(range(len(starts)))
    steps = numbers(node, given, 4) or [1] * len(starts)
    found: dict[int, tuple[int, Length, int]] = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index = axis_of(node, axis, len(x.shape))
        length = x.shape[index]
        if isinstance(step, Dim) or step == 0:
            raise GraphError(f"{node} has an impossible step")
        if isinstance(length, Dim):
            found[index] = _time_cut(node, length, start, end, step)
        elif isinstance(start, Dim) or isinstance(end, Dim):
            found[index] = (0, length, 1) if start == 0 else _unknown_cut(node)
        else:
            taken = range(length)[slice(start, end if end >= -length or step > 0 else None, step)]
            found[index] = (taken.start, len(taken), step)
    return found


def _unknown_cut(node: Node) -> tuple[int, Length, int]:
    raise NotStreamable(f"{node} starts at a place that depends on the length of the stream")


def _time_cut(node: Node, length: Dim, start: Length, end: Length, step: int) -> tuple[int, Length, int]:
    if isinstance(start, Dim) or start < 0:
        raise NotStreamable(
            f"{node} starts counting at the end of time, which never comes; slice from the front instead, "
            "such as x[:, :, 2:]"
        )
    if step != 1:
        raise NotStreamable(f"{node} takes every {step}th item of time; use a convolution or pool with a stride")
    if isinstance(end, int):
        if 0 <= end < _TO_THE_END:
            raise NotStreamable(f"{node} stops at item {end} of an endless stream; slice to the end instead")
        end = length if end > 0 else length + end
    beyond = end - length
    if not isinstance(beyond, int):
        raise NotStreamable(f"{node} ends at {end} of {length} items; slice to the end instead")
    return start, length + (min(beyond, 0) - start), 1


def _slice(node: Node, given: Given) -> list[Fact]:
    x = need(node, given, 0)
    taken = cuts(node, given)
    shape = tuple(taken[axis][1] if axis in taken else length for axis, length in enumerate(x.shape))
    return [fact(shape, x.dtype)]


def _split(node: Node, given: Given) -> list[Fact]:
    x = need(node, given, 0)
    axis = axis_of(node, node.integer("axis", 0), len(x.shape))
    length = x.shape[axis]
    if isinstance(length, Dim):
        raise NotStreamable(f"{node} splits time, which has no end; split another axis")
    parts = numbers(node, given, 1)
    if parts is None:
        count = node.integer("num_outputs", len(node.outputs))
        part = -(-length // count) if count > 0 else 0
        parts = [min(part, length - index * part) for index in range(count)]
    if sum(part for part in parts if isinstance(part, int)) != length or len(parts) != len(node.outputs):
        raise GraphError(f"{node} splits {length} into {[str(part) for part in parts]}")
    return [fact((*x.shape[:axis], part, *x.shape[axis + 1 :]), x.dtype) for part in parts]


def _concat(node: Node, given: Given) -> list[Fact]:
    items = [need(node, given, index) for index in range(len(given))]
    shape = items[0].shape
    axis = axis_of(node, node.integer("axis", 0), len(shape))
    if any(isinstance(item.shape[axis], Dim) for item in items):
        raise NotStreamable(f"{node} joins along time, which has no end; pad the front of time with Pad instead")
    for item in items:
        if (*item.shape[:axis], *item.shape[axis + 1 :]) != (*shape[:axis], *shape[axis + 1 :]):
            raise GraphError(f"{node} joins {_shapes(given)}, which do not fit")
    total: Length = 0
    for item in items:
        total = item.shape[axis] + total
    return [fact((*shape[:axis], total, *shape[axis + 1 :]), items[0].dtype)]


def _matmul(node: Node, given: Given) -> list[Fact]:
    x, w = need(node, given, 0), weight(node, given, 1)
    if w.ndim != 2 or len(x.shape) < 2:
        raise NotStreamable(f"{node} multiplies {_shapes(given)}; only constant matrices on the right are supported")
    if x.shape[-1] != w.shape[0]:
        raise GraphError(f"{node} multiplies {_shapes(given)}, which do not fit")
    return [fact((*x.shape[:-1], w.shape[1]))]


def _gemm(node: Node, given: Given) -> list[Fact]:
    x, w = need(node, given, 0), weight(node, given, 1)
    if node.integer("transA", 0):
        raise NotStreamable(f"{node} transposes the stream; transpose it in front of the node instead")
    w = w.T if node.integer("transB", 0) else w
    if w.ndim != 2 or len(x.shape) != 2 or x.shape[1] != w.shape[0]:
        raise GraphError(f"{node} multiplies {_shapes(given)}, which do not fit")
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


def _reduce(node: Node, given: Given) -> list[Fact]:
    x = need(node, given, 0)
    axes = reduced(node, given)
    if x.stream and x.stream.axis in axes:
        raise NotStreamable(
            f"{node} reduces over time, so nothing comes out before the stream ends; "
            "use an average pool or a convolution over a fixed number of items"
        )
    if node.integer("keepdims", 1):
        return [fact(tuple(1 if axis in axes else length for axis, length in enumerate(x.shape)))]
    return [fact(tuple(length for axis, length in enumerate(x.shape) if axis not in axes))]


def _squeeze(node: Node, given: Given) -> list[Fact]:
    x = need(node, given, 0)
    rank = len(x.shape)
    axes = {axis_of(node, axis, rank) for axis in numbers(node, given, 1) or []}
    axes = axes or {axis for axis, length in enumerate(x.shape) if length == 1}
    if any(x.shape[axis] != 1 for axis in axes):
        raise GraphError(f"{node} squeezes an axis of {shown(x.shape)} that is not 1")
    return [fact(tuple(length for axis, length in enumerate(x.shape) if axis not in axes), x.dtype)]


def _unsqueeze(node: Node, given: Given) -> list[Fact]:
    x = need(node, given, 0)
    added = numbers(node, given, 1) or []
    axes = {axis_of(node, axis, len(x.shape) + len(added)) for axis in added}
    if len(axes) < len(added):
        raise GraphError(f"{node} names an axis twice")
    lengths = iter(x.shape)
    rank = len(x.shape) + len(axes)
    return [fact(tuple(1 if axis in axes else next(lengths) for axis in range(rank)), x.dtype)]


def _reshape(node: Node, given: Given) -> list[Fact]:
    x = need(node, given, 0)
    shape = numbers(node, given, 1) or []
    if not node.integer("allowzero", 0):
        shape = [x.shape[axis] if length == 0 else length for axis, length in enumerate(shape)]
    if shape.count(-1) == 1:
        shape[shape.index(-1)] = _missing(x.shape, tuple(length for length in shape if length != -1))
    if _missing(x.shape, tuple(shape)) != 1:
        raise GraphError(f"{node} reshapes {shown(x.shape)} to {shown(tuple(shape))}")
    return [fact(tuple(shape), x.dtype)]


def _missing(whole: tuple[Length, ...], part: tuple[Length, ...]) -> Length:
    """The length that makes `part` as large as `whole`; numbers first, as a strided stream cannot be multiplied."""
    streams = [tuple(length for length in shape if isinstance(length, Dim)) for shape in (whole, part)]
    numbers = [math.prod(length for length in shape if isinstance(length, int)) for shape in (whole, part)]
    if streams[0] == streams[1] and numbers[1]:
        return numbers[0] // numbers[1] if numbers[0] % numbers[1] == 0 else -1
    if not streams[1] and numbers[1] and numbers[0] % numbers[1] == 0:
        return product(streams[0]) * (numbers[0] // numbers[1])
    return product(whole) // product(part)


def _flatten(node: Node, given: Given) -> list[Fact]:
    x = need(node, given, 0)
    rank = len(x.shape)
    axis = node.integer("axis", 1)
    axis = axis if axis == rank else axis_of(node, axis, rank)
    return [fact((product(x.shape[:axis]), product(x.shape[axis:])), x.dtype)]


def _pad(node: Node, given: Given) -> list[Fact]:
    x = need(node, given, 0)
    if node.text("mode", "constant") != "constant":
        raise NotStreamable(f"{node} pads with {node.text('mode', '')}; only constant padding is supported")
    before, after = pads(node, given)
    return [fact(tuple(length + (before[axis] + after[axis]) for axis, length in enumerate(x.shape)))]


def pads(node: Node, given: Given) -> tuple[list[int], list[int]]:
    """Items that a `Pad` adds before and after, per axis."""
    rank = len(need(node, given, 0).shape)
    amounts = [amount for amount in numbers(node, given, 1) or [] if isinstance(amount, int)]
    axes = [axis_of(node, axis, rank) for axis in numbers(node, given, 3) or list(range(rank))]
    if len(amounts) != 2 * len(axes) or min(amounts, default=0) < 0:
        raise NotStreamable(f"{node} pads by {amounts}; only constant amounts of 0 or more are supported")
    before, after = [0] * rank, [0] * rank
    for axis, first, last in zip(axes, amounts, amounts[len(axes) :], strict=False):
        before[axis], after[axis] = first, last
    return before, after


def _cast(node: Node, given: Given) -> list[Fact]:
    if node.integer("to", 0) != 1:
        raise NotStreamable(f"{node} turns the stream into another type; only float32 is supported")
    return _same(node, given)


def _gelu(node: Node, given: Given) -> list[Fact]:
    if node.text("approximate", "none") != "none":
        raise NotStreamable(f"{node} is approximated by tanh; export it with approximate='none'")
    return _same(node, given)


def _dropout(node: Node, given: Given) -> list[Fact]:
    training = given[2] if len(given) > 2 else None
    if training is not None and (training.value is None or np.any(training.value)):
        raise NotStreamable(f"{node} is in training mode; call model.eval() before the export")
    return _same(node, given)


ELEMENTWISE = (
    "Abs",
    "Ceil",
    "Cos",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Log",
    "Neg",
    "Reciprocal",
    "Relu",
    "Sigmoid",
    "Sin",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tanh",
)
COMBINING = ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min")
REDUCING = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _same),
    **dict.fromkeys(COMBINING, _broadcast),
    **dict.fromkeys(REDUCING, _reduce),
    "AveragePool": _pool,
    "BatchNormalization": _normalise,
    "Cast": _cast,
    "Clip": _constant_rest,
    "Concat": _concat,
    "Conv": _conv,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "Identity": _same,
    "LogSoftmax": _softmax,
    "MatMul": _matmul,
    "MaxPool": _pool,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sum": _broadcast,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
