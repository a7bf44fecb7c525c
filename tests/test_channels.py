"""A channel takes from a sound what it was asked to take, and leaves the rest where it was."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.features import HOP, SAMPLE_RATE
from models import channels
from models.channels import CODED_SHARE, LEAST_DB, NARROW, TELEPHONE_SHARE, WIDE, Codec

LENGTH = 2 * SAMPLE_RATE


def hiss(length: int = LENGTH, level: float = 0.1) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(length, np.float32) * np.float32(level)


def speechlike(length: int = LENGTH) -> np.ndarray:
    """Noise in bursts, most of it low."""
    smooth = np.convolve(hiss(length), np.hanning(24).astype(np.float32), "same")
    return smooth * (np.arange(length) // 2500 % 2).astype(np.float32)


def lag(one: np.ndarray, other: np.ndarray) -> int:
    """By how many samples the second is behind the first."""
    spectrum = np.fft.rfft(other, 2 * len(one)) * np.conj(np.fft.rfft(one, 2 * len(one)))
    peak = int(np.argmax(np.fft.irfft(spectrum)))
    return peak - 2 * len(one) if peak > len(one) else peak


def power_db(sound: np.ndarray, low: float, high: float) -> float:
    """Mean power of white noise's bins within a band, relative to what it was in `hiss`."""
    first, last = (round(hertz * len(sound) / SAMPLE_RATE) for hertz in (low, high))
    after, before = (np.mean(np.abs(np.fft.rfft(s)[first:last]) ** 2) for s in (sound, hiss(len(sound))))
    return float(10 * np.log10(after / before))


@pytest.mark.parametrize("codec", NARROW, ids=lambda codec: codec.name)
def test_a_telephone_passes_its_band_alone(codec: Codec) -> None:
    heard = channels.telephone(hiss(), codec, np.random.default_rng(0))
    assert heard.dtype == np.float32
    assert power_db(heard, 4100, 8000) < -30
    assert abs(power_db(heard, 500, 3000)) < 3


def test_a_telephone_cuts_below_and_above_speech() -> None:
    heard = channels.telephone(hiss(), NARROW[0], np.random.default_rng(0))
    assert power_db(heard, 3650, 8000) < -25
    assert power_db(heard, 0, 180) < -20


@pytest.mark.parametrize("codec", WIDE, ids=lambda codec: codec.name)
@given(length=st.integers(SAMPLE_RATE, LENGTH), seed=st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_a_codec_changes_the_sound_and_moves_nothing(codec: Codec, length: int, seed: int) -> None:
    sound = speechlike(length)
    heard, again = (codec.through(sound, SAMPLE_RATE, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(heard, again)
    assert heard.shape == sound.shape
    assert heard.dtype == np.float32
    assert lag(sound, heard) == 0
    error = np.linalg.norm(heard - sound) / np.linalg.norm(sound)
    assert 1e-3 < error < 0.5


@pytest.mark.parametrize("codec", {*WIDE, *NARROW}, ids=lambda codec: codec.name)
def test_a_codec_takes_what_is_beyond_full_scale(codec: Codec) -> None:
    heard = codec.through(100 * speechlike(), SAMPLE_RATE, np.random.default_rng(0))
    assert np.isfinite(heard).all()
    assert 0.5 < np.abs(heard).max() < 2


@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_a_microphone_has_the_response_it_was_given(seed: int) -> None:
    hertz, decibels = channels.curve(np.random.default_rng(seed))
    response = channels.impulse(hertz, decibels)
    found = 20 * np.log10(np.abs(np.fft.rfft(response, 2 * (len(hertz) - 1) * 8))[::8])
    heard = (decibels > LEAST_DB / 2) & (hertz > 200)
    np.testing.assert_allclose(found[heard], decibels[heard], atol=3)
    assert np.argmax(np.abs(response)) < HOP // 2
    sound = speechlike()
    heard = channels.microphone(sound, np.random.default_rng(seed))
    assert heard.shape == sound.shape
    assert abs(lag(sound, heard)) < HOP // 4


@given(share=st.floats(0.001, 0.3), level=st.floats(1e-4, 10))
@settings(max_examples=30, deadline=None)
def test_the_share_that_was_asked_is_clipped(share: float, level: float) -> None:
    sound = hiss(level=level)
    heard = channels.clip(sound, share)
    limit = np.abs(heard).max()
    assert np.mean(np.abs(heard) == limit) == pytest.approx(share, abs=2e-4)
    inside = np.abs(sound) < limit
    np.testing.assert_array_equal(heard[inside], sound[inside])
    bent = channels.bend(sound, share)
    assert np.abs(bent).max() <= limit
    quiet = np.abs(sound) < 0.1 * limit
    np.testing.assert_allclose(bent[quiet], sound[quiet], rtol=0.01)


def test_silence_stays_silent() -> None:
    silence = np.zeros(LENGTH, np.float32)
    for seed in range(4):
        assert not channels.overdriven(silence, np.random.default_rng(seed)).any()


def test_channels_occur_in_their_shares() -> None:
    sound = hiss(1600)
    heard = [channels.transmit(sound, np.random.default_rng(seed)) for seed in range(600)]
    assert all(h.shape == sound.shape for h in heard)
    changed = np.mean([h is not sound for h in heard])
    narrow = np.mean([power_db(h, 4200, 8000) < -20 for h in heard])
    assert changed == pytest.approx(TELEPHONE_SHARE + CODED_SHARE, abs=0.05)
    assert narrow == pytest.approx(TELEPHONE_SHARE, abs=0.04)
