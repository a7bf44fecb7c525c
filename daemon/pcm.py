"""Samples as they are sent and stored become 16 kHz mono int16: any width, any number of channels, any rate.

A stream may be cut anywhere: what comes out does not depend on it.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from daemon.features import SAMPLE_RATE

STOPBAND_DB = 80.0
ROLLOFF = 0.1  # the filter falls over the last tenth of the band, so nothing above the new half rate folds back
MAX_PHASES = 1024  # odd rates are rounded to a ratio of numbers this small, a few parts in a million off at most
MAX_ROWS = 3 * MAX_PHASES  # of the filter's table, by a row's length at an unchanged rate: 2.6 MB

Samples = NDArray[np.float64]


def decode(data: bytes, width: int) -> Samples:
    """Little-endian integers of `width` bytes, 1 to 4 (1 is unsigned, as in WAV), in units of int16, (n,)."""
    if width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float64) - 128) * 256
    if width == 3:
        wide = np.zeros((len(data) // 3, 4), np.uint8)  # the three bytes become the upper ones of four
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return wide.view("<i4")[:, 0] / 65536
    return np.frombuffer(data, f"<i{width}") / (1.0 if width == 2 else 65536.0)


def integers(samples: Samples) -> NDArray[np.int16]:
    """Rounded and clipped."""
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)


class Resampler:
    """A stream at one rate becomes the same stream at another, without shift or aliases.

    With the ratio up / down, output m lies at input m * down / up. Its fraction selects one of `up` phases, each a row
    of the filter; outputs of one phase are `down` inputs apart, so each phase is one matrix-vector product.
    """

    def __init__(self, rate: int, to: int = SAMPLE_RATE) -> None:
        ratio = 1 / Fraction(rate, to).limit_denominator(min(MAX_PHASES, MAX_ROWS * to // rate))
        self._up, self._down = ratio.numerator, ratio.denominator
        self._table = _filter(self._up, self._down)  # (up, taps)
        self._kept = np.zeros(self._table.shape[1] // 2 - 1)  # inputs before the next output's own place, and on
        self._place = 0  # of the next output among what is kept, in steps of 1 / up inputs
        self._taken = self._given = 0

    def push(self, samples: Samples) -> NDArray[np.int16]:
        """Take the next samples, (n,); return those that they complete."""
        self._taken += len(samples)
        kept, taps = np.concatenate([self._kept, samples]), self._table.shape[1]
        count = max(0, (self._up * (len(kept) - taps + 1) - 1 - self._place) // self._down + 1)
        output = np.empty(count)
        windows = np.lib.stride_tricks.sliding_window_view(kept, taps) if count else kept
        for phase in range(min(self._up, count)):
            place, fraction = divmod(self._place + phase * self._down, self._up)
            same = output[phase :: self._up]
            same[:] = windows[place :: self._down][: len(same)] @ self._table[fraction]
        used, self._place = divmod(self._place + count * self._down, self._up)
        self._kept = kept[used:]
        self._given += count
        return integers(output)

    def finish(self) -> NDArray[np.int16]:
        """The stream has ended, as if silence followed: return what is missing to the same length in time."""
        missing = -(-self._taken * self._up // self._down) - self._given
        return self.push(np.zeros(self._table.shape[1] + self._down // self._up))[:missing]


def _filter(up: int, down: int) -> Samples:
    """A Kaiser-windowed sinc below the lower of the two half rates, (up, taps); each phase keeps a constant exactly."""
    band = min(1.0, up / down)  # the lower half rate, in units of the input's
    width = ROLLOFF * band  # of the falling edge, in the same units
    half = int(np.ceil((STOPBAND_DB - 8) / (2.285 * np.pi * width) / 2)) + 1  # Kaiser's estimate of the length
    beta = 0.1102 * (STOPBAND_DB - 8.7)
    cutoff = band - width / 2
    distance = np.arange(1 - half, half + 1) - np.arange(up)[:, np.newaxis] / up  # (up, 2 * half)
    window = np.i0(beta * np.sqrt(np.clip(1 - (distance / half) ** 2, 0, None))) / np.i0(beta)
    table = np.sinc(cutoff * distance) * window
    return np.asarray(table / table.sum(axis=1, keepdims=True))
