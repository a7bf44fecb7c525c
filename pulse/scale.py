"""Which real number an integer stands for, and how one scale becomes another. See `integer.scaled`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pulse.integer import HIGHEST, LOWEST

LEAST = 1e-12  # of a step


@dataclass(frozen=True)
class Scale:
    """The integer `q` stands for `(q - zero) * step`."""

    step: float
    zero: int = 0

    @property
    def largest(self) -> float:
        """The number furthest from 0 that an int8 can stand for."""
        return self.step * max(HIGHEST - self.zero, self.zero - LOWEST)


def scale_of(low: float, high: float) -> Scale:
    """The scale at which int8 reaches from `low` to `high`, and has a zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = max((high - low) / (HIGHEST - LOWEST), LEAST) if low < high else 1.0
    return Scale(step, max(LOWEST, min(HIGHEST, round(LOWEST - low / step))))


def multiplier(factor: float, left: int) -> int:
    """What `scaled` multiplies with for `factor`, behind a shift to the left."""
    return round(factor * 2.0 ** (32 - left))


def shift(factor: float) -> int:
    """The least shift for which the multiplier of `factor` fits in 31 bits."""
    left = max(0, math.frexp(factor)[1] + 1)
    return left + (multiplier(factor, left) >= 1 << 31)
