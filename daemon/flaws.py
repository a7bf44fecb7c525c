"""What an owner should know of the sound: that it has gaps, and that it is none."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from daemon.features import SAMPLE_RATE

log = logging.getLogger(__name__)

SILENCE = 10 * SAMPLE_RATE  # samples of exact zeros that no microphone in a room delivers


class Flaws:
    """Says each once, and gaps ever more rarely."""

    def __init__(self, *, microphone: bool) -> None:
        """A recording, unlike a `microphone`, may be silent."""
        self._microphone = microphone
        self._silent = 0  # samples, up to now
        self._gaps_to_say = 1

    def push(self, block: NDArray[np.int16], gaps: int) -> None:
        """Take (n,) samples, n > 0, before which there were so many gaps."""
        if gaps >= self._gaps_to_say:
            log.warning("the sound has gaps, %d so far: is this machine too busy?", gaps)
            self._gaps_to_say = 2 * gaps
        if block.item(0) or block.any():  # nearly always the first sample tells
            self._silent = 0
        elif self._silent < SILENCE:
            self._silent += len(block)
            if self._silent >= SILENCE and self._microphone:
                log.warning("nothing but digital silence for %d s: is the microphone muted?", SILENCE // SAMPLE_RATE)
