"""What sounds beside a talker: recordings, babble, coloured noise and mixtures of them, all the time or for a while."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from daemon.features import SAMPLE_RATE

Audio = NDArray[np.float32]

MIXED_SHARE = 0.35  # of two kinds in equal parts
RECORDED_SHARE, BABBLE_SHARE = 0.5, 0.3  # of the parts; the rest is coloured noise
TALKERS = (2, 8)
SLOPE = (0.0, 2.0)  # of coloured noise, from white to brown: its power falls as 1/f**slope
LOWEST_HZ = 50.0  # of coloured noise: what lies below would count as noise and disturb nobody
CHANGING_SHARE, CHANGE_DB, STEADY_S = 0.25, 9.0, 1.5
PASSING_SHARE, SHORTEST_S, RAMP_S = 0.2, 1.0, 0.05
BLOCK = SAMPLE_RATE // 100
SPEECH_RANGE_DB = 30.0  # below the loudest block of a sound is no speech
SILENCE = 1e-5  # root mean square, of full scale, of what has no level


@dataclass(frozen=True)
class Sources:
    """Recordings that noise is made of."""

    noise: tuple[Audio, ...]
    speech: tuple[Audio, ...]


def draw(sources: Sources, length: int, rng: np.random.Generator) -> Audio:
    """(length,) samples of some noise at root mean square 1."""
    parts = 2 if rng.random() < MIXED_SHARE else 1
    return unit(np.sum([_part(sources, length, rng) for _ in range(parts)], axis=0))


def _part(sources: Sources, length: int, rng: np.random.Generator) -> Audio:
    kind = rng.random()
    if kind < RECORDED_SHARE and sources.noise:
        return unit(stretch(sources.noise, length, rng))
    if kind < RECORDED_SHARE + BABBLE_SHARE and sources.speech:
        return babble(sources.speech, int(rng.integers(TALKERS[0], TALKERS[1] + 1)), length, rng)
    return coloured(length, rng.uniform(*SLOPE), rng)


def babble(speech: tuple[Audio, ...], talkers: int, length: int, rng: np.random.Generator) -> Audio:
    """So many people talking at once, equally loud, at root mean square 1."""
    voices = (stretch(speech, length, rng) for _ in range(talkers))
    return unit(np.sum([voice / np.float32(max(speech_level(voice), SILENCE)) for voice in voices], axis=0))


def coloured(length: int, slope: float, rng: np.random.Generator) -> Audio:
    """Noise whose power falls as 1/f**slope from LOWEST_HZ on, at root mean square 1."""
    size = scipy.fft.next_fast_len(length, real=True)
    hertz = scipy.fft.rfftfreq(size, 1 / SAMPLE_RATE).astype(np.float32)
    shape = (hertz >= LOWEST_HZ) * np.maximum(hertz, np.float32(LOWEST_HZ)) ** np.float32(-slope / 2)
    spectrum = rng.standard_normal(2 * len(hertz), np.float32).view(np.complex64) * shape
    return unit(scipy.fft.irfft(spectrum, size)[:length])


def stretch(sounds: tuple[Audio, ...], length: int, rng: np.random.Generator) -> Audio:
    """(length,) samples from a random point of one of the sounds, repeated as needed."""
    sound = sounds[int(rng.integers(len(sounds)))]
    if len(sound) < length:
        return np.resize(np.roll(sound, -int(rng.integers(len(sound)))), length)
    start = int(rng.integers(len(sound) - length + 1))
    return sound[start : start + length]


def pace(noise: Audio, rng: np.random.Generator) -> Audio:
    """The noise, in some cases with a level that changes, or only for a part of its time."""
    if rng.random() < CHANGING_SHARE:
        noise = unit(noise * _course(len(noise), rng))
    if rng.random() < PASSING_SHARE:
        noise = noise * _passing(len(noise), rng)
    return noise


def _course(length: int, rng: np.random.Generator) -> Audio:
    """A gain that wanders over up to 2 * CHANGE_DB."""
    steps = round(length / SAMPLE_RATE / STEADY_S) + 2
    decibels = rng.uniform(-CHANGE_DB, CHANGE_DB, steps)
    gain = np.interp(np.arange(0, length, BLOCK), np.linspace(0, length, steps), 10 ** (decibels / 20))
    return np.repeat(gain.astype(np.float32), BLOCK)[:length]


def _passing(length: int, rng: np.random.Generator) -> Audio:
    """A gain of 1 for SHORTEST_S at least and of 0 before and after, with soft edges."""
    lasting = rng.uniform(SHORTEST_S * SAMPLE_RATE, length)
    start = rng.uniform(0, length - lasting)
    ramp = RAMP_S * SAMPLE_RATE
    corners = (start, start + ramp, start + lasting - ramp, start + lasting)
    return np.interp(np.arange(length), corners, (0, 1, 1, 0)).astype(np.float32)


def beside(speech: Audio, noise: Audio, snr_db: float) -> Audio:
    """Speech and, so many decibels below its level, noise that is given at root mean square 1."""
    return speech + noise * np.float32(max(speech_level(speech), SILENCE) * 10 ** (-snr_db / 20))


def speech_level(sound: Audio) -> float:
    """Root mean square of a sound over the blocks that are not silent beside its loudest one."""
    power = np.mean(sound[: len(sound) // BLOCK * BLOCK].reshape(-1, BLOCK) ** 2, axis=1)
    loud = power[power >= power.max(initial=0) * 10 ** (-SPEECH_RANGE_DB / 10)]
    return float(np.sqrt(loud.mean())) if len(loud) else 0.0


def unit(sound: Audio) -> Audio:
    """The sound at root mean square 1, as far as it has a level."""
    return sound / np.float32(max(float(np.sqrt(np.mean(sound**2))), SILENCE))
