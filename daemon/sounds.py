"""The sounds of Hermes: what others want played here, and the satellite's own, by which a person hears what it does.

Its own sounds are not to be heard by whoever understands speech: while one is played, and until the room has lost it,
silence stands for what the microphone hears.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon import messages
from daemon.config import ConfigError, FeedbackConfig
from daemon.connection import PACKET_BYTES
from daemon.features import SAMPLE_RATE
from daemon.frames import wav
from daemon.link import Link, Message
from daemon.messages import Command, SetVolume, addressed
from daemon.playback import Playback, Sound
from daemon.recording import RecordingError, read

log = logging.getLogger(__name__)

ECHO_S = 0.2  # that a sound is still in the room, and on its way through the microphone
LOUDNESS = 6000
LAST = "1"  # of a stream's chunks
MELODIES = {"wake": ((660, 0.09), (880, 0.12)), "done": ((880, 0.09), (660, 0.12)), "error": ((330, 0.15), (262, 0.25))}


def melody(notes: tuple[tuple[int, float], ...]) -> NDArray[np.int16]:
    """Sine tones of so many hertz and seconds, (n,); each fades in and out, so that none clicks."""
    tones = []
    for hertz, seconds in notes:
        at = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        tones.append(np.sin(2 * np.pi * hertz * at) * np.minimum(1, np.minimum(at, seconds - at) / 0.02))
    return np.asarray(LOUDNESS * np.concatenate(tones)).astype(np.int16)


def own_sounds(config: FeedbackConfig) -> dict[str, bytes]:
    """The satellite's own sounds as WAV files; `ConfigError` if one cannot be read."""
    return {name: _own(getattr(config, name), notes) for name, notes in MELODIES.items()}


def _own(path: Path | None, notes: tuple[tuple[int, float], ...]) -> bytes:
    try:
        return wav(melody(notes) if path is None else read(path))
    except RecordingError as error:
        raise ConfigError(f"hermes.feedback: {error}") from None


class Sounds:
    """Obeys in the thread that dispatches; `hush` is called with True and False around the satellite's own sounds."""

    def __init__(
        self, site_id: str, link: Link, playback: Playback, config: FeedbackConfig, *, hush: Callable[[bool], None]
    ) -> None:
        self.feedback = config.enabled
        self._site_id = site_id
        self._link = link
        self._playback = playback
        self._hush = hush
        self._own = own_sounds(config)
        self._topic = f"hermes/audioServer/{site_id}"
        link.handle(f"{self._topic}/playBytes/+", self._play, most=PACKET_BYTES)
        link.handle(f"{self._topic}/playBytesStreaming/+/+/+", self._play_chunk, most=PACKET_BYTES)
        link.handle("hermes/audioServer/toggleOn", addressed(site_id, Command, self._on))
        link.handle("hermes/audioServer/toggleOff", addressed(site_id, Command, self._off))
        link.handle("hermes/feedback/sound/toggleOn", addressed(site_id, Command, self._feedback_on))
        link.handle("hermes/feedback/sound/toggleOff", addressed(site_id, Command, self._feedback_off))
        link.handle("rhasspy/audioServer/setVolume", addressed(site_id, SetVolume, self._set_volume))

    def check(self) -> None:
        """`PlaybackError` if nothing can be played any more."""
        self._playback.check()

    def give(self, name: str) -> None:
        """Play one of the satellite's own sounds, if a person wants to hear them."""
        if self.feedback:
            self._playback.play(Sound(self._own[name], self._given, begun=lambda: self._hush(True)))

    def _given(self, error: str | None) -> None:
        time.sleep(ECHO_S)  # in the playback's thread, which has nothing else to do
        self._hush(False)
        if error:
            self._fail(error)

    def _play(self, message: Message) -> None:
        name = message.topic.rpartition("/")[2]

        def finished(error: str | None) -> None:
            self._say("playFinished", {"id": name, "siteId": self._site_id, "sessionId": None})
            if error:
                self._fail(error)

        self._queue(Sound(message.payload, finished))

    def _play_chunk(self, message: Message) -> None:
        name, _, last = message.topic.split("/")[-3:]

        def finished(error: str | None) -> None:
            if last == LAST:
                self._say("streamFinished", {"id": name, "siteId": self._site_id})
            if error:
                self._fail(error)

        self._queue(Sound(message.payload, finished, stream=name, last=last == LAST))

    def _queue(self, sound: Sound) -> None:
        if not self._playback.play(sound):
            sound.finished("too many sounds wait to be played")

    def _say(self, what: str, payload: Mapping[str, object]) -> None:
        self._link.event(f"{self._topic}/{what}", msgspec.json.encode(payload))

    def _fail(self, text: str) -> None:
        log.warning("a sound could not be played: %s", text)
        payload = messages.error(self._site_id, text, "play")
        self._link.stream(f"{self._topic}/error", payload)
        self._link.stream("hermes/error/audioServer/play", payload)

    def _on(self, _: Command) -> None:
        self._playback.enabled = True

    def _off(self, _: Command) -> None:
        self._playback.enabled = False

    def _feedback_on(self, _: Command) -> None:
        self.feedback = True

    def _feedback_off(self, _: Command) -> None:
        self.feedback = False

    def _set_volume(self, asked: SetVolume) -> None:
        self._playback.volume = asked.volume
