"""Samples of any form: how a stream is cut does not matter, and every width says the same."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.features import SAMPLE_RATE
from daemon.pcm import Resampler, decode, integers

RATES = [1_000, 8_000, 11_025, 22_050, 37_800, 44_100, 48_000, 96_000, 192_000]


def resampled(samples: np.ndarray, rate: int, cuts: list[int]) -> np.ndarray:
    resampler, edges = Resampler(rate), [0, *sorted(min(cut, len(samples)) for cut in cuts), len(samples)]
    pieces = [resampler.push(samples[first:last]) for first, last in itertools.pairwise(edges)]
    return np.concatenate([*pieces, resampler.finish()])


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(RATES), st.integers(0, 3000), st.lists(st.integers(0, 3000), max_size=20))
def test_chunking_does_not_matter(rate: int, length: int, cuts: list[int]) -> None:
    samples = np.random.default_rng(length).normal(size=length) * 5000
    whole = resampled(samples, rate, [])
    assert len(whole) == -(-length * SAMPLE_RATE // rate)
    assert np.array_equal(resampled(samples, rate, cuts), whole)


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_stays_where_it_is(rate: int) -> None:
    hertz = min(rate, SAMPLE_RATE) / 8
    tone = 10_000 * np.sin(2 * np.pi * hertz * np.arange(rate) / rate)
    wanted = 10_000 * np.sin(2 * np.pi * hertz * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    inside = slice(SAMPLE_RATE // 4, -SAMPLE_RATE // 4)
    assert np.abs(resampled(tone, rate, [rate // 3]) - wanted)[inside].max() < 10


@pytest.mark.parametrize(("rate", "to"), [(767_249, 44_100), (191_992, 16_000), (7_919, 44_100)])
def test_no_rate_costs_much_memory(rate: int, to: int) -> None:
    tracemalloc.start()
    Resampler(rate, to)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32_000_000


def test_a_tone_that_the_new_rate_cannot_hold_is_gone() -> None:
    tone = 10_000 * np.sin(2 * np.pi * 10_000 * np.arange(48_000) / 48_000)
    assert np.abs(resampled(tone, 48_000, []))[1000:-1000].max() <= 1


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_every_width_says_the_same(width: int) -> None:
    samples = np.array([-32768, -256, 0, 256, 32512], np.int64)
    unsigned = 1 << 7 if width == 1 else 0
    data = b"".join(
        (int(sample) * 256**width // 65536 + unsigned).to_bytes(width, "little", signed=width > 1) for sample in samples
    )
    assert decode(data, width).tolist() == samples.tolist()


def test_what_is_too_loud_is_clipped() -> None:
    assert integers(np.array([-1e9, 0.4, 0.6, 1e9])).tolist() == [-32768, 0, 1, 32767]
