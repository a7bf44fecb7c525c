"""The last seconds of sound, for whoever may ask for them: what follows a wake word, and what was just said."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daemon.features import SAMPLE_RATE

SECONDS = 10


class Recent:
    """The newest samples by their numbers. While it is hushed, silence stands for what is heard."""

    def __init__(self, seconds: int = SECONDS) -> None:
        self._ring = np.zeros(seconds * SAMPLE_RATE, np.int16)
        self._hushed = False
        self.clear(0)

    def clear(self, next_sample: int) -> None:
        """Forget everything; the sample of this number comes next."""
        self.first = self.next_sample = next_sample

    def hush(self, hushed: bool) -> None:
        """Keep silence instead of what is heard, or no longer; from any thread."""
        self._hushed = hushed

    def push(self, first: int, block: NDArray[np.int16]) -> None:
        """Keep (n,) samples that start at `first`; what came before a jump is forgotten."""
        if first != self.next_sample:
            self.clear(first)
        self.next_sample = first + len(block)
        if self._hushed:
            block = np.zeros_like(block)
        begin, size = first % len(self._ring), len(self._ring)
        if begin + len(block) <= size:
            self._ring[begin : begin + len(block)] = block
        else:
            block = block[-size:]
            begin = (self.next_sample - len(block)) % size
            self._ring[begin:] = block[: size - begin]
            self._ring[: len(block) + begin - size] = block[size - begin :]
        self.first = max(self.first, self.next_sample - size)

    def copy(self, start: int, stop: int) -> NDArray[np.int16]:
        """Samples [start, stop), as far as they are still and already there."""
        start, stop = max(start, self.first), min(stop, self.next_sample)
        if start >= stop:
            return np.empty(0, np.int16)
        begin = start % len(self._ring)
        return np.concatenate(
            [self._ring[begin : begin + stop - start], self._ring[: max(0, begin + stop - start - len(self._ring))]]
        )
