"""What the satellite tells Home Assistant beyond Hermes, and what makes it tell that again."""

from __future__ import annotations

import resource
from collections.abc import Mapping

import msgspec

from daemon.discovery import Device
from daemon.link import Link, Message
from daemon.messages import Wake

STATUS_S = 30.0  # between two reports


class HomeAssistant:
    """Runs in the thread that dispatches."""

    def __init__(self, device: Device, link: Link, *, prefix: str) -> None:
        """`prefix` of the topics on which Home Assistant looks for devices."""
        self._device = device
        self._link = link
        self._topic = device.config_topic(prefix)
        self._report_at = 0.0
        link.handle(f"{prefix}/status", self._on_status)

    def offer(self, words: Mapping[str, bool]) -> None:
        """Describe the satellite as it is from now on: its words by their ids, with whether each is listened for."""
        self._link.state(self._topic, msgspec.json.encode(self._device.description(words)))

    def heard(self, wake: Wake, level_db: float) -> None:
        """Say that a word was heard."""
        happened = {
            "event_type": wake.word.id,
            "word": wake.word.name.replace("_", " "),
            "score": round(wake.detection.score, 4),
            "threshold": wake.word.threshold,
            "level": level_db,
            "speaker": (wake.speakers[0][0] or "unknown") if wake.speakers else None,
        }
        self._link.event(self._device.wake_topic, msgspec.json.encode(happened))

    def report(self, now: float, *, level_db: float, gaps: int) -> None:
        """Say how the satellite fares, from time to time, if a broker is there; `now` in monotonic seconds."""
        if now < self._report_at or not self._link.connected:
            return
        self._report_at = now + STATUS_S
        memory = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000, 1)
        values = {"level": level_db, "memory": memory, "gaps": gaps, "dropped": sum(self._link.dropped.values())}
        self._link.stream(self._device.diagnostics_topic, msgspec.json.encode(values))

    def _on_status(self, message: Message) -> None:
        if message.payload == b"online":  # it has just started, and may have kept nothing
            self._link.republish()
