"""How loud a microphone is, what it cannot say, and whether it says anything at all."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.capture import BLOCK, SoundCard
from daemon.features import SAMPLE_RATE

FULL = 32768.0
SILENT_DB = -120.0  # of what is nothing but zeros
CLIPPED = 32700  # a sample of at least this was probably louder
QUIET_SHARE = 0.1  # of the time, in which a room is as quiet as it gets


@dataclass(frozen=True)
class Level:
    """What some seconds of sound were like; decibels below the loudest that a sample can be."""

    peak_db: float
    mean_db: float
    floor_db: float  # of the quiet tenth
    clipped: float  # share of the samples
    dead: bool  # all samples are alike


def measure(samples: NDArray[np.int16]) -> Level:
    """The level of (n,) samples; n is at least one block of 80 ms."""
    wide = samples.astype(np.float64)
    wide -= wide.mean()  # cheap sound cards add a constant
    blocks = wide[: len(wide) // BLOCK * BLOCK].reshape(-1, BLOCK)
    loud = np.sort(np.sqrt((blocks**2).mean(1)))
    return Level(
        peak_db=_db(float(np.abs(wide).max())),
        mean_db=_db(float(np.sqrt((wide**2).mean()))),
        floor_db=_db(float(loud[int(QUIET_SHARE * len(loud))])),
        clipped=float((np.abs(samples.astype(np.int32)) >= CLIPPED).mean()),
        dead=bool((samples == samples[0]).all()),
    )


def _db(amplitude: float) -> float:
    return round(20 * math.log10(amplitude / FULL), 1) if amplitude else SILENT_DB


def listen(device: str | None, seconds: float) -> Iterator[NDArray[np.int16]]:
    """Blocks of the microphone for so long; `CaptureError` if it cannot be had, or stops."""
    card = SoundCard(device)
    try:
        deadline, taken = time.monotonic() + 2 * seconds, 0
        for _, block in card.blocks():
            yield block
            taken += len(block)
            if taken >= seconds * SAMPLE_RATE or time.monotonic() > deadline:
                return
    finally:
        card.close()
