"""The kernels of int8 networks in numpy: integers only between `Quantize` and `Dequantize`, to be checked by eye.

An int8 number `q` stands for the real one `(q - zero) * scale`. Sums are int32, of zero 0. From one scale to another
goes `scaled`: a multiplication with rounding, once, half towards plus infinity. The same operations on the same
integers give the same bits in C, on every processor, and however a stream is cut into pulses.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import numpy.typing as npt

from pulse.step import Array, Floats, Kernel

LOWEST, HIGHEST = -128, 127
STEPS = 1 << 13  # of the argument of tanh, in 1
UNIT = 1 << 15  # of its result
SEGMENTS = 32  # between which tanh is drawn straight, from 0 to 4
_WIDTH = UNIT // SEGMENTS

Whole = npt.NDArray[np.int64]


def scaled(x: Whole, multiplier: Array | int, left: int) -> None:
    """x = the integer nearest to x * 2^left * multiplier / 2^32"""
    np.left_shift(x, left, out=x)
    np.multiply(x, multiplier, out=x)
    np.add(x, 1 << 31, out=x)
    np.right_shift(x, 32, out=x)


def product(x: Whole, y: Array | int) -> None:
    """x = the integer nearest to x * y / UNIT"""
    np.multiply(x, y, out=x)
    np.add(x, UNIT // 2, out=x)
    np.right_shift(x, 15, out=x)


@cache
def nodes() -> tuple[int, ...]:
    """tanh in parts of UNIT, at the ends of its segments."""
    heights = np.tanh(np.arange(SEGMENTS + 1) * (_WIDTH / STEPS)) * UNIT
    return tuple(int(height) for height in np.rint(heights))


@cache
def tanh_table() -> Whole:
    """tanh(x / STEPS) * UNIT for x from -32768 to 32767: straight between `nodes`, and odd."""
    x = np.minimum(np.abs(np.arange(-UNIT, UNIT)), UNIT - 1)
    low, rise = np.array(nodes()[:-1]), np.diff(nodes())
    height: Whole = rise[x // _WIDTH]
    product(height, x % _WIDTH * SEGMENTS)
    table: Whole = np.where(np.arange(-UNIT, UNIT) < 0, -1, 1) * (low[x // _WIDTH] + height)
    table.flags.writeable = False
    return table


def _tanh(out: Whole, x: Whole) -> None:
    """out = tanh(x), from STEPS to UNIT; x is changed"""
    np.add(x, UNIT, out=x)
    np.take(tanh_table(), x, out=out, mode="clip")


def _sigmoid(out: Whole, x: Whole) -> None:
    """out = sigmoid(2x), from STEPS to UNIT; x is changed"""
    _tanh(out, x)
    np.right_shift(out, 1, out=out)
    np.add(out, UNIT // 2, out=out)


def _gate(out: Whole, x: Whole) -> None:
    half = x.shape[-1] // 2
    _tanh(out[..., :half], x[..., :half])
    _sigmoid(out[..., half:], x[..., half:])
    product(out[..., :half], out[..., half:])


CURVES: Mapping[str, Kernel] = {"Gate": _gate, "Sigmoid": _sigmoid, "Tanh": _tanh}


def _narrowed(out: Array, x: Whole, zero: int) -> None:
    """out = x + zero, as near as int8 comes"""
    np.add(x, zero, out=x)
    np.maximum(x, LOWEST, out=x)
    np.minimum(x, HIGHEST, out=x)
    np.copyto(out, x, casting="unsafe")


def quantize(out: Array, scratch: Floats, x: Floats, *, inverse: float, zero: int) -> None:
    """out = x * inverse + zero, the nearest int8, ties to even; what is no number is the lowest"""
    np.multiply(x, np.float32(inverse), out=scratch)
    np.fmax(scratch, np.float32(LOWEST - zero), out=scratch)
    np.fmin(scratch, np.float32(HIGHEST - zero), out=scratch)
    np.rint(scratch, out=scratch)
    np.add(scratch, np.float32(zero), out=scratch)
    np.copyto(out, scratch, casting="unsafe")


def dequantize(out: Floats, x: Array, *, scale: float, zero: int) -> None:
    """out = (x - zero) * scale"""
    np.copyto(out, x, casting="same_kind")
    np.subtract(out, np.float32(zero), out=out)
    np.multiply(out, np.float32(scale), out=out)


def requantize(out: Array, scratch: Whole, x: Array, *, before: int, zero: int, **by: int) -> None:
    """out = x of zero `before`, scaled; int8 or int32"""
    np.copyto(scratch, x)
    np.subtract(scratch, before, out=scratch)  # int8 alone would overflow
    scaled(scratch, by["multiplier"], by["left"])
    if out.dtype == np.int8:
        _narrowed(out, scratch, zero)
    else:
        np.copyto(out, scratch, casting="unsafe")


def integer_conv(out: Array, *arrays: Array | None, activation: str, zero: int, **by: int) -> None:
    """out = taps @ weight + bias, scaled for each filter; as int32 plus the addend, or as int8 through a curve.

    writes out, made and sums (n, group, items, filters) of floats and int64, `columns` and `factor` of floats;
    reads taps (n, group, *places, *kernel, channels), the matrix (n, group, items, kernel*channels) that lies in
    `columns`, weight (group, kernel*channels, filters), bias and multiplier (group, 1, filters), addend like sums.
    Floats hold the integers of these sums exactly, and multiply matrices faster than integers do.
    """
    made, sums, scratch, columns, factor, taps, matrix, weight, bias, multiplier, addend = arrays
    assert made is not None and sums is not None and scratch is not None and columns is not None
    assert factor is not None and taps is not None and matrix is not None and weight is not None
    assert bias is not None and multiplier is not None
    np.copyto(columns, taps)
    np.copyto(factor, weight)
    np.matmul(matrix, factor, out=made)
    np.copyto(sums, made, casting="unsafe")
    np.add(sums, bias, out=sums)
    scaled(sums, multiplier, by["left"])
    if out.dtype == np.int32:
        if addend is not None:
            np.add(sums, addend, out=sums)
        np.copyto(out, sums, casting="unsafe")
        return
    if activation:
        CURVES[activation](scratch, sums)
        sums = scratch[..., : out.shape[-1]]
        product(sums, by["gain"])
    _narrowed(out, sums, zero)
