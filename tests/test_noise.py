"""Noise is as loud as it was asked to be, has the colour that it was asked to have, and comes and goes."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.signal import welch

from daemon.features import SAMPLE_RATE
from models import noise
from models.noise import LOWEST_HZ, Sources

LENGTH = 4 * SAMPLE_RATE


def tone(hertz: float, length: int = LENGTH) -> np.ndarray:
    return np.sin(2 * np.pi * hertz / SAMPLE_RATE * np.arange(length)).astype(np.float32)


def rms(sound: np.ndarray) -> float:
    return float(np.sqrt(np.mean(sound.astype(float) ** 2)))


def rising(sound: np.ndarray) -> np.ndarray:
    """The sound, louder and louder: of an even tone, two stretches may cancel each other, as no recording does."""
    return sound * np.linspace(0.5, 1, len(sound), dtype=np.float32)


SOURCES = Sources(
    (rising(tone(3000)), rising(tone(5000, 3000))),
    (rising(tone(300)), rising(tone(700, 9000))),
)


@given(snr=st.floats(0, 30), level=st.floats(-50, 0), seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_the_signal_to_noise_ratio_is_the_one_asked_for(snr: float, level: float, seed: int) -> None:
    speech = tone(440) * np.float32(10 ** (level / 20))
    speech[SAMPLE_RATE : 2 * SAMPLE_RATE] = 0  # a pause is no speech
    added = noise.beside(speech, noise.draw(SOURCES, LENGTH, np.random.default_rng(seed)), snr) - speech
    assert 20 * np.log10(rms(tone(440)) / rms(added)) + level == pytest.approx(snr, abs=0.1)


@given(seed=st.integers(0, 2**32), length=st.integers(1000, LENGTH * 2))
@example(seed=48316520, length=38075)  # two stretches of one recording, in opposite phase
@settings(max_examples=30, deadline=None)
def test_noise_has_its_length_and_level(seed: int, length: int) -> None:
    made = [noise.draw(SOURCES, length, np.random.default_rng(seed)) for _ in range(2)]
    np.testing.assert_array_equal(*made)
    assert made[0].dtype == np.float32
    assert made[0].shape == (length,)
    assert rms(made[0]) == pytest.approx(1, rel=1e-3)


def test_noise_is_made_of_what_there_is() -> None:
    kinds = set()
    for seed in range(60):
        spectrum = np.abs(np.fft.rfft(noise.draw(SOURCES, LENGTH, np.random.default_rng(seed))))
        share = spectrum / np.linalg.norm(spectrum)
        recorded = max(share[11_000:13_001].max(), share[19_000:21_001].max()) > 0.3
        spoken = max(share[1100:1301].max(), share[2700:2901].max()) > 0.3
        kinds.add((recorded, spoken))
    assert kinds == {(True, False), (False, True), (True, True), (False, False)}
    assert rms(noise.draw(Sources((), ()), LENGTH, np.random.default_rng(0))) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_coloured_noise_falls_as_asked(slope: float) -> None:
    made = noise.coloured(20 * SAMPLE_RATE, slope, np.random.default_rng(0))
    hertz, power = welch(made, SAMPLE_RATE, nperseg=4096)
    middle = (hertz > 2 * LOWEST_HZ) & (hertz < 7000)
    assert -np.polyfit(np.log(hertz[middle]), np.log(power[middle]), 1)[0] == pytest.approx(slope, abs=0.1)
    assert power[hertz < LOWEST_HZ / 4].max() < 0.01 * power[middle].max()


def test_all_talkers_of_a_babble_are_equally_loud() -> None:
    voices = tuple(np.float32(10.0**-k) * tone(500 * (k + 1)) for k in range(3))
    heard = noise.babble(voices, 60, LENGTH, np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(heard))
    peaks = [spectrum[k * 500 * LENGTH // SAMPLE_RATE] for k in (1, 2, 3)]
    assert min(peaks) > 0.1 * max(peaks)
    one = noise.babble(voices[2:], 1, LENGTH, np.random.default_rng(0))
    assert rms(one) == pytest.approx(1, rel=1e-3)


def test_some_noise_passes_and_some_changes() -> None:
    steady = np.ones(LENGTH, np.float32)
    paced = [noise.pace(steady, np.random.default_rng(seed)) for seed in range(100)]
    passing = [p for p in paced if p.min() == 0]
    changing = [p for p in paced if p.min() > 0 and p.max() > p.min()]
    assert 10 <= len(passing) <= 32
    assert 10 <= len(changing) <= 40
    assert all(rms(p) == pytest.approx(1, rel=1e-3) for p in changing)
    for sound in passing:
        heard = np.flatnonzero(sound)
        assert len(heard) >= 0.9 * noise.SHORTEST_S * SAMPLE_RATE
        assert heard[-1] - heard[0] + 1 == len(heard)


def test_silence_has_no_level() -> None:
    silence = np.zeros(LENGTH, np.float32)
    assert noise.speech_level(silence) == 0
    assert noise.speech_level(silence[:10]) == 0
    assert rms(noise.unit(silence)) == 0
    assert rms(noise.beside(silence, tone(100), 0.0)) < 1e-4
