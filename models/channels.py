"""What lies between the air and a recording: a microphone's response, clipping, the telephone, and codecs.

`audiomentations` has most of it, but draws from the generators that a process shares, so that a scene would depend on
the process that makes it; here scipy and libsndfile do the work, and the caller's generator decides.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import ellip, firwin2, minimum_phase, oaconvolve, resample_poly, sosfilt

from daemon.features import SAMPLE_RATE

Audio = NDArray[np.float32]

TAPS, TRANSFORM = 511, 2048  # of a microphone's response, and of the transform that finds its phase
TILT_DB = 1.5  # per octave
RESONANCES, RESONANCE_DB, RESONANCE_OCTAVES = 3, 8.0, (0.1, 0.7)
LOW_CUT_HZ, HIGH_CUT_HZ = (20.0, 350.0), (3500.0, 12_000.0)
STEEPEST = 3  # orders of a cut: so many times 6 dB per octave
LEAST_DB = -50.0  # of a response
CLIPPED_SHARE = (5e-4, 0.03)  # of the samples
TELEPHONE_SHARE, CODED_SHARE = 0.08, 0.12
TELEPHONE_RATE, TELEPHONE_HZ = 8000, (300.0, 3400.0)


@dataclass(frozen=True)
class Codec:
    """An encoding that libsndfile writes."""

    container: str
    name: str
    compression: tuple[float, float] | None = None  # from 0 to 1, where it can be chosen

    def through(self, sound: Audio, rate: int, rng: np.random.Generator) -> Audio:
        """The sound, in +-1 and clipped beyond, encoded and decoded: as long and at the same time as before."""
        strength = {"compression_level": rng.uniform(*self.compression)} if self.compression else {}
        if self.container == "MP3":
            strength |= {"bitrate_mode": "CONSTANT"}
        file = io.BytesIO()
        soundfile.write(file, np.clip(sound, -1, 1), rate, self.name, format=self.container, **strength)
        file.seek(0)
        return soundfile.read(file, dtype="float32")[0][: len(sound)]


# Opus is left out for its cost: libsndfile writes it at its slowest setting only, ten times as long as Vorbis takes.
WIDE = (
    Codec("WAV", "ULAW"),
    Codec("WAV", "ALAW"),
    Codec("WAV", "IMA_ADPCM"),
    Codec("OGG", "VORBIS", (0.5, 1.0)),
    Codec("MP3", "MPEG_LAYER_III", (0.5, 0.8)),  # beyond, files are too small to say by how much they come late
)
NARROW = (Codec("WAV", "ULAW"), Codec("WAV", "ALAW"), Codec("WAV", "IMA_ADPCM"), Codec("WAV", "GSM610"))
BAND = ellip(6, 0.5, 50, TELEPHONE_HZ, "bandpass", fs=TELEPHONE_RATE, output="sos")


def transmit(sound: Audio, rng: np.random.Generator) -> Audio:
    """The sound as it is, or in some cases through a telephone or a codec."""
    kind = rng.random()
    if kind < TELEPHONE_SHARE:
        return telephone(sound, NARROW[int(rng.integers(len(NARROW)))], rng)
    if kind < TELEPHONE_SHARE + CODED_SHARE:
        return WIDE[int(rng.integers(len(WIDE)))].through(sound, SAMPLE_RATE, rng)
    return sound


def telephone(sound: Audio, codec: Codec, rng: np.random.Generator) -> Audio:
    """What is left of the sound behind a telephone."""
    ratio = SAMPLE_RATE // TELEPHONE_RATE
    narrow = sosfilt(BAND, resample_poly(sound, 1, ratio)).astype(np.float32)
    return resample_poly(codec.through(narrow, TELEPHONE_RATE, rng), ratio, 1)[: len(sound)].astype(np.float32)


def microphone(sound: Audio, rng: np.random.Generator) -> Audio:
    """The sound through a random smooth response: tilt, resonances, low and high cut."""
    return oaconvolve(sound, impulse(*curve(rng)))[: len(sound)]


def curve(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A random response as frequencies in Hz, from 0 to the Nyquist frequency, and decibels."""
    hertz = np.linspace(0, SAMPLE_RATE / 2, TAPS // 2 + 1)
    octaves = np.log2(np.maximum(hertz, LOW_CUT_HZ[0]) / 1000)
    decibels = rng.uniform(-TILT_DB, TILT_DB) * octaves
    for _ in range(int(rng.integers(RESONANCES + 1))):
        at = rng.uniform(octaves[0], octaves[-1])
        width = rng.uniform(*RESONANCE_OCTAVES)
        decibels += rng.uniform(-RESONANCE_DB, RESONANCE_DB) * np.exp(-(((octaves - at) / width) ** 2) / 2)
    for cut_hz, side in ((LOW_CUT_HZ, -1), (HIGH_CUT_HZ, 1)):
        cut, order = np.log2(rng.uniform(*cut_hz) / 1000), int(rng.integers(1, STEEPEST + 1))
        decibels -= 10 * np.log10(1 + 4.0 ** (side * order * (octaves - cut)))
    return hertz, np.maximum(decibels, LEAST_DB)


def impulse(hertz: NDArray[np.float64], decibels: NDArray[np.float64]) -> Audio:
    """(TAPS,) samples of the filter of a response, of minimum phase, so that it delays next to nothing."""
    linear = firwin2(TAPS, hertz, 10 ** (decibels / 20), fs=SAMPLE_RATE)
    return minimum_phase(linear, n_fft=TRANSFORM, half=False).astype(np.float32)


def overdriven(sound: Audio, rng: np.random.Generator) -> Audio:
    """The sound clipped, hard or soft, at a random level."""
    share = float(np.exp(rng.uniform(*np.log(CLIPPED_SHARE))))
    return clip(sound, share) if rng.random() < 0.5 else bend(sound, share)


def clip(sound: Audio, share: float) -> Audio:
    """The sound with a share of its samples at a limit that they would have gone beyond."""
    limit = _limit(sound, share)
    return np.clip(sound, -limit, limit)


def bend(sound: Audio, share: float) -> Audio:
    """The sound rounded off towards the limit that a share of its samples would have gone beyond."""
    limit = _limit(sound, share)
    return limit * np.tanh(sound / max(limit, np.finfo(np.float32).tiny))


def _limit(sound: Audio, share: float) -> np.float32:
    return np.float32(np.quantile(np.abs(sound), 1 - share))
