"""The audio server's part of Hermes: the sound that others ask for, and what can be told of it without sending it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon import messages
from daemon.activity import Activity, debiased_energy
from daemon.capture import CaptureError, devices
from daemon.clock import StreamClock
from daemon.config import TOPIC_LEVEL, HermesConfig
from daemon.dialogue import ANSWER_S, Dialogue
from daemon.features import SAMPLE_RATE
from daemon.link import Link, Message
from daemon.messages import Command, GetDevices, ReplayRequest, SessionCommand, StartListening, addressed
from daemon.recent import Recent
from daemon.streams import Streams

log = logging.getLogger(__name__)

SUMMARY = SAMPLE_RATE // 4  # samples between two summaries


class AudioServer:
    """Obeys in the thread that dispatches, which also tells it what is heard."""

    def __init__(
        self, site_id: str, link: Link, config: HermesConfig, *, software: str, done: Callable[[], None]
    ) -> None:
        """`done` is called when somebody has heard enough."""
        self.recent = Recent()
        self.clock = StreamClock()
        self.dialogue = Dialogue()
        self._site_id = site_id
        self._link = link
        self._config = config
        self._software = software
        self._done = done
        self._topic = f"hermes/audioServer/{site_id}"
        self._replay_topic = f"{self._topic}/replayResponse"
        self.streams = Streams(self.recent, self.clock, link.stream, timed=config.frames == "timed")
        self._activity = Activity()
        self._lost_until = 0.0  # monotonic: until then, what is asked for is about a wake word that another answers
        self._woken_in_dialogue = False
        self._summaries = False
        self._summary_at = 0  # sample
        link.handle("hermes/asr/startListening", addressed(site_id, StartListening, self._start))
        link.handle("hermes/asr/stopListening", addressed(site_id, SessionCommand, self._stop))
        for name, act in (
            ("sessionStarted", self._session_started),
            ("sessionQueued", self._session_queued),
            ("sessionEnded", self._session_ended),
        ):
            link.handle(f"hermes/dialogueManager/{name}", addressed(site_id, SessionCommand, act))
        link.handle("hermes/audioServer/toggleSummaryOn", addressed(site_id, Command, self._summary_on))
        link.handle("hermes/audioServer/toggleSummaryOff", addressed(site_id, Command, self._summary_off))
        link.handle(f"{self._topic}/replayRequest", addressed(site_id, ReplayRequest, self._replay))
        link.handle("rhasspy/audioServer/getDevices", addressed(site_id, GetDevices, self._tell_devices))
        link.handle(f"{self._topic}/versionRequest", self._tell_version)
        link.greet(self._tell_loaded)

    def hear(self, first: int, block: NDArray[np.int16], now_ns: int) -> None:
        """Take (n,) samples that start at `first`, in at `now_ns`: keep them, and send what somebody waits for."""
        self.recent.push(first, block)
        self.clock.heard(self.recent.next_sample, now_ns)
        self.streams.leave(self._replay_topic)
        if self._config.voice_activity or self._summaries:
            self._watch(first, block)

    def woken(self, end_sample: int) -> None:
        """A wake word was sent: somebody may ask for what follows it."""
        now = time.monotonic()
        self._lost_until, self._woken_in_dialogue = 0.0, self.dialogue.open
        self.streams.woken(end_sample, now)
        self.dialogue.woken(now)

    def lost(self) -> None:
        """The wake word is answered at another site: what follows it stays here, and a dialogue about it ends."""
        self.dialogue.answered()
        self.streams.not_woken()
        if self._woken_in_dialogue:
            return
        self._lost_until = time.monotonic() + ANSWER_S
        self.streams.close()
        for session in self.dialogue.sessions:
            self._end(session)

    def _end(self, session: str) -> None:
        self.dialogue.ended(session)
        self._say("hermes/dialogueManager/endSession", {"sessionId": session})

    def forget(self) -> None:
        """The microphone is closed: nothing that it heard may leave any more."""
        self.streams.close()
        self.recent.clear(self.recent.next_sample)

    def expire(self, now: float) -> bool:
        """End what nobody has ended; whether a wake word has just gone unanswered."""
        for session in self.streams.expire(now):
            log.warning("nobody ended the sound for session %s: stopped sending it", session)
        return self.dialogue.expire(now)

    def _watch(self, first: int, block: NDArray[np.int16]) -> None:
        """Tell how loud it is, and when somebody begins and ceases to speak."""
        if self._activity.push(first, block) and self._config.voice_activity:
            topic = f"hermes/voiceActivity/{self._site_id}/{'vadUp' if self._activity.speaking else 'vadDown'}"
            self._say(topic, {"siteId": self._site_id, "signalMs": self.clock.ms(self._activity.since)})
        if self._summaries and first >= self._summary_at:
            self._summary_at = first + SUMMARY
            summary = {"debiasedEnergy": debiased_energy(block), "isSpeech": self._activity.speaking}
            self._say(f"{self._topic}/audioSummary", summary)

    def _say(self, topic: str, what: Mapping[str, object]) -> None:
        self._link.stream(topic, msgspec.json.encode(what))

    def _start(self, asked: StartListening) -> None:
        now, session = time.monotonic(), asked.session_id
        if now < self._lost_until:
            return
        self.dialogue.answered()
        topic = f"{self._topic}/audioFrame"
        if session and self._config.session_frames and TOPIC_LEVEL.fullmatch(session):
            topic = f"{self._topic}/{session}/audioSessionFrame"
        signal_ms = asked.start_signal_ms or 0
        wanted = self.clock.sample(signal_ms) if signal_ms > 0 else None
        if self.streams.start(topic, session, wanted, now):
            self.streams.leave(self._replay_topic)
        else:
            log.warning("too many ask for sound at once; session %s gets none", session)

    def _stop(self, asked: SessionCommand) -> None:
        if self.streams.stop(asked.session_id):
            self._done()

    def _replay(self, asked: ReplayRequest) -> None:
        if not self.streams.replay(asked.request_id, self.clock.sample(asked.start_at_ms)):
            self._fail("there is no sound since then that may leave", "replayRequest")

    def _session_started(self, told: SessionCommand) -> None:
        now = time.monotonic()
        if told.session_id and now < self._lost_until:
            self._end(told.session_id)
        elif told.session_id:
            self.dialogue.started(told.session_id, now)

    def _session_queued(self, told: SessionCommand) -> None:
        self.dialogue.answered()

    def _session_ended(self, told: SessionCommand) -> None:
        if told.session_id:
            self.dialogue.ended(told.session_id)
            self._stop(told)

    def _summary_on(self, _: Command) -> None:
        self._summaries = True

    def _summary_off(self, _: Command) -> None:
        self._summaries = False

    def _fail(self, text: str, context: str) -> None:
        payload = messages.error(self._site_id, text, context)
        self._link.stream(f"{self._topic}/error", payload)
        self._link.stream("hermes/error/audioServer/record", payload)

    def _tell_devices(self, asked: GetDevices) -> None:
        try:
            found = [(mode, device) for mode in asked.modes for device in devices(mode)]
        except CaptureError as error:
            self._fail(str(error), "getDevices")
            return
        described = [
            {"mode": mode, "id": one.name, "name": one.name, "description": str(one), "working": None}
            for mode, one in found
        ]
        answer = {"devices": described, "siteId": self._site_id, "id": asked.id}
        self._say("rhasspy/audioServer/devices", answer)

    def _tell_version(self, _: Message) -> None:
        self._say(f"{self._topic}/version", {"version": self._software})

    def _tell_loaded(self) -> None:
        self._say(f"{self._topic}/loaded", {"id": None, "reloaded": False, "siteId": self._site_id})
