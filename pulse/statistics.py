"""Kernels for what is known of all items so far, along the last axis: maximum, mean and variance.

`left` counts the items of the warm-up, which are passed over. What adds up over weeks is held in float64, in two
numbers of its float32 array each (`IN_DOUBLE`), as all memory is float32: `count`, the items so far, and more. The mean
and the sum of squares beside it are brought up to date by every item, and so never grow (Welford 1962).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pulse.step import Floats

IN_DOUBLE = 2  # numbers of float32 that one of float64 takes


def _warm_up(out: Floats, left: Floats, x: Floats) -> int:
    """The items of this pulse that are warm-up; they come out as they are."""
    skip = min(int(left[0]), int(x.shape[-1]))
    np.copyto(out[..., :skip], x[..., :skip])
    left[0] -= skip
    return skip


def _double(array: Floats) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = array.view(np.float64)[..., 0]
    return numbers


def running_max(out: Floats, left: Floats, top: Floats, x: Floats) -> None:
    """out (..., items) = the maximum of all items of x so far; `top` (..., 1) is that of all pulses before"""
    skip = _warm_up(out, left, x)
    if skip == x.shape[-1]:
        return
    np.maximum.accumulate(x[..., skip:], axis=-1, out=out[..., skip:])
    np.maximum(out[..., skip:], top, out=out[..., skip:])
    np.copyto(top, out[..., -1:])


def running_mean(out: Floats, left: Floats, count: Floats, *arrays: Floats) -> None:
    """out (..., items) = the mean of all items of x so far; arrays are mean and scratch (..., 2), written, and x"""
    n, mean, scratch, x = (*(_double(array) for array in (count, *arrays[:2])), arrays[2])
    for item in range(_warm_up(out, left, x), x.shape[-1]):
        n += 1
        np.subtract(x[..., item], mean, out=scratch)
        np.divide(scratch, n, out=scratch)
        np.add(mean, scratch, out=mean)
        np.copyto(out[..., item], mean, casting="same_kind")


def running_variance(out: Floats, left: Floats, count: Floats, *arrays: Floats, correction: int) -> None:
    """out (..., items) = squares / (count - correction), at least 1, with squares = the sum of (x - mean(x))^2 so far.

    arrays are mean, squares and twice scratch (..., 2), all written, and x.
    """
    n, mean, squares, scratch, other, x = (*(_double(array) for array in (count, *arrays[:4])), arrays[4])
    for item in range(_warm_up(out, left, x), x.shape[-1]):
        n += 1
        np.subtract(x[..., item], mean, out=scratch)
        np.divide(scratch, n, out=other)
        np.add(mean, other, out=mean)
        np.subtract(x[..., item], mean, out=other)
        np.multiply(scratch, other, out=scratch)
        np.add(squares, scratch, out=squares)
        np.divide(squares, max(float(n) - correction, 1.0), out=scratch)
        np.copyto(out[..., item], scratch, casting="same_kind")
