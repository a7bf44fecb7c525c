"""Random layers that take time item by item; a stream is (1, channels, time)."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.graphs import END, FLOAT, Builder, Draw, Stream

_UNARY = ("Relu", "Tanh", "Sigmoid", "LeakyRelu", "Elu", "Erf", "Softplus", "Softsign", "HardSigmoid", "HardSwish")
_UNARY += ("Gelu", "Abs", "Neg", "Sin", "Cos", "Mish", "Selu", "Celu", "ThresholdedRelu", "Atan", "Asinh", "Sinh")
_UNARY += ("Cosh", "Tan")
REDUCE = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2")
REDUCE += ("ReduceSumSquare", "ReduceLogSumExp")
_COMPARE = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")
_SPREAD = st.sampled_from([(), (1,), (1, 1)])
_BETWEEN = ("scale", "scale", "slice", "pad", "join", "dense", "residual", "softmax")


def _unary(b: Builder, draw: Draw, x: Stream) -> Stream:
    op = draw(st.sampled_from((*_UNARY, "Clip", "BatchNormalization", "Dropout", "Safe")))
    if op == "Clip":
        return b.add("Clip", x[0], b.constant(-0.5, np.float32), b.constant(0.7, np.float32)), x[1]
    if op == "BatchNormalization":
        variance = b.constant(b.noise.uniform(0.5, 2, x[1]), np.float32)
        return b.add(op, x[0], b.floats(x[1]), b.floats(x[1]), b.floats(x[1]), variance), x[1]
    if op == "Safe":
        return b.add("Log", b.add("Sqrt", b.add("Exp", b.add("Tanh", x[0])))), x[1]
    return b.add(op, x[0]), x[1]


def _constant(b: Builder, draw: Draw, x: Stream) -> Stream:
    op = draw(st.sampled_from(["Add", "Sub", "Mul", "Div", "Max", "Min"]))
    shape = draw(st.sampled_from([(), (1,), (x[1], 1), (1, x[1], 1)]))
    value = b.constant(b.noise.uniform(0.5, 1.5, shape), np.float32)
    inputs = (x[0], value) if op == "Div" or draw(st.booleans()) else (value, x[0])
    return b.add(op, *inputs), x[1]


def _channels(b: Builder, draw: Draw, x: Stream) -> Stream:
    """Take channels apart and join them in another order."""
    left = draw(st.integers(1, x[1])) if x[1] > 1 else 1
    if left == x[1]:
        return b.add("Concat", x[0], b.add("Tanh", x[0]), axis=1), 2 * x[1]
    a, c = b.add_many("Split", 2, x[0], b.constant([left, x[1] - left]), axis=1)
    late = b.add("Conv", a, b.floats(left, left, 3), pads=[2, 0])
    return b.add("Concat", c, late, axis=1), x[1]


def _flip(b: Builder, draw: Draw, x: Stream) -> Stream:
    """Every channel backwards, or every second one."""
    if draw(st.booleans()):
        return b.add("Slice", x[0], *(b.constant([number]) for number in (-1, -END, 1, -1))), x[1]
    return b.add("Slice", x[0], *(b.constant([number]) for number in (0, END, 1, 2))), -(-x[1] // 2)


def _softmax(b: Builder, draw: Draw, x: Stream) -> Stream:
    return b.add(draw(st.sampled_from(["Softmax", "LogSoftmax"])), x[0], axis=1), x[1]


def _matmul(b: Builder, draw: Draw, x: Stream) -> Stream:
    filters = draw(st.integers(1, 3))
    y = b.add("MatMul", b.add("Transpose", x[0], perm=[0, 2, 1]), b.floats(x[1], filters))
    return b.add("Transpose", y, perm=[0, 2, 1]), filters


def _gemm(b: Builder, draw: Draw, x: Stream) -> Stream:
    filters = draw(st.integers(1, 3))
    rows = b.add("Transpose", b.add("Squeeze", x[0], b.constant([0])), perm=[1, 0])
    y = b.add("Gemm", rows, b.floats(filters, x[1]), b.floats(filters), transB=1, alpha=0.5, beta=2.0)
    return b.add("Unsqueeze", b.add("Transpose", y, perm=[1, 0]), b.constant([0])), filters


def _reduce(b: Builder, draw: Draw, x: Stream) -> Stream:
    y = b.add(draw(st.sampled_from(REDUCE)), x[0], b.constant([1]), keepdims=1)
    return b.add("Add", x[0], y), x[1]


def _reshape(b: Builder, draw: Draw, x: Stream) -> Stream:
    y = b.add("Reshape", x[0], b.constant([x[1], 1, -1]))
    return b.add("Reshape", b.add("Tanh", y), b.constant([1, x[1], -1])), x[1]


def _activation(b: Builder, draw: Draw, x: Stream) -> Stream:
    """Activations that a slope, a bound or a step belongs to."""
    match draw(st.sampled_from(["PRelu", "tanh", "Round", "bounded", "LayerNormalization", "L2"])):
        case "PRelu":
            return b.add("PRelu", x[0], b.floats(*draw(st.sampled_from([(1,), (x[1], 1)])))), x[1]
        case "tanh":
            return b.add("Gelu", x[0], approximate="tanh"), x[1]
        case "Round":  # steps, where rounding errors of what comes before cannot cross them
            still = b.add("Mul", b.constant(0.0, np.float32), x[0])
            shifts = b.constant(b.noise.uniform(-3, 3, (x[1], 1)), np.float32)
            ops = draw(st.sampled_from(["Round", "Floor", "Ceil", "Sign"]))
            return b.add("Add", x[0], b.add(ops, b.add("Add", still, shifts))), x[1]
        case "bounded":
            return b.add("Atanh", b.add("Mul", b.add("Tanh", x[0]), b.constant(0.9, np.float32))), x[1]
        case "LayerNormalization":
            rows = b.add("Transpose", x[0], perm=[0, 2, 1])
            y = b.add("LayerNormalization", rows, b.floats(x[1]), b.floats(x[1]), epsilon=0.1)
            return b.add("Transpose", y, perm=[0, 2, 1]), x[1]
    length = b.add("ReduceL2", x[0], b.constant([1]), keepdims=1)
    return b.add("Div", x[0], b.add("Max", length, b.constant(0.1, np.float32))), x[1]


def _choose(b: Builder, draw: Draw, x: Stream) -> Stream:
    """One of two where a comparison that rounding cannot turn says so."""
    above = b.constant(b.noise.choice([-100.0, 100.0], (x[1], 1)), np.float32)
    chosen = b.add(draw(st.sampled_from(_COMPARE)), x[0], above)
    other = b.add("Not", b.add("Equal", b.add("Mul", x[0], b.constant(0, np.float32)), b.constant(1, np.float32)))
    chosen = b.add(draw(st.sampled_from(["And", "Or", "Xor"])), chosen, other)
    if draw(st.booleans()):
        return b.add("Mul", b.add("Cast", chosen, to=1), x[0]), x[1]
    late = b.add("Conv", x[0], b.floats(x[1], x[1], 2), pads=[1, 0])
    return b.add("Where", chosen, x[0], late), x[1]


def _gather(b: Builder, draw: Draw, x: Stream) -> Stream:
    indices = draw(st.lists(st.integers(-x[1], x[1] - 1), min_size=1, max_size=5))
    return b.add("Gather", x[0], b.constant(indices), axis=1), len(indices)


def _repeat(b: Builder, draw: Draw, x: Stream) -> Stream:
    if draw(st.booleans()):
        return b.add("Tile", x[0], b.constant([1, 2, 1])), 2 * x[1]
    one = b.add("ReduceMean", x[0], b.constant([1]), keepdims=1)
    return b.add("Expand", one, b.constant([1, 3, 1])), 3


def _products(b: Builder, draw: Draw, x: Stream) -> Stream:
    """Products of a constant with the stream, and of the stream with itself, item by item."""
    filters = draw(st.integers(1, 3))
    match draw(st.sampled_from(["left", "einsum", "outer", "einsum of two"])):
        case "left":
            return b.add("MatMul", b.floats(filters, x[1]), x[0]), filters
        case "einsum":
            return b.add("Einsum", x[0], b.floats(filters, x[1]), equation="nct,fc->nft"), filters
        case "einsum of two":
            y = b.add("Einsum", x[0], b.add("Tanh", x[0]), equation="nct,nct->nt")
            return b.add("Unsqueeze", y, b.constant([1])), 1
    column = b.add("Transpose", b.add("Unsqueeze", x[0], b.constant([3])), perm=[0, 2, 1, 3])  # (1, time, channels, 1)
    late = b.add("Conv", x[0], b.floats(2, x[1], 2), pads=[1, 0])
    row = b.add("Transpose", b.add("Unsqueeze", late, b.constant([1])), perm=[0, 3, 1, 2])  # (1, time, 1, 2)
    flat = b.add("Reshape", b.add("MatMul", column, row), b.constant([1, -1, 2 * x[1]]))
    return b.add("Transpose", flat, perm=[0, 2, 1]), 2 * x[1]


def _channels_last(b: Builder, draw: Draw, x: Stream) -> Stream:
    """Channels last, as Keras has them, with what it writes between a transpose and the way back."""
    y, channels = b.add("Transpose", x[0], perm=[0, 2, 1]), x[1]
    for what in draw(st.lists(st.sampled_from(_BETWEEN), max_size=3)):
        match what:
            case "scale":
                y = b.add(draw(st.sampled_from(["Mul", "Add", "Sub"])), y, b.floats(*draw(_SPREAD), channels))
            case "slice":
                y = b.add("Slice", y, *(b.constant(c) for c in ([0, 1], [END, END], [0, 1])))
            case "pad":
                y = b.add("Pad", y, b.constant([0, draw(st.integers(0, 3)), 0, 0, draw(st.integers(0, 1)), 0]))
            case "join":
                y, channels = b.add("Concat", y, b.add("Tanh", y), axis=-1), 2 * channels
            case "dense":
                filters = draw(st.integers(1, 3))
                y, channels = b.add("MatMul", y, b.floats(channels, filters)), filters
            case "residual":
                y = b.add("Add", y, b.add("Sigmoid", y))
            case "softmax":
                y = b.add("Softmax", y, axis=2)
    if draw(st.booleans()):
        return b.add("Transpose", y, perm=[0, 2, 1]), channels
    image = b.add("Transpose", b.add("Unsqueeze", y, b.constant([-3])), perm=[0, 3, 1, 2])
    kernel, pads = draw(st.integers(1, 3)), [0, draw(st.integers(0, 2)), 0, 0]
    y = b.add("Conv", image, b.floats(2, channels, 1, kernel), dilations=[1, draw(st.integers(1, 3))], pads=pads)
    return b.add("Relu", b.add("Squeeze", y, b.constant([2]))), 2


def _count(b: Builder, draw: Draw, x: Stream) -> Stream:
    """A count of the items, in integers, and beside the stream what comes of it."""
    to = draw(st.sampled_from([TensorProto.INT32, TensorProto.INT64]))
    dtype = helper.tensor_dtype_to_np_dtype(to)
    always = b.add("Not", b.add("Less", b.add("Abs", x[0]), b.constant(0, np.float32)))
    steps = b.constant(b.noise.integers(-9, 9, (x[1], 1)), dtype)
    y = b.add("CumSum", b.add("Mul", b.add("Cast", always, to=to), steps), b.constant(2))
    y = b.add("Mod", integers(b, draw, (y, x[1]), dtype), b.constant(5, dtype))
    if draw(st.booleans()):
        return b.add("Mul", x[0], b.add("Gather", b.floats(5), y)), x[1]
    return b.add("Add", x[0], b.add("Cast", y, to=FLOAT)), x[1]


def integers(b: Builder, draw: Draw, x: Stream, dtype: Any) -> str:
    """Some of what can be done with integers of this type; the shape stays."""
    y = x[0]
    for op in draw(st.lists(st.sampled_from(_OF_INTEGERS), max_size=4)):
        number = b.constant(b.noise.choice([-7, -2, -1, 1, 2, 3, 40], (x[1], 1)), dtype)
        match op:
            case "Where":
                y = b.add(op, b.add(draw(st.sampled_from((*_COMPARE, "Equal"))), y, number), number, y)
            case "late":
                late = draw(st.integers(1, 3))
                padded = b.add("Pad", y, b.constant([0, 0, late, 0, 0, 0]), b.constant(4, dtype))
                y = b.add("Sub", y, b.front(padded, 0, -late))
            case "Clip":
                y = b.add(op, y, b.constant(-50, dtype), b.constant(60, dtype))
            case "Abs" | "Neg" | "Sign":
                y = b.add(op, y)
            case "CumSum":
                y = b.add(op, b.add("Sign", y), b.constant(draw(st.sampled_from([1, 2]))), exclusive=draw(_FLAG))
            case "ReduceSum" | "ReduceMax":
                y = b.add("Add", y, b.add(op, y, b.constant([1]), keepdims=1))
            case "Mod":
                y = b.add(op, y, number, fmod=draw(_FLAG))
            case _:
                y = b.add(op, y, number)
    return y


_OF_INTEGERS = ("Add", "Sub", "Mul", "Div", "Div", "Mod", "Max", "Min", "Abs", "Neg", "Sign", "Where", "late", "Clip")
_OF_INTEGERS += ("CumSum", "ReduceSum", "ReduceMax")
_FLAG = st.integers(0, 1)


LAYERS = (_unary, _unary, _constant, _channels, _flip, _softmax, _matmul, _gemm, _reduce, _reshape, _activation)
LAYERS += (_activation, _choose, _gather, _repeat, _products, _channels_last, _channels_last, _count, _count)
