"""One speaker made into many: vocal tract, pitch, intonation, pace and breath of speech, by the WORLD vocoder."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyworld
from numpy.typing import NDArray

from daemon.features import SAMPLE_RATE

Audio = NDArray[np.float32]

FRAME_MS = 5.0
TRACT = (0.8, 1.25)  # of the frequencies of the spectral envelope: a shorter tract has higher ones
PITCH = (0.6, 1.7)
LIVELINESS = (0.2, 1.6)  # of the intonation: flattened to exaggerated
RATE = (0.75, 1.3)
BREATH = (0.6, 1.5)  # exponent of the aperiodicity: below one is breathier
PITCH_HZ = (60.0, 500.0)  # of what comes out
LEAST_S = 0.1  # shorter sound has no pitch to speak of and is left as it is


@dataclass(frozen=True)
class Change:
    """What is done to a voice; the defaults do nothing."""

    tract: float = 1.0
    pitch: float = 1.0
    liveliness: float = 1.0
    rate: float = 1.0
    breath: float = 1.0

    @property
    def stretch(self) -> float:
        """Where a moment of the changed sound lies, divided by where it lay."""
        return 1 / self.rate

    def __str__(self) -> str:
        return ";".join(f"{name}={value:.2f}" for name, value in vars(self).items())


def draw(rng: np.random.Generator) -> Change:
    """A change of everything, in equal ratios up and down; tract and pitch mostly go together, as in people."""
    tract = _ratio(TRACT, rng)
    pitch = tract**1.5 * _ratio((0.75, 1.33), rng)
    return Change(
        tract,
        float(np.clip(pitch, *PITCH)),
        float(rng.uniform(*LIVELINESS)),
        _ratio(RATE, rng),
        _ratio(BREATH, rng),
    )


def vary(audio: Audio, rng: np.random.Generator) -> tuple[Audio, float]:
    """The same words by somebody else, (n,) at 16 kHz, and by how much longer that takes: what was at sample t of the
    sound is at t * stretch."""
    change = draw(rng)
    return apply(audio, change), change.stretch


def apply(audio: Audio, change: Change) -> Audio:
    """The changed sound, round(n * stretch) samples at the level it had."""
    length = round(len(audio) * change.stretch)
    if len(audio) < LEAST_S * SAMPLE_RATE:
        return np.resize(audio, length).astype(np.float32)
    sound = np.ascontiguousarray(audio, np.float64)
    rough, times = pyworld.dio(sound, SAMPLE_RATE, frame_period=FRAME_MS)
    pitch = pyworld.stonemask(sound, rough, times, SAMPLE_RATE)
    envelope = pyworld.cheaptrick(sound, pitch, times, SAMPLE_RATE)
    noisiness = pyworld.d4c(sound, pitch, times, SAMPLE_RATE)
    made = pyworld.synthesize(
        _intone(pitch, change),
        _warp(envelope, change.tract),
        _warp(noisiness, change.tract) ** change.breath,
        SAMPLE_RATE,
        FRAME_MS * change.stretch,
    )
    made = np.pad(made[:length], (0, max(0, length - len(made))))
    return (made * (_rms(sound) / (_rms(made) + 1e-9))).astype(np.float32)


def _intone(pitch: NDArray[np.float64], change: Change) -> NDArray[np.float64]:
    voiced = pitch > 0
    if not voiced.any():
        return pitch
    logs = np.log(pitch[voiced])
    moved = np.zeros_like(pitch)
    moved[voiced] = np.exp(logs.mean() + (logs - logs.mean()) * change.liveliness) * change.pitch
    moved[voiced] = np.clip(moved[voiced], *PITCH_HZ)
    return moved


def _warp(spectrum: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """(frames, bins) with what was at each frequency moved to `factor` times that; the last bin is held."""
    last = spectrum.shape[1] - 1
    wanted = np.minimum(np.arange(last + 1) / factor, last)
    below = np.minimum(wanted.astype(int), last - 1)
    share = wanted - below
    return np.ascontiguousarray(spectrum[:, below] * (1 - share) + spectrum[:, below + 1] * share)


def _ratio(limits: tuple[float, float], rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(*np.log(limits)))


def _rms(audio: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(audio**2)))
