"""How loud it was in the last second."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from daemon.features import SAMPLE_RATE

SECOND = SAMPLE_RATE
FLOOR_DB = -96.0  # of exact silence


class Loudness:
    """Takes blocks as they come, which nobody changes any more; full scale is 0 dB."""

    def __init__(self) -> None:
        self._blocks: deque[NDArray[np.int16]] = deque()
        self._samples = 0

    def push(self, block: NDArray[np.int16]) -> None:
        """Take (n,) samples."""
        self._blocks.append(block)
        self._samples += len(block)
        while self._samples - len(self._blocks[0]) >= SECOND:
            self._samples -= len(self._blocks.popleft())

    @property
    def db(self) -> float:
        """Of the last second, or what there was of it; computed here, as it is seldom asked for."""
        squares = sum(float(np.einsum("i,i->", block, block, dtype=np.float64)) for block in self._blocks)
        if not squares:
            return FLOOR_DB
        return round(max(FLOOR_DB, 10 * math.log10(squares / self._samples / 32768**2)), 1)
