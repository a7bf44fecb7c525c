"""The latest seconds of frames, kept for whoever wants to hear them again.

Where they lie in time is counted in samples. Nothing is allocated while frames come in.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daemon.features import FRAMES_PER_SECOND, HOP, MELS, WINDOW

Floats = NDArray[np.float32]


class Memory:
    """A ring of the newest frames of a stream."""

    def __init__(self, seconds: float) -> None:
        self._frames = np.zeros((round(seconds * FRAMES_PER_SECOND), MELS), np.float32)
        self.reset(0)

    def reset(self, first_sample: int) -> None:
        """A new stream begins with this sample."""
        self._first_sample = first_sample
        self._count = 0  # frames since then

    def push(self, frames: Floats) -> None:
        """Take the next (n, MELS) frames; n is at most what is kept."""
        start, count = self._count % len(self._frames), len(frames)
        head = min(count, len(self._frames) - start)
        if head == count:  # without a slice, as this is done for every pulse
            self._frames[start : start + count] = frames
        else:
            self._frames[start:] = frames[:head]
            self._frames[: count - head] = frames[head:]
        self._count += count

    @property
    def past_sample(self) -> int:
        """The sample just after the last one of the newest frame."""
        return self._first_sample + max(0, self._count - 1) * HOP + WINDOW

    def since(self, sample: int) -> Floats:
        """A copy of the frames (n, MELS) that begin at a sample or later, as far back as they are kept."""
        first = max(0, self._count - len(self._frames), -((self._first_sample - sample) // HOP))
        return self._frames[np.arange(first, self._count) % len(self._frames)]
