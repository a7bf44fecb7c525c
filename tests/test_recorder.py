"""A recorder adds what it was asked to add, and changes levels only as it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.features import SAMPLE_RATE
from models import recorder
from models.recorder import FLOOR_DB, GAIN_DB, HUM_DB, MOST_DB, record

SECOND = SAMPLE_RATE


def hiss(length: int, level: float) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(length, np.float32) * np.float32(level)


def speech() -> np.ndarray:
    """Two loud seconds with two nearly silent ones around each."""
    sound = hiss(10 * SECOND, 1e-4)
    for start in (2, 6):
        sound[start * SECOND : (start + 2) * SECOND] += hiss(2 * SECOND, 0.1)
    return sound


def rms_db(sound: np.ndarray) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(sound.astype(float) ** 2)) + 1e-12))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_a_recording_has_the_length_and_about_the_level_of_the_sound(seed: int) -> None:
    sound = speech()
    heard, again = (record(sound, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(heard, again)
    assert heard.shape == sound.shape
    assert heard.dtype == np.float32
    assert GAIN_DB[0] - 30 < rms_db(heard) - rms_db(sound) < GAIN_DB[1] + 15


def test_a_silent_room_is_recorded_as_hiss() -> None:
    levels = [rms_db(record(np.zeros(SECOND, np.float32), np.random.default_rng(seed))) for seed in range(60)]
    hissing = [level for level in levels if FLOOR_DB[0] - 1 < level < FLOOR_DB[1] + 1]
    assert len(hissing) > 30
    assert max(levels) < -35


@pytest.mark.parametrize("hertz", [50, 60])
def test_hum_is_the_mains_and_its_harmonics(hertz: int) -> None:
    heard = recorder.hum(10 * SECOND, hertz, np.random.default_rng(1))
    spectrum = np.abs(np.fft.rfft(heard)) ** 2
    assert spectrum[10 * hertz :: 10 * hertz].sum() > 0.999 * spectrum.sum()
    assert HUM_DB[0] <= rms_db(heard) <= HUM_DB[1]


@pytest.mark.parametrize("depth_db", [10.0, 30.0])
def test_a_suppressor_takes_steady_noise_and_leaves_speech(depth_db: float) -> None:
    sound = speech() + hiss(10 * SECOND, 0.003)
    heard = recorder.suppressed(sound, 3.0, depth_db)
    quiet, loud = slice(SECOND // 2, SECOND), slice(5 * SECOND // 2, 7 * SECOND // 2)
    assert depth_db / 3 < rms_db(sound[quiet]) - rms_db(heard[quiet]) <= depth_db + 1
    assert abs(rms_db(sound[loud]) - rms_db(heard[loud])) < 1


def test_a_gate_makes_digital_silence_between_words_and_leaves_them() -> None:
    sound = speech()
    heard = recorder.gated(sound, 20.0, 10)
    for start in (2, 6):
        kept = slice(start * SECOND - 1000, (start + 2) * SECOND + 1000)
        np.testing.assert_array_equal(heard[kept], sound[kept])
    assert not heard[: SECOND + SECOND // 2].any()
    assert not heard[9 * SECOND :].any()


def test_a_slow_gain_brings_levels_together_within_its_limit() -> None:
    sound = speech()
    sound[6 * SECOND : 8 * SECOND] *= np.float32(0.1)
    heard = recorder.levelled(sound, 0.2, 0.9)
    ends = [slice((start + 1) * SECOND, (start + 2) * SECOND) for start in (2, 6)]
    before, after = ([rms_db(s[end]) for end in ends] for s in (sound, heard))
    assert before[0] - before[1] == pytest.approx(20, abs=0.5)
    assert after[0] - after[1] < 8
    gain = np.abs(heard[sound != 0] / sound[sound != 0])
    assert 20 * np.log10(gain.max()) <= MOST_DB + 0.01
    assert 20 * np.log10(gain.min()) >= -MOST_DB - 0.01


def test_a_slow_gain_leaves_a_steady_sound_from_its_start_on() -> None:
    sound = hiss(4 * SECOND, 0.1)
    np.testing.assert_allclose(recorder.levelled(sound, 0.5, 0.9), sound, rtol=0.2, atol=1e-6)
