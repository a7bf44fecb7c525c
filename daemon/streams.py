"""Which sound may leave, and to whom: nothing before the wake word, and nothing after whoever asked has enough.

A wake word opens a window at its end; who asks for sound without one opens it there and then. It closes with the last
stream, or by itself. No clock, no broker: time comes in as monotonic seconds, and what leaves goes to a function.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from daemon.clock import StreamClock
from daemon.frames import FRAME, Replay, wav
from daemon.recent import Recent

ASK_S = 10.0  # after a wake word, in which sound from its end on may be asked for
STREAM_S = 60.0  # after which a stream ends that nobody has ended
STREAMS, REPLAYS = 8, 4
BURST = 25  # frames that leave at once, at most: five times as fast as sound comes

Send = Callable[[str, bytes], object]


@dataclass
class _Stream:
    """One topic, the next sample to leave on it, and when each of the sessions that listen there has had enough."""

    position: int
    ends: dict[str | None, float]


@dataclass
class _Answer:
    """A replay on its way."""

    id: str
    position: int
    left: int  # frames


class Streams:
    """The streams of one site."""

    def __init__(self, recent: Recent, clock: StreamClock, send: Send, *, timed: bool) -> None:
        self._recent = recent
        self._clock = clock
        self._send = send
        self._timed = timed
        self._streams: dict[str, _Stream] = {}
        self._answers: deque[_Answer] = deque()
        self._open_from: int | None = None  # sample from which somebody listens
        self._woken: int | None = None  # sample at which a wake word ended that nobody has asked for yet
        self._ask_until = 0.0

    def __bool__(self) -> bool:
        """Sound is leaving."""
        return bool(self._streams)

    def woken(self, end_sample: int, now: float) -> None:
        """A wake word ended."""
        self._woken, self._ask_until = end_sample, now + ASK_S

    def not_woken(self) -> None:
        """The wake word was not meant for this site."""
        self._woken = None

    def start(self, topic: str, session: str | None, wanted: int | None, now: float) -> bool:
        """Let sound leave: from a wanted sample, if it may, or from the wake word's end, or from now on."""
        if topic not in self._streams:
            if len(self._streams) >= STREAMS:
                return False
            earliest = self._earliest()
            begin = self._recent.next_sample if self._woken is None else self._woken
            if wanted is not None:  # by a clock that may be ahead of ours
                begin = min(max(wanted, earliest), self._recent.next_sample)
            self._streams[topic] = _Stream(begin, {})
            self._open_from, self._woken = earliest, None
        ends = self._streams[topic].ends
        if session not in ends and len(ends) >= STREAMS:
            return False
        ends[session] = now + STREAM_S
        return True

    def stop(self, session: str | None) -> bool:
        """A session has enough, or all have; whether that ended the last stream."""
        for stream in self._streams.values():
            if session is None:
                stream.ends.clear()
            stream.ends.pop(session, None)
        return self._drop()

    def replay(self, id: str, start: int) -> bool:
        """Answer with the sound from a sample on to now; False if none of it may leave."""
        if len(self._answers) >= REPLAYS:
            return False
        start = max(start, self._earliest(), self._recent.first)
        frames = (self._recent.next_sample - start) // FRAME
        if frames > 0:
            self._answers.append(_Answer(id, start, frames))
        return frames > 0

    def close(self) -> None:
        """Nothing may leave any more."""
        self._streams.clear()
        self._answers.clear()
        self._open_from = self._woken = None

    def expire(self, now: float) -> list[str | None]:
        """End what nobody has ended; return the sessions."""
        over = [session for stream in self._streams.values() for session, end in stream.ends.items() if end <= now]
        for stream in self._streams.values():
            stream.ends = {session: end for session, end in stream.ends.items() if end > now}
        self._drop()
        if self._ask_until <= now:
            self._woken = None
        return over

    def leave(self, replay_topic: str) -> None:
        """Send what is due."""
        for topic, stream in self._streams.items():
            stream.position = max(stream.position, self._recent.first)
            for _ in range(min(BURST, (self._recent.next_sample - stream.position) // FRAME)):
                self._send(topic, self._frame(stream.position))
                stream.position += FRAME
        if self._answers:
            answer = self._answers[0]
            for _ in range(min(BURST, answer.left)):
                self._send(replay_topic, self._frame(answer.position, Replay(answer.id, answer.left)))
                answer.position, answer.left = answer.position + FRAME, answer.left - 1
            if not answer.left:
                self._answers.popleft()

    def _frame(self, position: int, replay: Replay | None = None) -> bytes:
        samples = self._recent.copy(position, position + FRAME)
        unix_ms = self._clock.ms(position) if self._timed or replay else None
        return wav(samples, unix_ms=unix_ms, replay=replay)

    def _earliest(self) -> int:
        """The first sample that may leave."""
        return min(begin for begin in (self._open_from, self._woken, self._recent.next_sample) if begin is not None)

    def _drop(self) -> bool:
        """Forget the streams that nobody listens to; whether those were the last."""
        some = bool(self._streams)
        self._streams = {topic: stream for topic, stream in self._streams.items() if stream.ends}
        ended = some and not self._streams
        if ended:
            self._open_from = None
        return ended
