"""Whether somebody speaks, as far as loudness tells: for those who want to know, never for what is heard or sent.

A frame is loud when it is well above the quietest that the room has been lately. Somebody speaks from some loud frames
in a row on, until there has been none for a while.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from daemon.features import SAMPLE_RATE

FRAME = SAMPLE_RATE // 50  # samples, 20 ms
ABOVE_DB = 9.0  # the room's own noise
LEAST_DB = 35.0  # of 1 RMS; below that, nobody speaks into this microphone
RISE_DB = 0.02  # of what counts as the room's own noise, per frame: 1 dB per second
BEGIN, END = 3, 35  # frames: 60 ms of sound, 700 ms without


class Activity:
    """Follows one stream of samples."""

    def __init__(self) -> None:
        self.speaking = False
        self.since = 0  # the sample at which that began, or ended
        self._floor_db = math.inf
        self._loud = self._quiet = 0  # frames in a row
        self._pending = np.empty(0, np.int16)

    def push(self, first: int, block: NDArray[np.int16]) -> bool:
        """Take (n,) samples that start at `first`; whether somebody began or ceased to speak."""
        before = self.speaking
        samples = np.concatenate([self._pending, block])
        first -= len(self._pending)
        count = len(samples) // FRAME
        self._pending = samples[count * FRAME :]
        for index, row in enumerate(samples[: count * FRAME].reshape(count, FRAME)):
            self._follow(
                20 * math.log10(max(1.0, float(np.sqrt(np.mean(row.astype(np.float64) ** 2))))), first + index * FRAME
            )
        return self.speaking != before

    def _follow(self, level_db: float, sample: int) -> None:
        self._floor_db = min(level_db, self._floor_db + RISE_DB)
        loud = level_db > max(LEAST_DB, self._floor_db + ABOVE_DB)
        self._loud, self._quiet = (self._loud + 1, 0) if loud else (0, self._quiet + 1)
        if not self.speaking and self._loud >= BEGIN:
            self.speaking, self.since = True, sample - (BEGIN - 1) * FRAME
        elif self.speaking and self._quiet >= END:
            self.speaking, self.since = False, sample - (END - 1) * FRAME


def debiased_energy(samples: NDArray[np.int16]) -> float:
    """The loudness that Rhasspy reports: of the samples, less their own root mean square."""
    values = samples.astype(np.float64)
    energy = np.sqrt(np.mean(values**2))
    return float(np.sqrt(np.mean((values - energy) ** 2)))
