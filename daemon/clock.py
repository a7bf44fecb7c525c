"""The wall-clock time of samples, for display and for those who ask for sound by time; nothing is decided by it.

A block comes late by as much as the machine is busy, never early. So a sample's time follows the earliest that blocks
have come, slowly upwards for a clock that drifts, and at once when the machine's clock was set.
"""

from __future__ import annotations

from daemon.features import SAMPLE_RATE

NS = 1_000_000_000
JUMP_NS = NS // 2  # later than that, it was the clock
DRIFT = 2e-4  # of the time that passes: more than any sound card is off


class StreamClock:
    """Where the running sample number is in time."""

    def __init__(self) -> None:
        self._zero_ns = 0  # Unix time of sample 0
        self._newest = 0

    def heard(self, next_sample: int, now_ns: int) -> None:
        """All before `next_sample` has been heard at `now_ns`, Unix time."""
        zero_ns = now_ns - _duration_ns(next_sample)
        late = zero_ns - self._zero_ns
        if 0 < late < JUMP_NS:
            zero_ns = self._zero_ns + min(late, round(_duration_ns(next_sample - self._newest) * DRIFT))
        self._zero_ns, self._newest = zero_ns, next_sample

    def ns(self, sample: int) -> int:
        """When a sample was taken, in nanoseconds of Unix time."""
        return self._zero_ns + _duration_ns(sample)

    def ms(self, sample: int) -> int:
        """When a sample was taken, in milliseconds of Unix time."""
        return self.ns(sample) // 1_000_000

    def sample(self, unix_ms: int) -> int:
        """The first sample that was taken then."""
        return -(-(unix_ms * 1_000_000 - self._zero_ns) * SAMPLE_RATE // NS)


def _duration_ns(samples: int) -> int:
    return samples * NS // SAMPLE_RATE
