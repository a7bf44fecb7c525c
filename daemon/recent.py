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
        block = block[-len(self._ring) :]
        begin = (self.next_sample - len(block)) % len(self._ring)
        fits = min(len(block), len(self._ring) - begin)
        self._ring[begin : begin + fits] = 0 if self._hushed else block[:fits]
        self._ring[: len(block) - fits] = 0 if self._hushed else block[fits:]
        self.first = max(self.first, self.next_sample - len(self._ring))

    def copy(self, start: int, stop: int) -> NDArray[np.int16]:
        """Samples [start, stop), as far as they are still and already there."""
        start, stop = max(start, self.first), min(stop, self.next_sample)
        if start >= stop:
            return np.empty(0, np.int16)
        begin = start % len(self._ring)
        return np.concatenate(
            [self._ring[begin : begin + stop - start], self._ring[: max(0, begin + stop - start - len(self._ring))]]
        )
