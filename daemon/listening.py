"""Whether the satellite listens for its words, and if not, for which reasons: a set that empties itself.

Whoever turns the wake word off has to turn it on again, and may die before that. So every reason that a program gives
has a time-out; only a person's own have none. Time comes in as monotonic seconds.
"""

from __future__ import annotations

import math

OWN = ""  # the reason that gives none: a person's
SWITCH = "switch"  # a person's too
OTHERS = "others"  # what there is no room for
TIME_OUT_S = {OWN: math.inf, SWITCH: math.inf, "dialogueSession": 60.0}
PROGRAM_S = 120.0  # of any other reason, such as playAudio and ttsSay
REASONS = 16  # that are kept apart
REASON_LENGTH = 64  # characters


class Listening:
    """The reasons that hold the wake word off, each with its end."""

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}

    def __bool__(self) -> bool:
        return not self._ends

    @property
    def reasons(self) -> list[str]:
        """That hold it off, in the order in which they came."""
        return list(self._ends)

    def off(self, reason: str, now: float) -> None:
        """Hold it off, or hold it off for longer."""
        reason = reason[:REASON_LENGTH]
        if reason not in self._ends and reason not in TIME_OUT_S and len(self._ends) >= REASONS:
            reason = OTHERS
        self._ends[reason] = now + TIME_OUT_S.get(reason, PROGRAM_S)

    def on(self, reason: str) -> None:
        """Take a reason back; a person who gives none takes back all."""
        if reason == OWN:
            self._ends.clear()
        else:
            self.take_back(reason)

    def take_back(self, reason: str) -> None:
        """Take exactly this reason back."""
        self._ends.pop(reason[:REASON_LENGTH], None)

    def expire(self, now: float) -> list[str]:
        """Drop the reasons whose time is over; return them."""
        over = [reason for reason, end in self._ends.items() if end <= now]
        for reason in over:
            del self._ends[reason]
        return over
