"""A length that may contain the stream symbol `S`: `times * ((slope*S + offset) // divisor) + rest`.

One form is enough, because floor divisions nest: `((x // m) + n) // k == (x + n*m) // (m*k)`, and what was multiplied
is divided by its factor again. What would leave the form (a product of two streams, the sum of a half and a third)
raises `DimError`, and nobody has to guess.
A length without `S` is a plain `int`, so that shapes of constants stay tuples of numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from typing import TypeAlias


class DimError(ArithmeticError):
    """The result cannot be written as `times * ((slope*S + offset) // divisor) + rest`."""


@dataclass(frozen=True)
class Dim:
    """`times * ((slope*S + offset) // divisor) + rest`, reduced, with no factor 0 and `divisor > 0`; made by `affine`.

    `times` and `rest` are only there where they cannot go into the rest.
    """

    slope: int
    offset: int
    divisor: int
    times: int = 1
    rest: int = 0

    @property
    def rate(self) -> Fraction:
        """Items per item of the stream `S`: 1/2 after a stride of 2."""
        return Fraction(self.times * self.slope, self.divisor)

    def at(self, stream: int) -> int:
        """The length when the stream is `stream` items long."""
        return self.times * ((self.slope * stream + self.offset) // self.divisor) + self.rest

    def __add__(self, other: Length) -> Length:
        other = _whole(other)
        if isinstance(other, int):
            return affine(self.slope, self.offset, self.divisor, self.times, self.rest + other)
        if self.divisor == other.divisor == 1:
            return affine(self.slope + other.slope, self.offset + other.offset)
        first, second = self._whole, other._whole
        if first[0] != second[0]:
            raise DimError(f"({self}) + ({other}) has no simple form")
        return affine(*first[0], first[1] + second[1], first[2] + second[2])

    @property
    def _whole(self) -> tuple[tuple[int, int, int], int, int]:
        """Slope, offset and divisor, with all that is whole in the offset in the rest; `times`; that rest."""
        whole, offset = divmod(self.offset, self.divisor)
        return (self.slope, offset, self.divisor), self.times, self.rest + self.times * whole

    def __sub__(self, other: Length) -> Length:
        return self + other * -1

    def __mul__(self, other: Length) -> Length:
        other = _whole(other)
        if isinstance(other, Dim):
            raise DimError(f"({self}) * ({other}) has the stream twice")
        return affine(self.slope, self.offset, self.divisor, self.times * other, self.rest * other)

    def __floordiv__(self, other: Length) -> Length:
        other = _whole(other)
        if isinstance(other, Dim):
            quotient = (self.rate / other.rate).__floor__()
            if other * quotient == self:
                return quotient
            raise DimError(f"({self}) // ({other}) is not a number")
        if other <= 0:
            raise DimError(f"({self}) // {other} is no length")
        common = gcd(self.times, other)
        times, rest, divisor = self.times // common, self.rest // common, other // common
        if divisor == 1:
            return affine(self.slope, self.offset, self.divisor, times, rest)
        if times != 1:
            raise DimError(f"({self}) // {other} has no simple form")
        return affine(self.slope, self.offset + rest * self.divisor, self.divisor * divisor)

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
        if self.divisor > 1:
            text = f"({text})//{self.divisor}" if self.offset else f"{text}//{self.divisor}"
        if self.times != 1:
            text = f"{self.times}*({text})"
        return f"{text}{self.rest:+d}" if self.rest else text


Length: TypeAlias = int | Dim


def _whole(number: Length | float) -> Length:
    """What may be a part of a length; models that cast a length to float give numbers so."""
    if isinstance(number, int | Dim):
        return number
    if not number.is_integer():
        raise DimError(f"{number} is no part of a length")
    return int(number)


def affine(slope: int, offset: int, divisor: int = 1, times: int = 1, rest: int = 0) -> Length:
    """`times * ((slope*S + offset) // divisor) + rest` in its reduced form; an `int` when `S` does not occur."""
    if slope == 0 or times == 0:
        return times * (offset // divisor) + rest
    common = gcd(slope, divisor)
    slope, offset, divisor = slope // common, offset // common, divisor // common
    if times == 1:
        return Dim(slope, offset + rest * divisor, divisor)
    if divisor == 1:
        return Dim(slope * times, offset * times + rest, 1)
    whole, offset = divmod(offset, divisor)
    return Dim(slope, offset, divisor, times, rest + times * whole)


STREAM = Dim(1, 0, 1)


def product(lengths: tuple[Length, ...]) -> Length:
    """The number of elements of a shape."""
    total: Length = 1
    for length in lengths:
        total = total * length
    return total
