"""Kernels that treat every number alike, in plain numpy; those with one input get a scratch array like their output."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from pulse.step import Array, Floats, Kernel

_UPPER_BITS = 32  # of an int64


def nothing(out: Floats, x: Floats) -> None:
    """out = x, which is the same memory."""


def relu(out: Array, x: Array) -> None:
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
    """out = tanh(a) * sigmoid(b), with a and b the two halves of the last axis of `x`, which is overwritten."""
    half = out.shape[-1]
    a, b = x[..., :half], x[..., half:]
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


def clip(out: Array, scratch: Array, x: Array, *, low: float = -math.inf, high: float = math.inf) -> None:
    """out = x, between `low` and `high`"""
    np.copyto(out, x)
    if low > -math.inf:
        np.maximum(out, low, out=out)
    if high < math.inf:
        np.minimum(out, high, out=out)


def _unary(function: Callable[..., object]) -> Kernel:
    def kernel(out: Array, scratch: Array, x: Array) -> None:
        function(x, out=out)

    return kernel


def _activation(function: Kernel) -> Kernel:
    def kernel(out: Array, scratch: Array, x: Array) -> None:
        function(out, x)

    return kernel


def _binary(function: Callable[..., object]) -> Kernel:
    def kernel(out: Array, x: Array, y: Array) -> None:
        function(x, y, out=out)

    return kernel


def where(out: Array, scratch: Array, condition: Floats, x: Array, y: Array) -> None:
    """out = x where the condition is not 0, else y; the bytes of `scratch` hold the answers"""
    mask = scratch.reshape(-1).view(np.bool_)[: out.size].reshape(out.shape)
    np.not_equal(condition, 0, out=mask)
    np.copyto(out, y)
    np.copyto(out, x, where=mask)


def cast(out: Array, x: Array, *, to: str) -> None:
    """out = x as a number of the type `to`: integers are cut towards zero, those of 32 bits to their lowest 32"""
    if to == "bool":
        np.not_equal(x, 0, out=out)
    else:
        np.copyto(out, x, casting="unsafe")
    if to == "int32":
        np.left_shift(out, _UPPER_BITS, out=out)
        np.right_shift(out, _UPPER_BITS, out=out)


def divide(out: Array, x: Array, y: Array) -> None:
    """out = x / y, cut towards zero if they are integers"""
    if out.dtype.kind == "f":
        np.divide(x, y, out=out)
        return
    np.fmod(x, y, out=out)
    np.subtract(x, out, out=out)
    np.floor_divide(out, y, out=out)


def power(out: Array, x: Array, y: Array) -> None:
    """out = x to the power of y; of integers it is computed as float64 and cut towards zero"""
    if out.dtype.kind == "f":
        np.power(x, y, out=out)
    else:
        np.power(x, y, out=out, dtype=np.float64, casting="unsafe")


def remainder(out: Array, x: Array, y: Array, *, fmod: int = 0) -> None:
    """out = what is left of x by y, with the sign of y, or with that of x if `fmod`"""
    (np.fmod if fmod else np.mod)(x, y, out=out)


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
    "Div": divide,
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
    "Pow": power,
    "Sub": _binary(np.subtract),
    "Xor": _binary(np.logical_xor),
}

# what gets its arrays in ways of its own
OTHERS: Mapping[str, Kernel] = {
    "Cast": cast,
    "Where": where,
}
