"""Which dialogues are open here, by the dialogue manager's own messages, in whatever order and however often they come.

A dialogue whose end nobody tells ends by itself. Time comes in as monotonic seconds.
"""

from __future__ import annotations

from collections import deque

OPEN_S = 120.0  # since the last that was heard of a dialogue
SESSIONS, ENDED = 16, 64  # that are kept in mind
ANSWER_S = 5.0  # in which somebody should react to a wake word


class Dialogue:
    """The open sessions of this site, and whether a wake word was answered."""

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}
        self._ended: deque[str] = deque(maxlen=ENDED)
        self._answer_by: float | None = None
        self._answers = False  # somebody answers wake words by Hermes; not everybody has such a main device

    @property
    def open(self) -> bool:
        """A session is."""
        return bool(self._ends)

    @property
    def sessions(self) -> list[str]:
        """Those that are open."""
        return list(self._ends)

    def woken(self, now: float) -> None:
        """A wake word was sent."""
        self._answer_by = now + ANSWER_S

    def answered(self) -> None:
        """Somebody reacted."""
        self._answer_by, self._answers = None, True

    def started(self, session: str, now: float) -> None:
        """A session began, or goes on; one that has ended stays so, because messages may overtake each other."""
        self.answered()
        if session in self._ended or (session not in self._ends and len(self._ends) >= SESSIONS):
            return
        self._ends[session] = now + OPEN_S

    def ended(self, session: str) -> None:
        """A session is over."""
        self._ends.pop(session, None)
        self._ended.append(session)

    def expire(self, now: float) -> bool:
        """Forget sessions of which nothing more was heard; whether who used to answer wake words did not answer one."""
        for session in [session for session, end in self._ends.items() if end <= now]:
            del self._ends[session]
        unanswered = self._answer_by is not None and self._answer_by <= now
        if unanswered:
            self._answer_by = None
        return unanswered and self._answers
