"""Examples of a word, recorded here for who trains one elsewhere: what a person says next, without the silence around.

It needs no wake word, so it is off unless the owner wants it (hermes.record_examples).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from daemon.activity import Activity
from daemon.features import SAMPLE_RATE
from daemon.frames import wav
from daemon.link import Link
from daemon.messages import RecordExample, addressed
from daemon.recent import Recent

log = logging.getLogger(__name__)

PATIENCE = 10 * SAMPLE_RATE  # samples, from the request to somebody's saying something
LONGEST = 5 * SAMPLE_RATE  # samples
KNOWN = 2 * SAMPLE_RATE  # samples before the request, by which speech is told from the room's own noise
AROUND = SAMPLE_RATE // 10  # samples that are kept before the first sound and after the last


@dataclass
class _Recording:
    """An example that is being waited for."""

    id: str
    speaker: str | None
    asked_at: int  # sample
    activity: Activity = field(default_factory=Activity)
    begin: int | None = None  # sample


class Examples:
    """Obeys in the thread that dispatches, which also tells it what is heard."""

    def __init__(
        self, site_id: str, link: Link, recent: Recent, *, allowed: bool, fail: Callable[[str, str], None]
    ) -> None:
        """`fail` reports what went wrong, in one line, and in which context."""
        self._site_id = site_id
        self._link = link
        self._recent = recent
        self._allowed = allowed
        self._fail = fail
        self._enrol: Callable[[str, NDArray[np.int16]], None] | None = None
        self._recording: _Recording | None = None
        link.handle("rhasspy/hotword/recordExample", addressed(site_id, RecordExample, self._record))

    def _record(self, asked: RecordExample) -> None:
        if not self._allowed:
            self._fail("recording examples is not allowed here; set hermes.record_examples", "recordExample")
        elif self._recording is not None:
            self._fail("an example is being recorded already", "recordExample")
        else:
            log.warning("recording what is said next, because somebody on the broker asked for it")
            now = self._recent.next_sample
            self._recording = _Recording(asked.id, asked.speaker, now)
            self._recording.activity.push(max(now - KNOWN, self._recent.first), self._recent.copy(now - KNOWN, now))

    def enrol_by(self, enrol: Callable[[str, NDArray[np.int16]], None]) -> None:
        """What is done with an example (n,) of a speaker who is named."""
        self._enrol = enrol

    def forget(self) -> None:
        """The microphone is closed."""
        self._recording = None

    def hear(self, first: int, block: NDArray[np.int16]) -> None:
        """Take (n,) samples that start at `first`, which are among the recent ones already."""
        recording = self._recording
        if recording is None:
            return
        recording.activity.push(first, block)
        if recording.activity.speaking and recording.begin is None:
            recording.begin = recording.activity.since
        now = first + len(block)
        if recording.begin is None:
            if now - recording.asked_at > PATIENCE:
                self._recording = None
                self._fail("nobody said anything", "recordExample")
        elif not recording.activity.speaking or now - recording.begin > LONGEST:
            end = now if recording.activity.speaking else recording.activity.since
            self._recording = None
            samples = self._recent.copy(max(recording.asked_at, recording.begin - AROUND), end + AROUND)
            self._link.event(f"rhasspy/hotword/{self._site_id}/exampleRecorded/{recording.id}", wav(samples))
            if recording.speaker is not None and self._enrol is not None:
                self._enrol(recording.speaker, samples)
