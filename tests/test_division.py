"""Where the parts of words end, on made-up takes."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.corpus import CorpusError
from models.division import parts_of, read_timing, usual

TIMED = [("k", 0.6), ("@", 0.7), ("m", 0.8), ("p", 0.9), ("j", 1.0), ("u:", 1.3)]  # from 0.5 s on


def test_parts_have_equally_many_phonemes() -> None:
    np.testing.assert_allclose(parts_of(TIMED, 0.5, 3), (0.7, 0.9, 1.3))
    np.testing.assert_allclose(parts_of(TIMED, 0.5, 2), (0.8, 1.3))


def test_a_phoneme_may_be_divided() -> None:
    np.testing.assert_allclose(parts_of(TIMED[:4], 0.5, 3), (0.5 + 0.4 / 3, 0.7 + 0.2 / 3, 0.9))
    np.testing.assert_allclose(parts_of([("a", 1.0), ("b", 3.0)], 0.0, 4), (0.5, 1.0, 2.0, 3.0))


def test_silence_around_the_word_is_no_part_of_it() -> None:
    quiet = [("pau", 0.5), *TIMED, ("_:", 1.9), ("pau", 2.0)]
    assert parts_of(quiet, 0.1, 3) == parts_of(TIMED, 0.5, 3)
    assert parts_of([("_", 0.4), *TIMED], 0.5, 3) == parts_of(TIMED, 0.5, 3)
    with pytest.raises(CorpusError, match=r"no phoneme ends after .* 2 s"):
        parts_of(TIMED, 2.0, 3)
    with pytest.raises(CorpusError, match="no phoneme"):
        parts_of([("pau", 1.0)], 0.0, 3)


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=12), st.integers(1, 6), st.floats(0, 5))
def test_parts_follow_each_other_to_the_end_of_the_word(lengths: list[float], count: int, start_s: float) -> None:
    ends = start_s + np.cumsum(lengths)
    found = parts_of([("a", end) for end in ends], start_s, count)
    assert len(found) == count
    assert found[-1] == ends[-1]
    assert list(found) == sorted(found)
    assert found[0] > start_s


def test_a_take_without_timing_is_spoken_as_usual() -> None:
    slow = [("k", 1.0), ("a", 2.0), ("b", 5.0), ("c", 10.0)]  # from 0 s on
    shares = usual([(slow, 0.0), (slow, 0.0), (TIMED, 0.5)], 2)
    np.testing.assert_allclose(shares, (0.2, 1.0))  # the median
    late = [("pau", 1.0), ("a", 1.5), ("b", 3.0)]
    np.testing.assert_allclose(usual([(late, 0.0)], 2), (0.25, 1.0))
    np.testing.assert_allclose(usual([], 4), (0.25, 0.5, 0.75, 1.0))


def test_timings_are_read_from_the_manifest() -> None:
    assert read_timing(json.dumps(TIMED)) == TIMED
    assert read_timing("") is read_timing("[]") is None


@pytest.mark.parametrize("text", ["?", "3", '["a"]', '[["a"]]', '[["a", "b"]]', "[" * 100_000])
def test_what_is_no_timing_is_named(text: str) -> None:
    with pytest.raises(CorpusError, match="no list of"):
        read_timing(text)


@pytest.mark.parametrize("text", ['[["a", 2], ["b", 1]]', '[["a", NaN]]', '[["a", Infinity]]'])
def test_phonemes_end_one_after_the_other(text: str) -> None:
    with pytest.raises(CorpusError, match="one after the other"):
        read_timing(text)
