"""Another speaker says the same: pitch, tract and pace change as asked, and every moment is where it is said to be."""

import math

import numpy as np
import pytest
import pyworld
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from daemon.features import SAMPLE_RATE
from models import variety
from models.variety import Change

PITCH_HZ = 150.0
FORMANT_HZ = 1200.0


def vowel(seconds: float, glide: float = 1.0) -> NDArray[np.float32]:
    """Pulses of one pitch, or one that glides to a multiple of it, through one resonance."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * PITCH_HZ * (time + (glide - 1) * time**2 / (2 * seconds))
    harmonics = np.arange(1, 40)
    strength = 1 / (1 + ((harmonics * PITCH_HZ - FORMANT_HZ) / 300) ** 2)
    return (0.05 * strength[:, None] * np.sin(harmonics[:, None] * phase)).sum(axis=0).astype(np.float32)


def pitch_of(audio: NDArray[np.float32]) -> NDArray[np.float64]:
    pitch, _ = pyworld.harvest(audio.astype(np.float64), SAMPLE_RATE)
    return pitch[pitch > 0]


def formant_of(audio: NDArray[np.float32]) -> float:
    """The middle of the energy."""
    power = np.abs(np.fft.rfft(audio)) ** 2
    return float(np.sum(np.fft.rfftfreq(len(audio), 1 / SAMPLE_RATE) * power) / power.sum())


@pytest.mark.parametrize("factor", [0.6, 0.8, 1.3, 1.7])
def test_pitch_changes_and_nothing_else(factor: float) -> None:
    changed = variety.apply(vowel(0.8), Change(pitch=factor))
    assert np.median(pitch_of(changed)) == pytest.approx(PITCH_HZ * factor, rel=0.02)
    assert formant_of(changed) == pytest.approx(FORMANT_HZ, rel=0.08)
    assert len(changed) == round(0.8 * SAMPLE_RATE)


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_shorter_tract_has_higher_formants_and_the_same_pitch(factor: float) -> None:
    changed = variety.apply(vowel(0.8), Change(tract=factor))
    assert formant_of(changed) == pytest.approx(FORMANT_HZ * factor, rel=0.08)
    assert np.median(pitch_of(changed)) == pytest.approx(PITCH_HZ, rel=0.02)


def test_intonation_is_flattened_and_exaggerated() -> None:
    glide = vowel(0.8, glide=1.5)

    def rise(liveliness: float) -> float:
        pitch = pitch_of(variety.apply(glide, Change(liveliness=liveliness)))
        return math.log(np.quantile(pitch, 0.9) / np.quantile(pitch, 0.1))

    flat, same, lively = rise(0.2), rise(1.0), rise(1.6)
    assert flat < 0.4 * same
    assert lively > 1.3 * same


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.3, 0.7), st.floats(0.1, 0.3))
def test_every_moment_is_where_the_stretch_says(seed: int, start_s: float, length_s: float) -> None:
    start, end = round(start_s * SAMPLE_RATE), round((start_s + length_s) * SAMPLE_RATE)
    audio = np.zeros(round(1.2 * SAMPLE_RATE), np.float32)
    audio[start:end] = vowel(1.0)[: end - start]
    changed, stretch = variety.vary(audio, np.random.default_rng(seed))
    assert len(changed) == round(len(audio) * stretch)
    loud = np.flatnonzero(np.abs(changed) > 0.1 * np.abs(changed).max())
    assert loud[0] / stretch == pytest.approx(start, abs=0.02 * SAMPLE_RATE)
    assert loud[-1] / stretch == pytest.approx(end, abs=0.02 * SAMPLE_RATE)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4000))
def test_any_sound_comes_back_finite_at_its_own_level(seed: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 0.05, length).astype(np.float32)
    changed, stretch = variety.vary(noise, rng)
    assert changed.dtype == np.float32
    assert changed.shape == (round(length * stretch),)
    assert np.isfinite(changed).all()
    if length:
        assert np.sqrt(np.mean(changed**2)) == pytest.approx(np.sqrt(np.mean(noise**2)), rel=0.2)


def test_the_same_seed_is_the_same_speaker() -> None:
    one, other = (variety.vary(vowel(0.5), np.random.default_rng(3))[0] for _ in range(2))
    assert one.tobytes() == other.tobytes()
    assert one.tobytes() != variety.vary(vowel(0.5), np.random.default_rng(4))[0].tobytes()


def test_what_is_drawn_stays_in_its_limits() -> None:
    rng = np.random.default_rng(0)
    drawn = [variety.draw(rng) for _ in range(2000)]
    for name in ("tract", "pitch", "liveliness", "rate", "breath"):
        low, high = getattr(variety, name.upper())
        values = [getattr(change, name) for change in drawn]
        assert low <= min(values) < low * 1.1
        assert high >= max(values) > high * 0.9
