"""What a node computes when its inputs are known: weights that were left unfolded, and the arithmetic of shapes.

Shape arithmetic may contain the stream symbol: such arrays hold `Dim` objects, and numpy's operators reach the
operators of `Dim`. The result is `None` where it is not known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pulse.dim import Dim, DimError
from pulse.errors import GraphError
from pulse.graph import MAX_ELEMENTS, Array, Fact, Node

DTYPES = {1: "float32", 6: "int32", 7: "int64", 9: "bool"}  # that are supported, by the codes of ONNX
CODES = {name: code for code, name in DTYPES.items()}

Evaluation = Callable[[Node, list[Array]], list[Array]]


def evaluate(node: Node, given: list[Fact | None]) -> list[Array] | None:
    """The known outputs of `node`, or `None`."""
    if node.op == "Shape" and given[0] is not None:
        return [_shape(node, given[0])]
    if node.op == "Size" and given[0] is not None and given[0].stream is None:
        return [np.asarray(math.prod(given[0].sizes))]
    if node.op not in EVALUATIONS:
        return None
    values = [fact.value if fact is not None else None for fact in given]
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return None
    if node.op in _BROADCASTING and math.prod(_broadcast(node, known)) > MAX_ELEMENTS:
        raise GraphError(f"{node} makes a constant of more than {MAX_ELEMENTS} elements")
    try:
        with np.errstate(all="ignore"):  # what the square root of -1 is, the model's author has to know
            return [_plain(value) for value in EVALUATIONS[node.op](node, known)]
    except (DimError, TypeError) as error:
        if isinstance(error, DimError) and node.op in _BROADCASTING and any(value.dtype.kind == "f" for value in known):
            raise  # such as half of it: the rule would only see that integers meet floats
        return None  # arithmetic on the stream length beyond what `Dim` can say: not known
    except (ValueError, IndexError, OverflowError) as error:
        raise GraphError(f"{node} cannot be computed: {error}") from error


def _broadcast(node: Node, values: list[Array]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*(value.shape for value in values))
    except ValueError as error:
        raise GraphError(f"{node} combines constants whose shapes do not fit") from error


def _plain(value: Array) -> Array:
    """Integers that turned out not to depend on the stream are ordinary integers again."""
    if value.dtype == object and all(isinstance(number, int | np.integer) for number in value.flat):
        return value.astype(np.int64)
    return value


def _shape(node: Node, of: Fact) -> Array:
    lengths = of.shape[node.integer("start", 0) : node.integer("end", len(of.shape))]
    value = np.empty(len(lengths), object)
    value[:] = lengths
    return _plain(value)


def elementwise(function: Callable[..., Array]) -> Evaluation:
    """The evaluation of an op that treats all elements alike."""
    return lambda node, values: [np.asarray(function(*values))]


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    if a.dtype == object or b.dtype == object:
        return np.asarray(a // b, object)
    return np.asarray((a - np.fmod(a, b)) // b, a.dtype)


def _cast(node: Node, values: list[Array]) -> list[Array]:
    if values[0].dtype == object:
        return values
    code = node.integer("to", 0)
    if code not in DTYPES:
        raise GraphError(f"{node} casts to a type that is not supported; export the model in float32")
    return [values[0].astype(DTYPES[code])]


def _gather(node: Node, values: list[Array]) -> list[Array]:
    return [np.asarray(np.take(values[0], values[1].astype(np.int64), axis=node.integer("axis", 0)), values[0].dtype)]


def _constant_of_shape(node: Node, values: list[Array]) -> list[Array]:
    if values[0].dtype == object:
        raise DimError("a value along time is none of numbers alone")
    sizes = tuple(int(size) for size in values[0])
    if math.prod(sizes) > MAX_ELEMENTS or min(sizes, default=0) < 0:
        raise GraphError(f"{node} makes a constant of more than {MAX_ELEMENTS} elements")
    value = node.attributes.get("value", np.zeros(1, np.float32))
    assert isinstance(value, np.ndarray)
    return [np.full(sizes, value.reshape(-1)[0], value.dtype)]


def _unsqueeze(node: Node, values: list[Array]) -> list[Array]:
    return [np.expand_dims(values[0], tuple(int(axis) for axis in values[1].reshape(-1)))]


def _squeeze(node: Node, values: list[Array]) -> list[Array]:
    return [np.squeeze(values[0], tuple(int(axis) for axis in values[1]) if len(values) > 1 else None)]


def _slice(node: Node, values: list[Array]) -> list[Array]:
    starts, ends = values[1], values[2]
    axes = values[3] if len(values) > 3 else np.arange(len(starts))
    steps = values[4] if len(values) > 4 else np.ones(len(starts), np.int64)
    cut = [slice(None)] * values[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        beyond = step < 0 and int(end) < -values[0].shape[axis]  # "to the front", which Python spells None
        cut[axis] = slice(int(start), None if beyond else int(end), int(step))
    return [values[0][tuple(cut)]]


def _reshape(node: Node, values: list[Array]) -> list[Array]:
    shape = [int(size) for size in values[1]]
    copied = not node.integer("allowzero", 0)
    kept = [values[0].shape[axis] if size == 0 and copied else size for axis, size in enumerate(shape)]
    return [values[0].reshape(kept)]


def _flatten(node: Node, values: list[Array]) -> list[Array]:
    rows = math.prod(values[0].shape[: node.integer("axis", 1)])
    return [values[0].reshape(rows, -1)]


def _transpose(node: Node, values: list[Array]) -> list[Array]:
    axes = node.integers("perm", tuple(reversed(range(values[0].ndim))))
    return [np.ascontiguousarray(np.transpose(values[0], axes))]


def _concat(node: Node, values: list[Array]) -> list[Array]:
    return [np.concatenate(values, node.integer("axis", 0))]


def _range(node: Node, values: list[Array]) -> list[Array]:
    start, limit, step = (value.reshape(-1).tolist()[0] for value in values)
    if isinstance(limit, Dim):
        raise DimError(f"counting to {limit} never ends")
    if not 0 <= (limit - start) / step <= MAX_ELEMENTS:
        raise GraphError(f"{node} counts from {start} to {limit} by {step}, which is impossible")
    return [np.arange(start, limit, step).astype(values[0].dtype)]


def _expand(node: Node, values: list[Array]) -> list[Array]:
    if values[1].dtype == object:
        raise DimError("a value along time is none of numbers alone")
    return [_repeated(node, values[0], np.broadcast_shapes(values[0].shape, tuple(int(size) for size in values[1])))]


def _tile(node: Node, values: list[Array]) -> list[Array]:
    times = tuple(int(many) for many in values[1])
    if math.prod(times) * values[0].size > MAX_ELEMENTS:
        raise GraphError(f"{node} makes a constant of more than {MAX_ELEMENTS} elements")
    return [np.tile(values[0], times)]


def _repeated(node: Node, value: Array, shape: tuple[int, ...]) -> Array:
    if math.prod(shape) > MAX_ELEMENTS:
        raise GraphError(f"{node} makes a constant of more than {MAX_ELEMENTS} elements")
    return np.broadcast_to(value, shape).copy()


def _mod(node: Node, values: list[Array]) -> list[Array]:
    return [np.asarray((np.fmod if node.integer("fmod", 0) else np.mod)(*values))]


def _pad(node: Node, values: list[Array]) -> list[Array]:
    amounts = [int(amount) for amount in values[1].reshape(-1)]
    rank = values[0].ndim
    if node.text("mode", "constant") != "constant" or len(values) > 2 or len(amounts) != 2 * rank or min(amounts) < 0:
        raise GraphError(f"{node} pads a constant in a way that is not supported")
    if (
        math.prod(size + amounts[axis] + amounts[axis + rank] for axis, size in enumerate(values[0].shape))
        > MAX_ELEMENTS
    ):
        raise GraphError(f"{node} makes a constant of more than {MAX_ELEMENTS} elements")
    return [np.pad(values[0], list(zip(amounts[:rank], amounts[rank:], strict=True)))]


def _reduced(function: np.ufunc) -> Evaluation:
    """The evaluation of a reduction, also of lengths that are not numbers."""

    def reduce(node: Node, values: list[Array]) -> list[Array]:
        x = values[0]
        axes = tuple(int(axis) for axis in values[1].reshape(-1)) if len(values) > 1 else ()
        if not axes and node.integer("noop_with_empty_axes", 0):
            return [x]
        kept = bool(node.integer("keepdims", 1))
        start = {"initial": _of_nothing(function, x.dtype)} if x.size == 0 and function in _EXTREMES else {}
        return [np.asarray(function.reduce(x, axes or None, dtype=x.dtype, keepdims=kept, **start), x.dtype)]

    return reduce


_EXTREMES = (np.maximum, np.minimum)


def _of_nothing(function: np.ufunc, dtype: np.dtype[Any]) -> Any:
    """The extreme of no numbers: the last that any number would replace."""
    if dtype.kind == "f":
        return -np.inf if function is np.maximum else np.inf
    ends = (False, True) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return ends[function is np.minimum]


_COMPARING = {
    "And": elementwise(np.logical_and),
    "Equal": elementwise(np.equal),
    "Greater": elementwise(np.greater),
    "GreaterOrEqual": elementwise(np.greater_equal),
    "Less": elementwise(np.less),
    "LessOrEqual": elementwise(np.less_equal),
    "Or": elementwise(np.logical_or),
    "Xor": elementwise(np.logical_xor),
}
_BROADCASTING = ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Mod", "Where", *_COMPARING)

EVALUATIONS: Mapping[str, Evaluation] = {
    **_COMPARING,
    "Abs": elementwise(np.abs),
    "Add": elementwise(np.add),
    "Cast": _cast,
    "Ceil": elementwise(np.ceil),
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Cos": elementwise(np.cos),
    "Div": elementwise(_divide),
    "Exp": elementwise(np.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": elementwise(np.floor),
    "Gather": _gather,
    "Identity": lambda node, values: values,
    "Log": elementwise(np.log),
    "Max": elementwise(lambda *values: np.asarray(np.maximum.reduce(np.broadcast_arrays(*values)))),
    "Min": elementwise(lambda *values: np.asarray(np.minimum.reduce(np.broadcast_arrays(*values)))),
    "Mod": _mod,
    "Mul": elementwise(np.multiply),
    "Neg": elementwise(np.negative),
    "Not": elementwise(np.logical_not),
    "Pad": _pad,
    "Pow": elementwise(np.power),
    "Range": _range,
    "Reciprocal": elementwise(np.reciprocal),
    "ReduceMax": _reduced(np.maximum),
    "ReduceMin": _reduced(np.minimum),
    "ReduceProd": _reduced(np.multiply),
    "ReduceSum": _reduced(np.add),
    "Reshape": _reshape,
    "Round": elementwise(np.rint),
    "Sign": elementwise(np.sign),
    "Sin": elementwise(np.sin),
    "Slice": _slice,
    "Sqrt": elementwise(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": elementwise(np.subtract),
    "Tanh": elementwise(np.tanh),
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": elementwise(np.where),
}
