"""Random layers that reach along time, or change its rate; a stream is (1, channels, time)."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from tests.graphs import END, FLOAT, Builder, Draw, Stream

MAX_STRIDE = 4


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


def _front(b: Builder, draw: Draw, x: Stream) -> Stream:
    return b.front(x[0], draw(st.integers(0, 3)), draw(st.sampled_from([END, END, -2]))), x[1]


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


def _places(b: Builder, draw: Draw, x: Stream) -> Stream:
    """A window of the past by indices that count along time, or a value for every place."""
    length = b.add("Squeeze", b.add("Shape", x[0], start=2))
    times = b.add("Range", b.constant(0), length, b.constant(1))
    if draw(st.booleans()):
        return b.add("Mul", x[0], b.add("Cos", b.add("Cast", times, to=1))), x[1]
    width = draw(st.integers(1, 4))
    padded = b.add("Pad", x[0], b.constant([0, 0, width - 1, 0, 0, 0]))
    places = b.add("Add", b.add("Unsqueeze", times, b.constant([0])), b.constant(np.arange(width)[:, None]))
    y = b.add("Gather", padded, places, axis=2)  # (1, channels, width, time)
    return b.add("Reshape", y, b.constant([1, x[1] * width, -1])), x[1] * width


def _walk(b: Builder, draw: Draw, x: Stream) -> Stream:
    """A recurrent layer written by hand: h = z * h + (1 - z) * f(x), and what it looks back on."""
    inner = Builder(len(b.nodes), prefix=f"in{len(b.nodes)}.")
    old, item = f"{inner.prefix}h", f"{inner.prefix}item"
    z = inner.add("Sigmoid", inner.add("Add", item, inner.floats(x[1])))
    seen = inner.add(draw(st.sampled_from(["Tanh", "Softplus"])), inner.add("MatMul", item, inner.floats(x[1], x[1])))
    less = inner.add("Sub", inner.constant(1, np.float32), z)
    new = inner.add("Add", inner.add("Mul", z, old), inner.add("Mul", less, seen))
    made = [new, inner.add("Identity", draw(st.sampled_from([old, new])))]
    inputs, outputs = (
        [helper.make_tensor_value_info(n, FLOAT, (x[1],)) for n in names] for names in ([old, item], made)
    )
    body = helper.make_graph(inner.nodes, "body", inputs, outputs, inner.weights)
    rows = b.add("Squeeze", x[0], b.constant([0]))
    axes = {"scan_input_axes": [1], "scan_output_axes": [1], "num_scan_inputs": 1}
    y = b.add_many("Scan", 2, b.floats(x[1]), rows, body=body, **axes)[1]
    return b.add("Unsqueeze", y, b.constant([0])), x[1]


LAYERS = (_conv, _conv, _conv, _residual, _residual, _pool, _pad, _gate, _front, _image, _image)
LAYERS += (_recurrent, _recurrent, _front_of_time, _sum, _more, _places, _walk)
