"""Events on their way to the broker: few, young, in order, kept until it says that it has them. No clock, no lock."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass

log = logging.getLogger(__name__)

WAITING = 32  # events that are kept; the oldest goes first


@dataclass
class Event:
    """One message, since when it waits, and by which number the broker will acknowledge it; None while it is unsent."""

    topic: str
    payload: bytes
    at: float  # seconds, monotonic
    number: int | None = None


class Outbox:
    """Keeps events for at most `max_age_s`: answering a wake word late only startles."""

    def __init__(self, max_age_s: float) -> None:
        self._max_age_s = max_age_s
        self._events: deque[Event] = deque(maxlen=WAITING)

    def __len__(self) -> int:
        return len(self._events)

    def put(self, topic: str, payload: bytes, now: float) -> Event:
        """Keep an event; a full box drops its oldest."""
        event = Event(topic, payload, now)
        self._events.append(event)
        return event

    def acknowledge(self, number: int) -> None:
        """The broker has the event of this number."""
        kept = [event for event in self._events if event.number != number]
        self._events = deque(kept, WAITING)

    def fresh(self, now: float) -> list[Event]:
        """What may still be sent, the oldest first; what has gone stale is dropped and counted in the log."""
        kept = [event for event in self._events if now - event.at <= self._max_age_s]
        stale = len(self._events) - len(kept)
        if stale:
            log.warning("the broker was away for too long: dropped %d stale message(s)", stale)
        self._events = deque(kept, WAITING)
        return kept
