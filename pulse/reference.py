"""Every kernel in plain numpy, to be checked by eye. What is written comes first, then what is read.

Kernels keep no state and allocate nothing: memory, scratch included, is handed in. Elementwise kernels get a scratch
array like their output. A stream axis that matters is the last one, put there by the views of the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from pulse.step import Floats

Kernel = Callable[..., None]


def copy(out: Floats, x: Floats) -> None:
    """out = x"""
    np.copyto(out, x)


def delay(ring: Floats, x: Floats) -> None:
    """Shift `ring` (..., past + pulse) by one pulse and append `x` (..., pulse)."""
    pulse = x.shape[-1]
    past = ring.shape[-1] - pulse
    for start in range(0, past, pulse):  # in pieces that do not overlap, so that numpy needs no copy of its own
        count = min(pulse, past - start)
        np.copyto(ring[..., start : start + count], ring[..., start + pulse : start + pulse + count])
    np.copyto(ring[..., past:], x)


def fill(out: Floats, left: Floats, x: Floats, *, value: float) -> None:
    """out = x (..., pulse), but its first `left[0]` items are `value`; `left` counts down from pulse to pulse."""
    np.copyto(out, x)
    items = min(int(left[0]), x.shape[-1])
    if items:
        out[..., :items] = value
        left[0] -= items


def conv(out: Floats, product: Floats, columns: Floats | None, *reads: Floats | None, activation: str) -> None:
    """out = activation(weight @ taps + bias + addend); reads taps, matrix, weight, bias or None, addend or None.

    taps (n, group, *kernel, channels, *places) are gathered in `columns`, unless absent; `matrix` is the same memory
    as (n, group, kernel*channels, items), items being all places. weight (group, filters, kernel*channels),
    bias (group, filters, 1); product, addend (n, group, filters, items); out is product, except behind a gate, which
    halves the filters.
    """
    taps, matrix, weight, bias, addend = reads
    assert taps is not None and matrix is not None and weight is not None
    if columns is not None:
        np.copyto(columns, taps)
    np.matmul(weight, matrix, out=product)
    if bias is not None:
        np.add(product, bias, out=product)
    if addend is not None:
        np.add(product, addend, out=product)
    ACTIVATIONS[activation](out, product)


def nothing(out: Floats, x: Floats) -> None:
    """out = x, which is the same memory."""


def relu(out: Floats, x: Floats) -> None:
    """out = max(x, 0)"""
    np.maximum(x, 0, out=out)


def tanh(out: Floats, x: Floats) -> None:
    """out = tanh(x)"""
    np.tanh(x, out=out)


def sigmoid(out: Floats, x: Floats) -> None:
    """out = 1 / (1 + exp(-x)) = (1 + tanh(x/2)) / 2, which never overflows."""
    np.multiply(x, 0.5, out=out)
    np.tanh(out, out=out)
    np.add(out, 1, out=out)
    np.multiply(out, 0.5, out=out)


def gate(out: Floats, x: Floats) -> None:
    """out = tanh(a) * sigmoid(b), with a and b the two halves of axis -2 of `x`, which is overwritten."""
    half = out.shape[-2]
    a, b = x[..., :half, :], x[..., half:, :]
    np.multiply(b, 0.5, out=b)
    np.tanh(x, out=x)
    np.add(b, 1, out=b)
    np.multiply(a, b, out=out)
    np.multiply(out, 0.5, out=out)


# what a convolution may do to its own result; in place, except the gate
ACTIVATIONS: Mapping[str, Kernel] = {
    "": nothing,
    "Gate": gate,
    "Relu": relu,
    "Sigmoid": sigmoid,
    "Tanh": tanh,
}


def matmul(out: Floats, x: Floats, y: Floats) -> None:
    """out = x @ y"""
    np.matmul(x, y, out=out)


def einsum(out: Floats, *reads: Floats, equation: str) -> None:
    """out = the sum that the equation says"""
    np.einsum(equation, *reads, out=out)


def where(out: Floats, scratch: Floats, condition: Floats, x: Floats, y: Floats) -> None:
    """out = x where the condition is not 0, else y; the bytes of `scratch` hold the answers"""
    mask = scratch.reshape(-1).view(np.bool_)[: out.size].reshape(out.shape)
    np.not_equal(condition, 0, out=mask)
    np.copyto(out, y)
    np.copyto(out, x, where=mask)


def cast(out: Floats, x: Floats, *, to: str) -> None:
    """out = x as a number of the type `to`: whole, or 0 and 1"""
    if to == "bool":
        np.not_equal(x, 0, out=out)
    else:
        np.trunc(x, out=out)


def remainder(out: Floats, x: Floats, y: Floats, *, fmod: int = 0) -> None:
    """out = what is left of x by y, with the sign of y, or with that of x if `fmod`"""
    (np.fmod if fmod else np.mod)(x, y, out=out)


def max_pool(out: Floats, taps: Floats) -> None:
    """out (n, channels, *places) = max over the kernel of taps (n, channels, *kernel, *places)"""
    np.maximum.reduce(taps, axis=_kernel(out), out=out)


def average_pool(out: Floats, taps: Floats) -> None:
    """out (n, channels, *places) = mean over the kernel of taps (n, channels, *kernel, *places)"""
    np.add.reduce(taps, axis=_kernel(out), out=out)
    np.multiply(out, out.size / max(taps.size, 1), out=out)


def _kernel(out: Floats) -> tuple[int, ...]:
    return tuple(range(2, out.ndim))


def pad(out: Floats, inside: Floats, x: Floats, *, value: float) -> None:
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


def reduce_mean(out: Floats, x: Floats, *, axes: tuple[int, ...]) -> None:
    """out = mean of x over `axes`, which stay with one item"""
    np.add.reduce(x, axis=axes, keepdims=True, out=out)
    np.multiply(out, out.size / max(x.size, 1), out=out)


def elu(out: Floats, scratch: Floats, x: Floats, *, alpha: float = 1.0) -> None:
    """out = x where positive, else alpha * (exp(x) - 1)"""
    np.minimum(x, 0, out=scratch)
    np.expm1(scratch, out=scratch)
    np.multiply(scratch, alpha, out=scratch)
    np.maximum(x, 0, out=out)
    np.add(out, scratch, out=out)


def leaky_relu(out: Floats, scratch: Floats, x: Floats, *, alpha: float = 0.01) -> None:
    """out = x where positive, else alpha * x"""
    np.minimum(x, 0, out=scratch)
    np.multiply(scratch, alpha, out=scratch)
    np.maximum(x, 0, out=out)
    np.add(out, scratch, out=out)


def gate_alone(out: Floats, scratch: Floats, x: Floats) -> None:
    """out = tanh(a) * sigmoid(b), and `x` stays as it is"""
    np.copyto(scratch, x)
    gate(out, scratch)


def erf(out: Floats, scratch: Floats, x: Floats) -> None:
    """out = erf(x) by Abramowitz and Stegun 7.1.26, which is off by 1.5e-7 at most"""
    np.abs(x, out=scratch)
    np.multiply(scratch, 0.3275911, out=scratch)
    np.add(scratch, 1, out=scratch)
    np.reciprocal(scratch, out=scratch)
    out.fill(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592, 0.0):
        np.multiply(out, scratch, out=out)
        np.add(out, coefficient, out=out)
    np.multiply(x, x, out=scratch)
    np.negative(scratch, out=scratch)
    np.exp(scratch, out=scratch)
    np.multiply(out, scratch, out=out)
    np.subtract(1, out, out=out)
    np.copysign(out, x, out=out)


def hard_sigmoid(out: Floats, scratch: Floats, x: Floats, *, alpha: float = 0.2, beta: float = 0.5) -> None:
    """out = alpha * x + beta, between 0 and 1"""
    np.multiply(x, alpha, out=scratch)
    np.add(scratch, beta, out=scratch)
    np.clip(scratch, 0, 1, out=out)


def hard_swish(out: Floats, scratch: Floats, x: Floats) -> None:
    """out = x * hard_sigmoid(x), with a slope of 1/6"""
    hard_sigmoid(scratch, scratch, x, alpha=1 / 6)
    np.multiply(x, scratch, out=out)


def softsign(out: Floats, scratch: Floats, x: Floats) -> None:
    """out = x / (1 + |x|)"""
    np.abs(x, out=scratch)
    np.add(scratch, 1, out=scratch)
    np.divide(x, scratch, out=out)


def clip(out: Floats, scratch: Floats, x: Floats, *, low: float = -math.inf, high: float = math.inf) -> None:
    """out = x, between `low` and `high`"""
    np.maximum(x, low, out=scratch)
    np.minimum(scratch, high, out=out)


def _unary(function: Callable[..., object]) -> Kernel:
    def kernel(out: Floats, scratch: Floats, x: Floats) -> None:
        function(x, out=out)

    return kernel


def _activation(function: Kernel) -> Kernel:
    def kernel(out: Floats, scratch: Floats, x: Floats) -> None:
        function(out, x)

    return kernel


def _binary(function: Callable[..., object]) -> Kernel:
    def kernel(out: Floats, x: Floats, y: Floats) -> None:
        function(x, y, out=out)

    return kernel


def _reduce(function: np.ufunc) -> Kernel:
    def kernel(out: Floats, x: Floats, *, axes: tuple[int, ...]) -> None:
        function.reduce(x, axis=axes, keepdims=True, out=out)

    return kernel


# (out, scratch, x)
UNARY: Mapping[str, Kernel] = {
    "Abs": _unary(np.abs),
    "Acos": _unary(np.arccos),
    "Acosh": _unary(np.arccosh),
    "Asin": _unary(np.arcsin),
    "Asinh": _unary(np.arcsinh),
    "Atan": _unary(np.arctan),
    "Atanh": _unary(np.arctanh),
    "Ceil": _unary(np.ceil),
    "Clip": clip,
    "Cos": _unary(np.cos),
    "Cosh": _unary(np.cosh),
    "Elu": elu,
    "Erf": erf,
    "Exp": _unary(np.exp),
    "Floor": _unary(np.floor),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "LeakyRelu": leaky_relu,
    "Log": _unary(np.log),
    "Neg": _unary(np.negative),
    "Not": _unary(np.logical_not),
    "Reciprocal": _unary(np.reciprocal),
    "Relu": _activation(relu),
    "Round": _unary(np.rint),
    "Sigmoid": _activation(sigmoid),
    "Sign": _unary(np.sign),
    "Sin": _unary(np.sin),
    "Sinh": _unary(np.sinh),
    "Softplus": lambda out, scratch, x: np.logaddexp(x, 0, out=out),
    "Softsign": softsign,
    "Sqrt": _unary(np.sqrt),
    "Tan": _unary(np.tan),
    "Tanh": _activation(tanh),
}

# (out, x, y)
BINARY: Mapping[str, Kernel] = {
    "Add": _binary(np.add),
    "And": _binary(np.logical_and),
    "Div": _binary(np.divide),
    "Equal": _binary(np.equal),
    "Greater": _binary(np.greater),
    "GreaterOrEqual": _binary(np.greater_equal),
    "Less": _binary(np.less),
    "LessOrEqual": _binary(np.less_equal),
    "Max": _binary(np.maximum),
    "Min": _binary(np.minimum),
    "Mod": remainder,
    "Mul": _binary(np.multiply),
    "Or": _binary(np.logical_or),
    "Pow": _binary(np.power),
    "Sub": _binary(np.subtract),
    "Xor": _binary(np.logical_xor),
}

KERNELS: Mapping[str, Kernel] = {
    **UNARY,
    **BINARY,
    "AveragePool": average_pool,
    "Cast": cast,
    "Conv": conv,
    "Copy": copy,
    "Delay": delay,
    "Einsum": einsum,
    "Fill": fill,
    "Gate": gate_alone,
    "LogSoftmax": log_softmax,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "Pad": pad,
    "ReduceMax": _reduce(np.maximum),
    "ReduceMean": reduce_mean,
    "ReduceMin": _reduce(np.minimum),
    "ReduceProd": _reduce(np.multiply),
    "ReduceSum": _reduce(np.add),
    "Softmax": softmax,
    "Where": where,
}
