"""`Dim` is arithmetic on lengths: whatever it can write down is right for every length of the stream."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulse.dim import STREAM, Dim, DimError, Length, affine, product

EXAMPLES = settings(max_examples=200, deadline=None, derandomize=True)
lengths = st.builds(affine, st.integers(0, 5), st.integers(-20, 20), st.integers(1, 6))
streams = st.integers(0, 1000)


def at(length: Length, stream: int) -> int:
    return length.at(stream) if isinstance(length, Dim) else length


@EXAMPLES
@given(a=lengths, b=lengths, stream=streams)
def test_what_can_be_written_is_right(a: Length, b: Length, stream: int) -> None:
    for name, wanted in (("__add__", at(a, stream) + at(b, stream)), ("__sub__", at(a, stream) - at(b, stream))):
        if isinstance(a, Dim):
            try:
                assert at(getattr(a, name)(b), stream) == wanted
            except DimError:
                assert isinstance(b, Dim)


@EXAMPLES
@given(a=lengths, number=st.integers(-9, 9), stream=streams)
def test_numbers_can_always_be_added_and_divided_by(a: Length, number: int, stream: int) -> None:
    assert at(a + number, stream) == at(number + a, stream) == at(a, stream) + number
    assert at(a - number, stream) == at(a, stream) - number
    if number > 0:
        assert at(a // number, stream) == at(a, stream) // number


@EXAMPLES
@given(a=lengths, first=st.integers(1, 4), between=st.integers(-5, 5), second=st.integers(1, 4), stream=streams)
def test_floor_divisions_nest(a: Length, first: int, between: int, second: int, stream: int) -> None:
    nested = (a // first + between) // second
    assert at(nested, stream) == (at(a, stream) // first + between) // second


@EXAMPLES
@given(slope=st.integers(1, 9), offset=st.integers(-9, 9), divisor=st.integers(1, 9), times=st.integers(1, 5))
def test_one_length_has_one_form(slope: int, offset: int, divisor: int, times: int) -> None:
    assert affine(slope, offset, divisor) == affine(slope * times, offset * times, divisor * times)


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (STREAM, "S"),
        (STREAM * 2 + 3, "2*S+3"),
        (STREAM // 2, "S//2"),
        ((STREAM - 2) // 4, "(S-2)//4"),
        (STREAM - STREAM, "0"),
        (3 - (1 - STREAM), "S+2"),
        (STREAM * 40 // STREAM, "40"),
        (product((1, STREAM, 40)), "40*S"),
        ((STREAM + 5) // 2 - (STREAM + 1) // 2, "2"),
        (STREAM // 2 * 1, "S//2"),
        (STREAM // 2 * 0, "0"),
        (STREAM // 2 * 2, "2*(S//2)"),
        ((STREAM + 3) // 2 * 2 - 1, "2*((S+1)//2)+1"),
        (STREAM * 2.0 + 1.0, "2*S+1"),
    ],
)
def test_lengths_print_as_people_write_them(length: Length, text: str) -> None:
    assert str(length) == text


@EXAMPLES
@given(a=lengths, many=st.integers(1, 4), rest=st.integers(-5, 5), times=st.integers(1, 3), stream=streams)
def test_what_was_multiplied_is_divided_again(a: Length, many: int, rest: int, times: int, stream: int) -> None:
    longer = a * many * times + rest
    assert at(longer, stream) == at(a, stream) * many * times + rest
    assert at(longer // many, stream) == (at(a, stream) * many * times + rest) // many
    assert longer - a * many * times == rest
    assert a * many + a * times == a * (many + times)
    assert a * -1 + a == 0


def test_what_cannot_be_written_is_an_error() -> None:
    half = STREAM // 2
    for wrong in (
        lambda: STREAM * STREAM,
        lambda: half * 3 // 2,
        lambda: half + STREAM // 3,
        lambda: half - STREAM,
        lambda: 5 // STREAM,
        lambda: STREAM // 0,
        lambda: STREAM // half,
        lambda: STREAM * 0.5,
        lambda: STREAM - 0.5,
        lambda: STREAM // 2.5,
    ):
        with pytest.raises(DimError):
            wrong()
