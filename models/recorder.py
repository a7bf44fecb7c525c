"""What a recording device adds to a sound and does to it: microphone, level, hum and hiss, and its processing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d
from scipy.signal import istft, lfilter, stft

from daemon.features import SAMPLE_RATE
from models.channels import microphone, overdriven
from models.noise import BLOCK, SILENCE, speech_level

Audio = NDArray[np.float32]

MICROPHONE_SHARE = 0.7
GAIN_DB = (-24.0, 12.0)  # -30 to +6 dB of what people record, as scenes are made 6 dB below that
FLOOR_DB = (-95.0, -60.0)  # of the recording chain's own hiss
HUM_SHARE, HUM_DB, MAINS_HZ, HARMONICS = 0.12, (-80.0, -50.0), (50, 60), 5
HUM_SAMPLES = SAMPLE_RATE // 10  # whole periods of either
OFFSET_SHARE, OFFSET_DB = 0.12, (-70.0, -40.0)
SUPPRESSED_SHARE, GATED_SHARE, LEVELLED_SHARE = 0.07, 0.06, 0.10
OVERDRIVEN_SHARE = 0.12

WINDOW = 512  # of a noise suppressor, by halves
FLOOR_QUANTILE = 0.2  # of a frequency's magnitudes over time: what is there all the time
OVERSUBTRACTION, DEEPEST_DB = (1.0, 3.0), (8.0, 40.0)
GATE_DB, HOLD_BLOCKS = (15.0, 35.0), (8, 30)
SLOWNESS_S, STRENGTH, MOST_DB = (0.2, 2.0), (0.3, 0.9), 15.0


def record(sound: Audio, rng: np.random.Generator) -> Audio:
    """The sound as a random device hands it on, in +-1 and beyond."""
    if rng.random() < MICROPHONE_SHARE:
        sound = microphone(sound, rng)
    sound = sound * np.float32(10 ** (rng.uniform(*GAIN_DB) / 20)) + _floor(len(sound), rng)
    kind = rng.random()
    if kind < SUPPRESSED_SHARE:
        sound = suppressed(sound, rng.uniform(*OVERSUBTRACTION), rng.uniform(*DEEPEST_DB))
    elif kind < SUPPRESSED_SHARE + GATED_SHARE:
        sound = gated(sound, rng.uniform(*GATE_DB), int(rng.integers(*HOLD_BLOCKS)))
    elif kind < SUPPRESSED_SHARE + GATED_SHARE + LEVELLED_SHARE:
        sound = levelled(sound, rng.uniform(*SLOWNESS_S), rng.uniform(*STRENGTH))
    return overdriven(sound, rng) if rng.random() < OVERDRIVEN_SHARE else sound


def _floor(length: int, rng: np.random.Generator) -> Audio:
    """What a device records where nothing sounds: hiss, in some cases hum and a constant offset."""
    floor = rng.standard_normal(length, np.float32) * np.float32(10 ** (rng.uniform(*FLOOR_DB) / 20))
    if rng.random() < HUM_SHARE:
        floor += hum(length, MAINS_HZ[int(rng.integers(len(MAINS_HZ)))], rng)
    if rng.random() < OFFSET_SHARE:
        floor += np.float32(rng.choice((-1, 1)) * 10 ** (rng.uniform(*OFFSET_DB) / 20))
    return floor


def hum(length: int, hertz: int, rng: np.random.Generator) -> Audio:
    """The mains and its harmonics."""
    angles = 2 * np.pi * hertz / SAMPLE_RATE * np.outer(np.arange(1, HARMONICS + 1), np.arange(HUM_SAMPLES))
    waves = rng.uniform(0, 1, (HARMONICS, 1)) * np.sin(angles + rng.uniform(0, 2 * np.pi, (HARMONICS, 1)))
    wave = waves.sum(axis=0)
    wave *= 10 ** (rng.uniform(*HUM_DB) / 20) / np.sqrt(np.mean(wave**2))
    return np.resize(wave.astype(np.float32), length)


def suppressed(sound: Audio, over: float, depth_db: float) -> Audio:
    """What a noise suppressor leaves: each frequency's steady part taken off `over` times, by `depth_db` at most."""
    spectrum = stft(sound, nperseg=WINDOW)[2]  # (frequencies, times)
    size = np.abs(spectrum)
    steady = np.quantile(size, FLOOR_QUANTILE, axis=1, keepdims=True)
    spectrum *= np.clip(1 - over * steady / np.maximum(size, SILENCE), 10 ** (-depth_db / 20), 1)
    return istft(spectrum, nperseg=WINDOW)[1][: len(sound)]


def gated(sound: Audio, depth_db: float, hold: int) -> Audio:
    """Digital silence wherever nothing within `hold` blocks comes near the speech's level."""
    loud = _block_power(sound) > (speech_level(sound) * 10 ** (-depth_db / 20)) ** 2
    return sound * _by_sample(maximum_filter1d(loud.astype(np.float32), 2 * hold + 1), len(sound))


def levelled(sound: Audio, slowness_s: float, strength: float) -> Audio:
    """The sound with a slow gain against its own level: 1 as `strength` keeps all levels alike."""
    power = _block_power(sound)
    target = max(speech_level(sound), SILENCE) ** 2
    stay = np.exp(-BLOCK / SAMPLE_RATE / slowness_s)
    followed = lfilter([1 - stay], [1, -stay], power, zi=[stay * target])[0]
    most = 10 ** (MOST_DB / 20)
    gain = np.clip((target / np.maximum(followed, SILENCE**2)) ** (strength / 2), 1 / most, most)
    return sound * _by_sample(gain, len(sound))


def _block_power(sound: Audio) -> NDArray[np.float32]:
    """Mean power of each block of BLOCK samples, the last one filled up with zeros."""
    whole = np.pad(sound, (0, -len(sound) % BLOCK))
    return np.mean(whole.reshape(-1, BLOCK) ** 2, axis=1)


def _by_sample(blocks: NDArray[np.floating], length: int) -> Audio:
    return np.repeat(blocks.astype(np.float32), BLOCK)[:length]
