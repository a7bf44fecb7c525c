"""The satellite: starts the parts, carries sound from the source through the listener to the broker, stops the parts.

The only file that knows all the others. Everything from the block to the detection runs in the caller's thread; the
sound card's callback and the MQTT client have one each.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
import time
from types import FrameType

import msgspec

from daemon.broker import HOST, EmbeddedBroker
from daemon.capture import CaptureError, DeviceLost, SoundCard, Source, StandardInput, WavFile
from daemon.config import AudioConfig, Config, ConfigError, WakeConfig
from daemon.detector import Detection
from daemon.features import SAMPLE_RATE
from daemon.listener import Listener
from daemon.model import WakeModel
from daemon.mqtt import Echo, Hermes, Wake, detected
from daemon.watchdog import Watchdog

log = logging.getLogger(__name__)

RETRY_S = (0.5, 10.0)  # first and longest pause before a lost microphone is tried again
DELIVERY_S = 1.0  # that the last messages are given to come back from the embedded broker


def thresholds(wake: WakeConfig, model: WakeModel) -> dict[str, float]:
    """The threshold of every word that is listened for; `ConfigError` if the model does not know one."""
    unknown = sorted(set(wake.words) - set(model.words))
    if unknown:
        raise ConfigError(f"wake.words names {unknown[0]!r}, but {model.path.name} knows {', '.join(model.words)}")
    effective = {}
    for word in model.words:
        wanted = wake.words.get(word)
        if wanted is None or wanted.enabled:
            own = wanted.threshold if wanted else None
            effective[word] = model.thresholds[word] if own is None else own
    if not effective:
        raise ConfigError("wake.words turns every word off: nothing would ever be heard")
    return effective


def open_source(audio: AudioConfig) -> Source:
    """The source that the configuration asks for; `CaptureError` in one line if it cannot be had."""
    if audio.source == "file":
        assert audio.file is not None  # the configuration was checked
        return WavFile(audio.file, realtime=audio.realtime)
    if audio.source == "stdin":
        return StandardInput(sys.stdin.buffer)
    return SoundCard(audio.device)


class Satellite:
    """One run, from start to stop."""

    def __init__(self, config: Config, model: WakeModel) -> None:
        """`ConfigError` if the configuration asks for words that the model does not know."""
        self._config = config
        self._model = model
        self._thresholds = thresholds(config.wake, model)
        self._listener = Listener(model, self._thresholds, refractory_s=config.wake.refractory_s)
        self._watchdog = Watchdog()
        self._stopping = threading.Event()
        self._next_sample = 0
        self._published = 0

    def run(self) -> None:
        """Listen until the source ends or a signal comes; `CaptureError` if the source cannot even be opened."""
        with contextlib.ExitStack() as parts:
            self._startup(parts)
            self._listen()

    def _startup(self, parts: contextlib.ExitStack) -> None:
        """Start what runs beside the listener; `parts` stops it in reverse order."""
        mqtt = self._config.mqtt
        self._source = open_source(self._config.audio)
        parts.callback(lambda: self._source.close())
        for number in (signal.SIGINT, signal.SIGTERM):
            parts.callback(signal.signal, number, signal.signal(number, self._on_signal))
        if mqtt.embedded:
            broker = parts.enter_context(EmbeddedBroker())
            mqtt = msgspec.structs.replace(mqtt, host=HOST, port=broker.port)
            echo = parts.enter_context(Echo(mqtt, _show))
            parts.callback(lambda: echo.wait(self._published, DELIVERY_S))
        self._hermes = Hermes(self._config.site_id, mqtt)
        self._hermes.start()
        parts.callback(self._hermes.stop)
        parts.callback(self._watchdog.stopping)
        log.info("listening for %s", ", ".join(f"{w} (threshold {t:g})" for w, t in self._thresholds.items()))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stopping.set()
        self._source.close()

    def _listen(self) -> None:
        first_sample = 0
        while not self._stopping.is_set():
            try:
                self._hear(first_sample)
                return
            except DeviceLost as error:
                lost_at = time.monotonic()
                log.warning("%s; waiting for it to come back", error)
                self._hermes.set_online(False)
                self._source.close()
                self._reopen()
                lost = round((time.monotonic() - lost_at) * SAMPLE_RATE)
                first_sample = self._next_sample + max(1, lost)

    def _hear(self, first_sample: int) -> None:
        """Take the source's blocks to the end; its samples are counted from `first_sample`."""
        heard = False
        for first, block in self._source.blocks():
            first += first_sample
            self._next_sample = first + len(block)
            self._report(self._listener.push(first, block))
            self._watchdog.alive()
            if not heard:
                heard = True
                self._hermes.set_online(True)
                self._watchdog.ready()
        if not self._stopping.is_set():
            self._report(self._listener.finish())

    def _reopen(self) -> None:
        """Try for the lost source, ever less often, until it is there or a signal comes."""
        pause = RETRY_S[0]
        while not self._stopping.wait(pause):
            self._watchdog.alive()
            pause = min(2 * pause, RETRY_S[1])
            try:
                self._source = open_source(self._config.audio)
                return
            except CaptureError as error:
                log.debug("%s", error)

    def _report(self, detections: list[Detection]) -> None:
        for detection in detections:
            log.info("heard %s, score %.2f", detection.word, detection.score)
            wake = Wake(
                detection,
                threshold=self._thresholds[detection.word],
                model_version=self._model.version,
                language=self._model.language,
                newest_sample=max(self._next_sample, detection.sample),
                heard_ns=time.time_ns(),
            )
            self._hermes.publish(*detected(self._config.site_id, wake))
            self._published += 1


def _show(topic: str, payload: bytes) -> None:
    print(topic, payload.decode(errors="replace"), flush=True)
