"""A length that may contain the stream symbol `S`: `(slope*S + offset) // divisor`.

One form is enough, because floor divisions nest: `((x // m) + n) // k == (x + n*m) // (m*k)`. What would leave the
form (a product of two streams, the double of a halved one) raises `DimError`, and nobody has to guess.
A length without `S` is a plain `int`, so that shapes of constants stay tuples of numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from typing import TypeAlias


class DimError(ArithmeticError):
    """The result cannot be written as `(slope*S + offset) // divisor`."""


@dataclass(frozen=True)
class Dim:
    """`(slope*S + offset) // divisor`, reduced, with `slope != 0` and `divisor > 0`; made by `affine`."""

    slope: int
    offset: int
    divisor: int

    @property
    def rate(self) -> Fraction:
        """Items per item of the stream `S`: 1/2 after a stride of 2."""
        return Fraction(self.slope, self.divisor)

    def at(self, stream: int) -> int:
        """The length when the stream is `stream` items long."""
        return (self.slope * stream + self.offset) // self.divisor

    def __add__(self, other: Length) -> Length:
        if isinstance(other, int):
            return affine(self.slope, self.offset + other * self.divisor, self.divisor)
        if self.divisor == other.divisor == 1:
            return affine(self.slope + other.slope, self.offset + other.offset)
        raise DimError(f"({self}) + ({other}) has no simple form")

    def __sub__(self, other: Length) -> Length:
        if isinstance(other, int):
            return self + -other
        if self.divisor == other.divisor == 1:
            return affine(self.slope - other.slope, self.offset - other.offset)
        apart = self.offset - other.offset
        if (self.slope, self.divisor) == (other.slope, other.divisor) and apart % self.divisor == 0:
            return apart // self.divisor
        raise DimError(f"({self}) - ({other}) has no simple form")

    def __mul__(self, other: Length) -> Length:
        if isinstance(other, Dim):
            raise DimError(f"({self}) * ({other}) has the stream twice")
        if other == 1 or other == 0:
            return self if other else 0
        if self.divisor == 1:
            return affine(self.slope * other, self.offset * other)
        raise DimError(f"({self}) * {other} has no simple form")

    def __floordiv__(self, other: Length) -> Length:
        if isinstance(other, int):
            if other <= 0:
                raise DimError(f"({self}) // {other} is no length")
            return affine(self.slope, self.offset, self.divisor * other)
        quotient = self.slope * other.divisor // (other.slope * self.divisor)
        if other * quotient == self:
            return quotient
        raise DimError(f"({self}) // ({other}) is not a number")

    def __rsub__(self, other: int) -> Length:
        return self * -1 + other

    def __radd__(self, other: int) -> Length:
        return self + other

    def __rmul__(self, other: int) -> Length:
        return self * other

    def __rfloordiv__(self, other: int) -> Length:
        raise DimError(f"{other} // ({self}) is no length")

    def __str__(self) -> str:
        stream = "S" if self.slope == 1 else f"{self.slope}*S"
        text = f"{stream}{self.offset:+d}" if self.offset else stream
        if self.divisor == 1:
            return text
        return f"({text})//{self.divisor}" if self.offset else f"{text}//{self.divisor}"


Length: TypeAlias = int | Dim


def affine(slope: int, offset: int, divisor: int = 1) -> Length:
    """`(slope*S + offset) // divisor` in its reduced form; an `int` when `S` does not occur."""
    common = gcd(slope, divisor)
    if slope == 0:
        return offset // divisor
    return Dim(slope // common, offset // common, divisor // common)


STREAM = Dim(1, 0, 1)


def product(lengths: tuple[Length, ...]) -> Length:
    """The number of elements of a shape."""
    total: Length = 1
    for length in lengths:
        total = total * length
    return total
