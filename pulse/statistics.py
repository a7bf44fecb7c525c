"""Kernels for what is known of all items so far, along the last axis: maximum, mean and variance.

`left` counts the items of the warm-up, which are passed over. What adds up over weeks is held in float64: `count`, the
items so far, and more. The mean and the sum of squares beside it are brought up to date by every item, and so never
grow (Welford 1962).
"""

from __future__ import annotations

import numpy as np

from pulse.step import Array, Floats


def _warm_up(out: Array, left: Floats, x: Array) -> int:
    """The items of this pulse that are warm-up; they come out as they are."""
    skip = min(int(left[0]), int(x.shape[-1]))
    np.copyto(out[..., :skip], x[..., :skip])
    left[0] -= skip
    return skip


def running_max(out: Array, left: Floats, top: Array, x: Array) -> None:
    """out (..., items) = the maximum of all items of x so far; `top` (..., 1) is that of all pulses before"""
    skip = _warm_up(out, left, x)
    if skip == x.shape[-1]:
        return
    np.maximum.accumulate(x[..., skip:], axis=-1, out=out[..., skip:])
    np.maximum(out[..., skip:], top, out=out[..., skip:])
    np.copyto(top, out[..., -1:])


def running_mean(out: Floats, left: Floats, count: Array, *arrays: Array) -> None:
    """out (..., items) = the mean of all items of x so far; arrays are mean and scratch (...), written, and x"""
    mean, scratch, x = arrays
    for item in range(_warm_up(out, left, x), x.shape[-1]):
        count += 1
        np.subtract(x[..., item], mean, out=scratch)
        np.divide(scratch, count[0], out=scratch)
        np.add(mean, scratch, out=mean)
        np.copyto(out[..., item], mean, casting="same_kind")


def running_variance(out: Floats, left: Floats, count: Array, *arrays: Array, correction: int) -> None:
    """out (..., items) = squares / (count - correction), at least 1, with squares = the sum of (x - mean(x))^2 so far.

    arrays are mean, squares and twice scratch (...), all written, and x.
    """
    mean, squares, scratch, other, x = arrays
    for item in range(_warm_up(out, left, x), x.shape[-1]):
        count += 1
        np.subtract(x[..., item], mean, out=scratch)
        np.divide(scratch, count[0], out=other)
        np.add(mean, other, out=mean)
        np.subtract(x[..., item], mean, out=other)
        np.multiply(scratch, other, out=scratch)
        np.add(squares, scratch, out=squares)
        np.divide(squares, max(float(count[0]) - correction, 1.0), out=scratch)
        np.copyto(out[..., item], scratch, casting="same_kind")
