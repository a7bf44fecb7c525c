"""Every kernel in plain numpy, to be checked by eye. What is written comes first, then what is read.

Kernels keep no state and allocate nothing: memory, scratch included, is handed in. Elementwise kernels get a scratch
array like their output. Arrays are float32, or int64 where a kernel means something for integers; the answers of
comparisons are 0 and 1 of float32. A stream axis that matters is the last one, put there by the views of the step.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pulse.cells import gru, keep, lstm, recall, rnn, store
from pulse.elementwise import ACTIVATIONS, BINARY, OTHERS, UNARY, gate
from pulse.integer import dequantize, integer_conv, quantize, requantize
from pulse.statistics import running_max, running_mean, running_variance
from pulse.step import Array, Floats, Kernel


def copy(out: Array, x: Array) -> None:
    """out = x"""
    np.copyto(out, x)


def delay(ring: Array, x: Array) -> None:
    """Shift `ring` (..., past + pulse) by one pulse and append `x` (..., pulse)."""
    pulse = x.shape[-1]
    past = ring.shape[-1] - pulse
    for start in range(0, past, pulse):  # in pieces that do not overlap, so that numpy needs no copy of its own
        count = min(pulse, past - start)
        np.copyto(ring[..., start : start + count], ring[..., start + pulse : start + pulse + count])
    np.copyto(ring[..., past:], x)


def fill(out: Array, left: Floats, x: Array, *, value: float) -> None:
    """out = x (..., pulse), but its first `left[0]` items are `value`; `left` counts down from pulse to pulse."""
    np.copyto(out, x)
    items = min(int(left[0]), x.shape[-1])
    if items:
        out[..., :items] = value
        left[0] -= items


def conv(out: Floats, product: Floats, columns: Floats | None, *reads: Floats | None, activation: str) -> None:
    """out = activation(taps @ weight + bias + addend); reads taps, matrix, weight, bias or None, addend or None.

    taps (n, group, *places, *kernel, channels) are gathered in `columns`, unless absent; `matrix` is the same memory
    as (n, group, items, kernel*channels), items being all places. weight (group, kernel*channels, filters),
    bias (group, 1, filters); product, addend (n, group, items, filters); out is product, except behind a gate, which
    halves the filters.
    """
    taps, matrix, weight, bias, addend = reads
    assert taps is not None and matrix is not None and weight is not None
    if columns is not None:
        np.copyto(columns, taps)
    np.matmul(matrix, weight, out=product)
    if bias is not None:
        np.add(product, bias, out=product)
    if addend is not None:
        np.add(product, addend, out=product)
    ACTIVATIONS[activation](out, product)


def matmul(out: Array, x: Array, y: Array) -> None:
    """out = x @ y"""
    np.matmul(x, y, out=out)


def einsum(out: Array, *reads: Array, equation: str) -> None:
    """out = the sum that the equation says"""
    np.einsum(equation, *reads, out=out)


def max_pool(out: Array, taps: Array) -> None:
    """out (n, channels, *places) = max over the kernel of taps (n, channels, *kernel, *places)"""
    np.maximum.reduce(taps, axis=_kernel(out), out=out)


def average_pool(out: Floats, taps: Floats) -> None:
    """out (n, channels, *places) = mean over the kernel of taps (n, channels, *kernel, *places)"""
    np.add.reduce(taps, axis=_kernel(out), out=out)
    np.multiply(out, out.size / max(taps.size, 1), out=out)


def _kernel(out: Array) -> tuple[int, ...]:
    return tuple(range(2, out.ndim))


def pad(out: Array, inside: Array, x: Array, *, value: float) -> None:
    """out = value, but inside = x"""
    out.fill(value)
    np.copyto(inside, x)


def softmax(out: Floats, scratch: Floats, total: Floats, x: Floats, *, axis: int) -> None:
    """out = exp(x) / sum(exp(x)); `total` is like `x` with one item on `axis`"""
    np.maximum.reduce(x, axis=axis, keepdims=True, out=total)
    np.subtract(x, total, out=scratch)
    np.exp(scratch, out=scratch)
    np.add.reduce(scratch, axis=axis, keepdims=True, out=total)
    np.divide(scratch, total, out=out)


def log_softmax(out: Floats, scratch: Floats, total: Floats, x: Floats, *, axis: int) -> None:
    """out = x - log(sum(exp(x)))"""
    np.maximum.reduce(x, axis=axis, keepdims=True, out=total)
    np.subtract(x, total, out=out)
    np.exp(out, out=scratch)
    np.add.reduce(scratch, axis=axis, keepdims=True, out=total)
    np.log(total, out=total)
    np.subtract(out, total, out=out)


def reduce_mean(out: Array, x: Array, *, axes: tuple[int, ...]) -> None:
    """out = mean of x over `axes`, which stay with one item; of integers it is cut towards zero"""
    np.add.reduce(x, axis=axes, keepdims=True, out=out)
    if out.dtype.kind == "f":
        np.multiply(out, out.size / max(x.size, 1), out=out)
    else:
        np.divide(out, x.size / max(out.size, 1), out=out, casting="unsafe")


def gate_alone(out: Floats, scratch: Floats, x: Floats) -> None:
    """out = tanh(a) * sigmoid(b), and `x` stays as it is"""
    np.copyto(scratch, x)
    gate(out, scratch)


def cum_sum(out: Array, total: Array | None, x: Array, *, exclusive: int) -> None:
    """out (..., items) = the sum of all items of x so far; `total` (..., 1) has the sum of all pulses before"""
    if exclusive:
        out[..., :1] = 0
        np.add.accumulate(x[..., :-1], axis=-1, out=out[..., 1:])
    else:
        np.add.accumulate(x, axis=-1, out=out)
    if total is not None:
        np.add(out, total, out=out)
        np.add(out[..., -1:], x[..., -1:] if exclusive else 0, out=total)


def front(out: Array, place: Floats, past: Array, *, step: int) -> None:
    """out (..., items) = the first items of past (..., overlap + items), but items of the padded front are mirrored.

    Item k of the front is what comes (overlap/step - k) * step items later: the edge for 1, a reflection for 2.
    `place` is k of the first item of the pulse: negative during warm-up, beyond the front behind it.
    """
    items, overlap = out.shape[-1], past.shape[-1] - out.shape[-1]
    np.copyto(out, past[..., :items])
    for item in range(max(0, -int(place[0])), min(items, overlap // step - int(place[0]))):
        np.copyto(out[..., item], past[..., item + overlap - step * (int(place[0]) + item)])
    place[0] = min(place[0] + items, overlap)


def take(out: Array, scratch: Array, indices: Array, table: Array) -> None:
    """out = table[indices]; those below 0 count from the end, and those beyond an end take the item there"""
    rows = len(table)
    np.maximum(indices, -rows, out=scratch)
    np.minimum(scratch, rows - 1, out=scratch)
    np.mod(scratch, rows, out=scratch)
    np.take(table, scratch, axis=0, out=out, mode="clip")  # any other mode would need a copy


def edge(out: Array, first: Floats, past: Array, *, items: int) -> None:
    """out (..., overlap + items) = past, but what is in front of its item `first` is like it; `first` counts down"""
    np.copyto(out, past)
    place = int(first[0])
    if 0 < place < past.shape[-1]:
        np.copyto(out[..., :place], past[..., place : place + 1])
    first[0] = max(place - items, 0)


def _reduce(function: np.ufunc) -> Kernel:
    def kernel(out: Array, x: Array, *, axes: tuple[int, ...]) -> None:
        function.reduce(x, axis=axes, keepdims=True, out=out)

    return kernel


# kernels for which any further axes in front are so many more of the same
COUNTED_FROM_THE_END = frozenset({*UNARY, *BINARY, "Cast", "Conv", "Copy", "CumSum", "Delay", "Gate", "MatMul", "Pad"})

KERNELS: Mapping[str, Kernel] = {
    **UNARY,
    **BINARY,
    **OTHERS,
    "AveragePool": average_pool,
    "Conv": conv,
    "Copy": copy,
    "CumSum": cum_sum,
    "Delay": delay,
    "Dequantize": dequantize,
    "Edge": edge,
    "Einsum": einsum,
    "Fill": fill,
    "Front": front,
    "GRU": gru,
    "Gate": gate_alone,
    "Keep": keep,
    "LSTM": lstm,
    "LogSoftmax": log_softmax,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "Pad": pad,
    "QuantizedConv": integer_conv,
    "Quantize": quantize,
    "RNN": rnn,
    "Recall": recall,
    "ReduceMax": _reduce(np.maximum),
    "ReduceMean": reduce_mean,
    "ReduceMin": _reduce(np.minimum),
    "ReduceProd": _reduce(np.multiply),
    "ReduceSum": _reduce(np.add),
    "Requantize": requantize,
    "RunningMax": running_max,
    "RunningMean": running_mean,
    "RunningVariance": running_variance,
    "Softmax": softmax,
    "Store": store,
    "Take": take,
}
