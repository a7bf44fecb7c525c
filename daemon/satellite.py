"""The satellite: starts the parts, carries sound from the source through the listener to the broker, stops the parts.

The only file that knows all the others. Everything from the block to the detection runs in the caller's thread; the
sound card's callback and the MQTT client have one each.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import time
from importlib.metadata import version
from types import FrameType

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon import messages, native
from daemon.broker import HOST, EmbeddedBroker
from daemon.capture import Bell, CaptureError, DeviceLost, SoundCard, Source, StandardInput, WavFile
from daemon.config import AudioConfig, Config, ConfigError, MqttConfig
from daemon.credentials import client_name
from daemon.detector import Detection
from daemon.echo import Echo
from daemon.features import SAMPLE_RATE
from daemon.hotword import Hotword
from daemon.link import Link, Message
from daemon.listener import Listener
from daemon.messages import Wake
from daemon.model import WakeModel
from daemon.recording import RecordingError
from daemon.status import Status
from daemon.watchdog import Watchdog
from daemon.words import effective, thresholds

log = logging.getLogger(__name__)

RETRY_S = (0.5, 5.0)  # first and longest pause before a lost microphone is tried again
SILENCE = 10 * SAMPLE_RATE  # samples of exact zeros that no microphone in a room delivers
DELIVERY_S = 1.0  # that the last messages are given to come back from the embedded broker


def open_source(audio: AudioConfig) -> Source:
    """The source that the configuration asks for; `CaptureError` or `ConfigError` in one line if it cannot be had."""
    if audio.source == "file":
        assert audio.file is not None  # the configuration was checked
        try:
            return WavFile(audio.file, realtime=audio.realtime)
        except RecordingError as error:
            raise ConfigError(f"audio.file cannot be used: {error}") from error
    if audio.source == "stdin":
        if sys.stdin is None:
            raise CaptureError("standard input is closed; pipe 16-bit mono samples at 16 kHz into it")
        return StandardInput(sys.stdin.buffer)
    return SoundCard(audio.device)


class Satellite:
    """One run, from start to stop."""

    def __init__(self, config: Config, model: WakeModel) -> None:
        """`ConfigError` if the configuration asks for words that the model does not know."""
        self._config = config
        self._model = model
        self._words = effective(config.wake, model)
        self._listener = Listener(model, thresholds(self._words), refractory_s=config.wake.refractory_s)
        self._watchdog = Watchdog()
        self._source: Source | None = None
        # A handler may interrupt whoever holds the lock of an Event, so a flag and a bell are all it touches.
        self._stopping = False
        self._bell = Bell()  # a signal or a message has come
        self._next_sample = 0
        self._listens_from = 0  # sample; a word that ended before it was said while nobody was to listen
        self._complaint = ""  # the last one logged of a microphone that is still away
        self._silent = 0  # samples, up to now
        self._gaps_to_say = 1
        self._published = 0

    def run(self) -> None:
        """Listen until the source ends or a signal comes."""
        with contextlib.ExitStack() as parts:
            self._startup(parts)
            self._listen()

    def _startup(self, parts: contextlib.ExitStack) -> None:
        """Start what runs beside the listener; `parts` stops it in reverse order."""
        mqtt = self._config.mqtt
        for number in (signal.SIGINT, signal.SIGTERM):
            parts.callback(signal.signal, number, signal.signal(number, self._on_signal))
        if mqtt.embedded:
            broker = parts.enter_context(EmbeddedBroker())
            mqtt = msgspec.structs.replace(mqtt, host=HOST, port=broker.port)
            echo = parts.enter_context(Echo(HOST, broker.port, _show))
            parts.callback(lambda: echo.wait(self._published, DELIVERY_S))
        self._connect(mqtt)
        parts.callback(self._link.stop)
        parts.callback(self._watchdog.stopping)
        parts.callback(self._close)
        self._introduce()

    def _connect(self, mqtt: MqttConfig) -> None:
        """Build all that talks through the broker, then connect in the background."""
        site_id = self._config.site_id
        will = Message(messages.availability(site_id), messages.OFFLINE)
        self._link = Link(mqtt, name=client_name(site_id), will=will, notify=self._bell.ring)
        self._status = Status(site_id, self._link)
        self._hotword = Hotword(site_id, self._link, software=version("wakepulse"), changed=self._on_listening)
        self._hotword.load(self._words, self._model.version)
        self._status.set(
            listening=True,
            off=[],
            microphone="waiting",
            source=self._config.audio.source,
            model=self._model.path.stem,
            versions={"wakepulse": version("wakepulse"), "model": self._model.version},
            words={word.id: {"threshold": word.threshold, "from": word.origin} for word in self._words.values()},
        )
        self._link.start()

    def _introduce(self) -> None:
        log.info("computing with %s", native.described())
        log.info("listening for %s", ", ".join(f"{w.id} (threshold {w.threshold:g})" for w in self._words.values()))
        for name, word in self._words.items():
            if cost := self._model.expected(name, word.threshold):
                log.info("%s, threshold %g: %s", word.id, word.threshold, cost)

    def _attend(self) -> None:
        """What has to be looked after between two blocks, and while there are none."""
        self._link.check()
        self._link.dispatch()
        self._hotword.expire(time.monotonic())

    def _on_listening(self) -> None:
        """The wake word was turned on or off."""
        self._listens_from = self._next_sample
        reasons = self._hotword.listening.reasons
        self._status.set(listening=not reasons, off=[reason or "user" for reason in reasons])

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        self._bell.ring()
        self._close()

    def _close(self) -> None:
        if self._source is not None:
            self._source.close()

    def _listen(self) -> None:
        """Hear the source to its end; a microphone that is not there, or no longer, is waited for."""
        lost_at, pause = time.monotonic(), RETRY_S[0]
        while not self._stopping:
            try:
                self._source = open_source(self._config.audio)
                self._hear(lost_at)
                return
            except CaptureError as error:
                if self._config.audio.source != "microphone":
                    raise
                if isinstance(error, DeviceLost):
                    lost_at, pause = time.monotonic(), RETRY_S[0]
                if str(error) != self._complaint:
                    log.warning("%s; waiting for it", error)
                self._complaint = str(error)
                self._wait(pause)
                pause = min(2 * pause, RETRY_S[1])

    def _wait(self, pause: float) -> None:
        """Without a microphone: offline to the broker, but alive to the service manager, who could not help."""
        self._status.set_online(False)
        self._status.set(microphone="away")
        self._close()
        self._watchdog.ready()
        self._watchdog.alive()
        deadline = time.monotonic() + pause
        while not self._stopping and (left := deadline - time.monotonic()) > 0:
            self._bell.wait(left)
            self._attend()

    def _hear(self, lost_at: float) -> None:
        """Take the source's blocks to the end; after a loss the sample number goes on where it would be."""
        if self._stopping or self._source is None:
            return
        lost = round((time.monotonic() - lost_at) * SAMPLE_RATE)
        offset = self._next_sample + lost if self._next_sample else 0
        heard = False
        for first, block in self._source.blocks():
            self._next_sample = offset + first + len(block)
            self._report(self._listener.push(offset + first, block))
            self._attend()
            self._watchdog.alive()
            self._notice(block)
            if not heard:
                heard, self._complaint = True, ""
                log.info("hearing the %s", self._config.audio.source)
                self._status.set_online(True)
                self._status.set(microphone="heard")
                self._watchdog.ready()
        if not self._stopping:
            self._report(self._listener.finish())

    def _notice(self, block: NDArray[np.int16]) -> None:
        """Say what an owner should know of the sound: that it has gaps, ever more rarely, and that it is no sound."""
        if self._listener.gaps >= self._gaps_to_say:
            log.warning("the sound has gaps, %d so far: is this machine too busy?", self._listener.gaps)
            self._gaps_to_say = 2 * self._listener.gaps
        if block.any():
            self._silent = 0
        elif self._silent < SILENCE:
            self._silent += len(block)
            if self._silent >= SILENCE and self._config.audio.source == "microphone":
                log.warning("nothing but digital silence for %d s: is the microphone muted?", SILENCE // SAMPLE_RATE)

    def _report(self, detections: list[Detection]) -> None:
        for detection in detections:
            word = self._words[detection.word]
            if not self._hotword.listening or detection.end_sample < self._listens_from:
                log.info("heard %s, score %.2f, while not listening", word.id, detection.score)
                continue
            log.info("heard %s, score %.2f", word.id, detection.score)
            wake = Wake(
                detection,
                word,
                model_version=self._model.version,
                newest_sample=max(self._next_sample, detection.sample),
                heard_ns=time.time_ns(),
            )
            self._hotword.heard(wake)
            self._published += 1


def _show(topic: str, payload: bytes) -> None:
    print(topic, payload.decode(errors="replace"), flush=True)
