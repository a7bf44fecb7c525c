"""Random streaming networks as ONNX models, and the law that they obey when they are computed pulse by pulse."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import pulse
from pulse.graph import Graph
from pulse.load import load

TOLERANCE = 1e-4
MAX_STRIDE = 4
END = np.iinfo(np.int64).max
FLOAT = int(TensorProto.FLOAT)
_UNARY = ("Relu", "Tanh", "Sigmoid", "LeakyRelu", "Elu", "Erf", "Softplus", "Softsign", "HardSigmoid", "HardSwish")
_UNARY += ("Gelu", "Abs", "Neg", "Sin", "Cos", "Mish", "Selu", "Celu", "ThresholdedRelu", "Atan", "Asinh", "Sinh")
_UNARY += ("Cosh", "Tan")
_REDUCE = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2")
_REDUCE += ("ReduceSumSquare", "ReduceLogSumExp")
_COMPARE = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")


@dataclass
class Builder:
    """An ONNX graph that grows; a stream is (1, channels, time)."""

    seed: int = 0
    opset: int = 20
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)
    stride: int = 1

    def __post_init__(self) -> None:
        self.noise = np.random.default_rng(self.seed)

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def floats(self, *shape: int) -> str:
        scale = 1 / math.sqrt(max(1, math.prod(shape[1:])))
        return self.constant(self.noise.standard_normal(shape) * scale, np.float32)

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self.add_many(op, 1, *inputs, **attributes)[0]

    def add_many(self, op: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        name = f"y{len(self.nodes)}"
        names = [name] if outputs == 1 else [f"{name}.{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=f"{op}{len(self.nodes)}", **attributes))
        return names

    def front(self, x: str, start: int, end: int = END) -> str:
        """x[:, :, start:end]"""
        return self.add("Slice", x, *(self.constant([number]) for number in (start, end, 2)))

    def model(
        self, shape: tuple[int | str, ...], outputs: list[str], types: tuple[int, int] = (FLOAT, FLOAT)
    ) -> onnx.ModelProto:
        """The finished model; `types` are those of its input and of its outputs."""
        x = helper.make_tensor_value_info("x", types[0], shape)
        ys = [helper.make_tensor_value_info(name, types[1], None) for name in outputs]
        graph = helper.make_graph(self.nodes, "net", [x], ys, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9)


@dataclass
class Network:
    """A model, the channels of its input, the time axis of its outputs, and a pulse that fits it."""

    model: onnx.ModelProto
    channels: int
    axes: list[int]
    pulse: int


Stream = tuple[str, int]  # name, channels
Draw = Callable[[st.SearchStrategy[Any]], Any]


def _conv(b: Builder, draw: Draw, x: Stream) -> Stream:
    name, channels = x
    kernel, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    stride = draw(st.sampled_from([1, 1, 1, 2, 3])) if b.stride == 1 else 1
    group = draw(st.sampled_from([1, channels]))
    filters = group * draw(st.integers(1, 3))
    b.stride *= stride
    pads = [draw(st.integers(0, 4)), draw(st.integers(0, 3))] if draw(st.booleans()) else [0, 0]
    inputs = [name, b.floats(filters, channels // group, kernel)]
    inputs += [b.floats(filters)] if draw(st.booleans()) else []
    made = b.add("Conv", *inputs, dilations=[dilation], strides=[stride], group=group, pads=pads)
    return made, filters


def _pool(b: Builder, draw: Draw, x: Stream) -> Stream:
    kernel, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 2))
    stride = draw(st.sampled_from([1, 2])) if b.stride * 2 <= MAX_STRIDE else 1
    b.stride *= stride
    span = (kernel - 1) * dilation + 1
    attributes = {"kernel_shape": [kernel], "strides": [stride], "pads": [draw(st.integers(0, kernel - 1)), 0]}
    attributes["ceil_mode"] = draw(st.integers(0, 1)) if stride <= span else 0
    match draw(st.sampled_from(["MaxPool", "AveragePool", "LpPool"])):
        case "MaxPool":
            return b.add("MaxPool", x[0], dilations=[dilation], **attributes), x[1]
        case "LpPool":
            attributes["ceil_mode"] = 0
            return b.add("LpPool", x[0], p=draw(st.integers(1, 3)), **attributes), x[1]
    attributes["ceil_mode"] = int(stride <= kernel and attributes["ceil_mode"])
    return b.add("AveragePool", x[0], count_include_pad=draw(st.integers(0, 1)), **attributes), x[1]


def _image(b: Builder, draw: Draw, x: Stream) -> Stream:
    """Channels as the rows or columns of an image, a window over it, and back."""
    last = draw(st.booleans())
    image = b.add("Unsqueeze", x[0], b.constant([1]))
    image = image if last else b.add("Transpose", image, perm=[0, 1, 3, 2])
    filters, rows, y = _windowed(b, draw, (image, x[1]), last)
    y = y if last else b.add("Transpose", y, perm=[0, 1, 3, 2])
    return b.add("Reshape", y, b.constant([1, filters * rows, -1])), filters * rows


def _windowed(b: Builder, draw: Draw, x: Stream, last: bool) -> tuple[int, int, str]:
    """Filters, rows, and an image of them; time is its last axis or the one before."""
    image, rows = x
    kernel, strides = [draw(st.integers(1, min(3, rows))), draw(st.integers(1, 3))], [draw(st.integers(1, 2)), 1]
    before = [draw(st.integers(0, size - 1)) for size in kernel]
    after = [draw(st.integers(0, kernel[0] - 1)), 0]
    up = draw(st.integers(0, 1)) if strides[0] <= kernel[0] else 0
    pads = (before + after) if last else (before[::-1] + after[::-1])
    sizes = {"strides": strides if last else strides[::-1], "pads": pads}
    over = rows + before[0] + after[0] - kernel[0]
    op = draw(st.sampled_from(["Conv", "Conv", "MaxPool", "AveragePool"]))
    if op == "Conv":
        filters = draw(st.integers(1, 2))
        w = b.floats(filters, 1, *(kernel if last else kernel[::-1]))
        y = b.add("Conv", image, w, b.floats(filters), **sizes)
        y = b.add("Relu", b.add("Mul", y, b.floats(filters, 1, 1)))
        return filters, over // strides[0] + 1, y
    places = over // strides[0] + 1
    if up and over % strides[0] and places * strides[0] < rows + before[0]:
        places += 1
    sizes |= {"ceil_mode": up, "kernel_shape": kernel if last else kernel[::-1]}
    if op == "AveragePool":
        sizes["count_include_pad"] = draw(st.integers(0, 1))
    return 1, places, b.add(op, image, **sizes)


def _pad(b: Builder, draw: Draw, x: Stream) -> Stream:
    first, last, channel = draw(st.integers(0, 4)), draw(st.integers(0, 2)), draw(st.sampled_from([0, 0, 1]))
    value = b.constant(draw(st.sampled_from([0.0, 0.5])), np.float32)
    return b.add("Pad", x[0], b.constant([0, channel, first, 0, 0, last]), value), x[1] + channel


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


def _residual(b: Builder, draw: Draw, x: Stream) -> Stream:
    """A branch that shrinks, met by a slice that drops as much, or by a branch that was padded back."""
    kernel, dilation = draw(st.integers(2, 3)), draw(st.integers(1, 3))
    lost = (kernel - 1) * dilation
    first = draw(st.integers(0, lost))
    padded = draw(st.booleans())
    pads = [lost - first, first] if padded else [0, 0]
    y = b.add("Conv", x[0], b.floats(x[1], x[1], kernel), dilations=[dilation], pads=pads)
    last = -(lost - first) if lost > first else END
    other = x[0] if padded else b.front(x[0], first, last)
    return b.add(draw(st.sampled_from(["Add", "Mul", "Sub", "Sum"])), *draw(st.permutations([y, other]))), x[1]


def _gate(b: Builder, draw: Draw, x: Stream) -> Stream:
    half = draw(st.integers(1, 3))
    y = b.add("Conv", x[0], b.floats(2 * half, x[1], 2), b.floats(2 * half))
    parts = b.add_many("Split", 2, y, b.constant([half, half]), axis=1)
    a, c = draw(st.permutations(parts))
    return b.add("Mul", *draw(st.permutations([b.add("Tanh", a), b.add("Sigmoid", c)]))), half


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


def _front(b: Builder, draw: Draw, x: Stream) -> Stream:
    return b.front(x[0], draw(st.integers(0, 3)), draw(st.sampled_from([END, END, -2]))), x[1]


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
    y = b.add(draw(st.sampled_from(_REDUCE)), x[0], b.constant([1]), keepdims=1)
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


def _recurrent(b: Builder, draw: Draw, x: Stream) -> Stream:
    op, parts = draw(st.sampled_from([("LSTM", 4), ("GRU", 3), ("RNN", 1)]))
    hidden = draw(st.integers(1, 3))
    rows = b.add("Transpose", x[0], perm=[2, 0, 1])
    weights = [b.floats(1, parts * hidden, x[1]), b.floats(1, parts * hidden, hidden)]
    weights += [b.floats(1, 2 * parts * hidden)] if draw(st.booleans()) else [""]
    begin = [b.floats(1, 1, hidden)] * (2 if op == "LSTM" else 1) if draw(st.booleans()) else []
    linear = {"linear_before_reset": draw(st.integers(0, 1))} if op == "GRU" else {}
    y = b.add(op, rows, *weights, *(["", *begin] if begin else []), hidden_size=hidden, **linear)
    return b.add("Transpose", b.add("Squeeze", y, b.constant([1])), perm=[1, 2, 0]), hidden


def _front_of_time(b: Builder, draw: Draw, x: Stream) -> Stream:
    """A mirrored front, or every second item."""
    if b.stride * 2 <= MAX_STRIDE and draw(st.booleans()):
        b.stride *= 2
        cut = (draw(st.integers(0, 3)), draw(st.sampled_from([END, -2])), 2, 2)
        return b.add("Slice", x[0], *(b.constant([number]) for number in cut)), x[1]
    pads = b.constant([0, 0, draw(st.integers(0, 4)), 0, 0, draw(st.integers(0, 2))])
    return b.add("Pad", x[0], pads, mode=draw(st.sampled_from(["edge", "reflect"]))), x[1]


def _sum(b: Builder, draw: Draw, x: Stream) -> Stream:
    small = b.add("Mul", b.add("Tanh", x[0]), b.constant(0.1, np.float32))
    return b.add("CumSum", small, b.constant(draw(st.sampled_from([1, 2]))), exclusive=draw(st.integers(0, 1))), x[1]


def _more(b: Builder, draw: Draw, x: Stream) -> Stream:
    """Twice as many items, by repetition or by a transposed convolution."""
    if draw(st.booleans()):
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        scales = b.constant([1, draw(st.sampled_from([1, 2])), 2], np.float32)
        channels = int(numpy_helper.to_array(b.weights[-1])[1])
        return b.add("Resize", x[0], "", scales, **how), x[1] * channels
    kernel, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 2))
    reach = (kernel - 1) * dilation
    pads = [draw(st.integers(0, reach)), draw(st.integers(0, reach))]
    group = draw(st.sampled_from([1, x[1]]))
    filters = draw(st.integers(1, 2))
    weights = [b.floats(x[1], filters, kernel), b.floats(filters * group)]
    sizes = {"strides": [2], "dilations": [dilation], "pads": pads, "output_padding": [draw(st.integers(0, 1))]}
    return b.add("ConvTranspose", x[0], *weights, group=group, **sizes), filters * group


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


_BETWEEN = ("scale", "scale", "slice", "pad", "join", "dense", "residual", "softmax")
_SPREAD = st.sampled_from([(), (1,), (1, 1)])

_LAYERS = (_conv, _conv, _conv, _residual, _residual, _pool, _pad, _unary, _unary, _constant, _gate, _channels, _flip)
_LAYERS += (_front, _softmax, _matmul, _gemm, _reduce, _reshape, _image, _image, _activation, _activation, _choose)
_LAYERS += (_gather, _repeat, _products, _recurrent, _recurrent, _front_of_time, _sum, _more)
_LAYERS += (_channels_last, _channels_last, _count, _count)


@st.composite
def networks(draw: Draw, layers: int = 6) -> Network:
    """A random network with its channels, output axes and pulse."""
    builder = Builder(draw(st.integers(0, 99)))
    channels = draw(st.integers(1, 4))
    stream: Stream = ("x", channels)
    seen: list[Stream] = []
    for layer in draw(st.lists(st.sampled_from(_LAYERS), min_size=1, max_size=layers)):
        stream = layer(builder, draw, stream)
        seen.append(stream)
    outputs, axes = [stream[0]], [2]
    if draw(st.booleans()):
        outputs, axes = [builder.add("Transpose", stream[0], perm=[0, 2, 1])], [1]
    if len(seen) > 1 and draw(st.booleans()):
        outputs, axes = [*outputs, seen[len(seen) // 2][0]], [*axes, 2]
    pulse_size = builder.stride * draw(st.integers(1, 5))
    if len(set(outputs)) < len(outputs):
        outputs, axes = outputs[:1], axes[:1]
    return Network(builder.model((1, channels, "S"), outputs), channels, axes, pulse_size)


def batch_graph(model: onnx.ModelProto) -> Graph:
    """A model that is not in a file, loaded."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return load(path)


def compiled(model: onnx.ModelProto, pulse_size: int) -> pulse.Plan:
    """The plan of a model that is not in a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return pulse.compile(path, pulse_size)


def whole(model: onnx.ModelProto, *streams: Any) -> list[Any]:
    """What onnxruntime makes of the whole stream."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    # its fusions make pools with more padding than kernel, and then refuse them
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    return list(session.run(None, dict(zip(names, streams, strict=True))))


def streamed(plan: pulse.Plan, x: Any, axes: list[int], state: pulse.State | None = None) -> list[Any]:
    """What a plan makes of a stream, pulse by pulse, joined along `axes` of the outputs; by a used state if given."""
    state = state or pulse.State(plan)
    (view,) = plan.inputs.values()
    axis = next(axis for axis in range(x.ndim) if x.shape[axis] != view.shape[axis])  # x is longer than a pulse
    pieces = np.split(x, x.shape[axis] // plan.pulse, axis)
    outputs = [[y.copy() for y in state.run(np.ascontiguousarray(piece))] for piece in pieces]
    return [np.concatenate(parts, where) for parts, where in zip(zip(*outputs, strict=True), axes, strict=True)]


def assert_streams(b: Builder, y: str, shape: tuple[int | str, ...], axis: int, pulse_size: int = 4) -> pulse.Plan:
    """The law for one output of a network that was built by hand; `axis` is where its time is."""
    model = b.model(shape, [y])
    plan = compiled(model, pulse_size)
    sizes = [enough(plan) if isinstance(size, str) else size for size in shape]
    x = np.random.default_rng(8).standard_normal(sizes).astype(np.float32)
    assert_law(plan, whole(model, x), streamed(plan, x, [axis]), [axis])
    return plan


def enough(plan: pulse.Plan) -> int:
    """Items of a stream that is long enough for some to come out of every output."""
    late = max(delay * stride for delay, stride in zip(plan.delay, plan.stride, strict=True))
    return math.ceil((late + plan.receptive_field) / plan.pulse + 3) * plan.pulse


def assert_law(plan: pulse.Plan, wanted: list[Any], found: list[Any], axes: list[int]) -> None:
    """The pulsed outputs without their first `delay` items are the first outputs over the whole stream."""
    for want, have, axis, delay in zip(wanted, found, axes, plan.delay, strict=True):
        behind = np.moveaxis(have, axis, -1)[..., delay:]
        batch = np.moveaxis(want, axis, -1)
        items = behind.shape[-1]
        assert 0 < items <= batch.shape[-1]
        np.testing.assert_allclose(behind[..., :items], batch[..., :items], rtol=TOLERANCE, atol=TOLERANCE)
