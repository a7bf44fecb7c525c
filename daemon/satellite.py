"""The satellite: starts the parts, carries sound from the source through the listener to the broker, stops the parts.

The only file that knows all the others. Everything from the block to the detection runs in the caller's thread, and so
does whatever the broker's messages ask for; the sound card's callback, the link to the broker and, where sounds are
played, the playback have one each.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

import msgspec

from daemon import messages, native
from daemon.afar import Afar, Booth
from daemon.audioserver import AudioServer
from daemon.broker import HOST, EmbeddedBroker
from daemon.capture import Bell
from daemon.config import Config, ConfigError, MqttConfig
from daemon.control import Control, Controls
from daemon.credentials import client_name
from daemon.detector import Detection
from daemon.discovery import Device
from daemon.echo import Echo
from daemon.examples import Examples
from daemon.flaws import Flaws
from daemon.group import Group
from daemon.home_assistant import HomeAssistant
from daemon.hotword import Hotword
from daemon.link import Link, Message
from daemon.listener import Listener
from daemon.loudness import Loudness
from daemon.messages import Wake
from daemon.model import WakeModel
from daemon.people import People
from daemon.playback import Playback
from daemon.recogniser import recogniser
from daemon.settings import SettingsFile
from daemon.sounds import Sounds
from daemon.source import EndlessSource, State
from daemon.speaker import SpeakerError
from daemon.status import Status
from daemon.takes import Examiner
from daemon.watchdog import Watchdog
from daemon.words import Setting, Word, effective, known, recalled, thresholds

log = logging.getLogger(__name__)

EXPIRE_S = 0.5  # how late what nobody ends may end by itself
DELIVERY_S = 1.0  # that the last messages are given to come back from the embedded broker


class Satellite:
    """One run, from start to stop."""

    def __init__(
        self, config: Config, model: WakeModel, reread: Callable[[], Config] = Config, *, settings: Path | None = None
    ) -> None:
        """`reread` gives the configuration as it is now; `settings` is the file that keeps what is set while it runs.

        `ConfigError` for words that the model does not know.
        """
        self._config = config
        self._model = model
        self._reread = reread
        self._file = SettingsFile(settings)
        kept = self._file.read()
        self._kept = msgspec.structs.replace(kept, words=recalled(config.wake, model, kept.words))
        self._words = effective(config.wake, model, self._kept.words)
        self._recogniser = recogniser(config.speakers, model.window_function)
        self._listener = Listener(
            model,
            thresholds(self._words),
            refractory_s=config.wake.refractory_s,
            memory=self._recogniser.memory if self._recogniser else None,
        )
        self._latest: Wake | None = None
        self._watchdog = Watchdog()
        # A handler may interrupt whoever holds the lock of an Event, so flags and a bell are all it touches.
        self._bell = Bell()  # a signal or a message has come
        self._stopping = self._reloading = False
        self._reloads: deque[Config | str] = deque()  # configurations that were read, or why one could not be
        muted = config.audio.muted if kept.muted is None else kept.muted
        self._source = EndlessSource(msgspec.structs.replace(config.audio, muted=muted), self._bell)
        self._microphone: State = "waiting"
        self._listens_from = 0  # sample; a word that ended before it was said while nobody was to listen
        self._loudness = Loudness()
        self._flaws = Flaws(microphone=config.audio.source == "microphone")
        self._expire_at = 0.0
        self._published = 0

    def run(self) -> None:
        """Listen until the source ends or a signal comes."""
        with contextlib.ExitStack() as parts:
            self._startup(parts)
            self._listen()

    def _startup(self, parts: contextlib.ExitStack) -> None:
        """Start what runs beside the listener; `parts` stops it in reverse order."""
        mqtt = self._config.mqtt
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            parts.callback(signal.signal, number, signal.signal(number, self._on_signal))
        if mqtt.embedded:
            broker = parts.enter_context(EmbeddedBroker())
            mqtt = msgspec.structs.replace(mqtt, host=HOST, port=broker.port)
            echo = parts.enter_context(Echo(HOST, broker.port, _show))
            parts.callback(lambda: echo.wait(self._published, DELIVERY_S))
        parts.callback(self._file.close)
        self._connect(mqtt, parts)
        parts.callback(self._link.stop)
        parts.callback(self._watchdog.stopping)
        parts.callback(self._source.close)
        self._introduce()

    def _connect(self, mqtt: MqttConfig, parts: contextlib.ExitStack) -> None:
        """Build all that talks through the broker, then connect in the background."""
        site_id, software = self._config.site_id, version("wakepulse")
        will = Message(messages.availability(site_id), messages.OFFLINE)
        self._link = Link(mqtt, name=client_name(site_id), will=will, notify=self._bell.ring)
        self._status = Status(site_id, self._link)
        self._hotword = Hotword(site_id, self._link, software=software, changed=self._on_listening)
        self._audio = AudioServer(site_id, self._link, self._config.hermes, software=software, done=self._on_done)
        allowed = self._config.hermes.record_examples
        self._examples = Examples(site_id, self._link, self._audio.recent, allowed=allowed, fail=self._hotword.fail)
        self._add_sounds(parts)
        controls = Controls(self._hotword.switch, self._mute_by_hand, self._adjust, self._refuse)
        self._control = Control(site_id, self._link, controls, self._kept.words)
        self._group: Group | None = None
        if self._config.group is not None:
            self._group = Group(site_id, self._config.group, self._link, won=self._on_won, lost=self._on_lost)
        self._home: HomeAssistant | None = None
        if self._config.home_assistant.discovery:
            self._home = HomeAssistant(Device(site_id, software), self._link, prefix=self._config.home_assistant.prefix)
            self._offer()
        self._enrol_from_afar()
        self._hotword.load(self._words, self._model.version)
        self._status.set(
            source=self._config.audio.source,
            model=self._model.path.stem,
            versions={"wakepulse": software, "model": self._model.version},
            words=_described(self._words),
            refused=None,
        )
        self._on_listening()
        self._link.start()

    def _add_sounds(self, parts: contextlib.ExitStack) -> None:
        """If a sound card is to play, let it."""
        self._sounds: Sounds | None = None
        if self._config.audio.output is None:
            return
        playback = parts.enter_context(Playback(self._config.audio.output))
        feedback = self._config.hermes.feedback
        self._sounds = Sounds(self._config.site_id, self._link, playback, feedback, hush=self._audio.recent.hush)

    def _give(self, sound: str) -> None:
        """Let a person hear what happens."""
        if self._sounds is not None:
            self._sounds.give(sound)

    def _enrol_from_afar(self) -> None:
        """Let examples of speakers who are named enrol them, if they may."""
        speakers, recogniser = self._config.speakers, self._recogniser
        if not speakers.enrol_from_afar or recogniser is None:
            return
        words, people = thresholds(self._words), People(speakers.folder)
        try:
            booth = Booth(Examiner(recogniser.model, self._model, words, next(iter(words))), recogniser.model, people)
        except SpeakerError as error:
            log.warning("nobody can be enrolled from afar: %s", error)
            return
        self._examples.enrol_by(Afar(booth, known=lambda: recogniser.know(people), say=log.info).take)

    def _introduce(self) -> None:
        log.info("computing with %s", native.described())
        log.info("listening for %s", ", ".join(f"{w.id} (threshold {w.threshold:g})" for w in self._words.values()))
        for name, word in self._words.items():
            if cost := self._model.expected(name, word.threshold):
                log.info("%s, threshold %g: %s", word.id, word.threshold, cost)
            if missing := sorted(set(word.speakers) - (self._recogniser.names if self._recogniser else set())):
                log.warning("%s is kept for %s, who is not enrolled", word.id, missing[0])

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reloading = True
            self._bell.ring()
        elif self._stopping:  # whoever asks twice does not want to wait
            os._exit(128 + number)
        else:
            self._stopping = True
            self._source.close()

    def _listen(self) -> None:
        """Hear the source to its end; while there is no sound, look after everything else."""
        for sample, block in self._source.blocks():
            if self._source.state != self._microphone:
                self._on_microphone(sample)
            if len(block):
                self._audio.hear(sample, block, time.time_ns())
                self._examples.hear(sample, block)
                self._report(self._listener.push(sample, block))
                self._name()
                self._loudness.push(block)
                self._flaws.push(block, self._listener.gaps)
            self._attend()
            if self._home is not None:
                self._home.report(time.monotonic(), level_db=self._loudness.db, gaps=self._listener.gaps)
            self._watchdog.alive()
        if self._source.ended:
            self._report(self._listener.finish())

    def _on_microphone(self, sample: int) -> None:
        """The microphone came or went. Without it: alive to the service manager, who could not help."""
        self._microphone = self._source.state
        if self._microphone == "heard":
            self._listener.restart(sample)
        else:
            self._loudness = Loudness()
        self._status.set_online(self._microphone != "away")
        self._on_listening()
        self._watchdog.ready()

    def _attend(self) -> None:
        """What has to be looked after between two blocks, and while there are none."""
        self._link.check()
        if self._sounds is not None:
            self._sounds.check()
        self._link.dispatch()
        now = time.monotonic()
        if now >= self._expire_at:
            self._expire_at = now + EXPIRE_S
            self._expire(now)
        if self._reloading:
            self._reloading = False
            Thread(target=self._read_again, name="reload", daemon=True).start()
        while self._reloads:
            self._reload(self._reloads.popleft())

    def _expire(self, now: float) -> None:
        """End what others began and never ended."""
        self._hotword.expire(now)
        if self._audio.expire(now):
            log.warning("nobody answered the wake word: is the main device there?")
            self._give("error")

    def _on_listening(self) -> None:
        """The wake word was turned on or off, or cannot be heard."""
        self._listens_from = self._source.next_sample
        off = [reason or "user" for reason in self._hotword.listening.reasons]
        heard = self._microphone == "heard"
        self._status.set(listening=heard and not off, off=off, microphone=self._microphone)

    def _on_done(self) -> None:
        """Whoever listened has heard enough."""
        self._give("done")

    def _mute(self, muted: bool) -> None:
        self._audio.forget()
        self._examples.forget()
        self._source.mute(muted)

    def _mute_by_hand(self, muted: bool) -> None:
        self._mute(muted)
        self._keep(muted=muted)

    def _adjust(self, settings: Mapping[str, Setting]) -> None:
        """Listen for other words, or at other thresholds, from now on; `ConfigError` if that cannot be."""
        self._use(effective(self._config.wake, self._model, settings))
        self._keep(words=settings)

    def _keep(self, **what: Any) -> None:
        self._kept = msgspec.structs.replace(self._kept, **what)
        self._file.write(self._kept)

    def _offer(self) -> None:
        """Tell Home Assistant which words there are."""
        if self._home is not None:
            every = known(self._config.wake, self._model)
            self._home.offer({word.id: name in self._words for name, word in every.items()})

    def _use(self, words: dict[str, Word]) -> None:
        self._words = words
        self._listener.set_thresholds(thresholds(words))
        self._hotword.load(words, self._model.version)
        self._offer()
        self._status.set(words=_described(words), refused=None)
        log.info("listening for %s", ", ".join(f"{w.id} (threshold {w.threshold:g})" for w in words.values()))

    def _refuse(self, why: str) -> None:
        """Something was to be changed that cannot be."""
        log.warning("refused: %s", why)
        self._hotword.fail(why, "set")
        self._status.set(refused=why)

    def _read_again(self) -> None:
        """In a thread of its own, because it takes longer than a block of sound lasts."""
        try:
            config = self._reread()
            if self._recogniser:
                self._recogniser.know(People(config.speakers.folder))
            self._reloads.append(config)
        except (ConfigError, SpeakerError) as error:
            self._reloads.append(str(error))
        self._bell.ring()

    def _reload(self, config: Config | str) -> None:
        """Use what may change while it runs: words and mute."""
        if isinstance(config, str):
            self._refuse(config)
            return
        try:
            words = effective(config.wake, self._model, self._control.settings)
        except ConfigError as error:
            self._refuse(str(error))
            return
        if config.audio.muted != self._config.audio.muted:
            self._mute(config.audio.muted)
            self._keep(muted=None)
        wake = msgspec.structs.replace(self._config.wake, words=config.wake.words)
        audio = msgspec.structs.replace(self._config.audio, muted=config.audio.muted)
        self._config = msgspec.structs.replace(self._config, wake=wake, audio=audio)
        self._use(words)
        if config != self._config:
            log.warning("other changes than of words and audio.muted need a new start")

    def _report(self, detections: list[Detection]) -> None:
        for detection in detections:
            word = self._words[detection.word]
            if not self._hotword.listening or detection.end_sample < self._listens_from:
                log.info("heard %s, score %.2f, while not listening", word.id, detection.score)
                continue
            wake = Wake(
                detection,
                word,
                model_version=self._model.version,
                newest_sample=detection.sample,
                heard_ns=self._audio.clock.ns(detection.sample),
                during_session=self._audio.dialogue.open,
                send_audio_captured=self._config.hermes.send_audio_captured,
                speakers=self._recogniser.wake(detection) if self._recogniser else (),
            )
            if wake.allowed or word.marks_strangers:
                self._answer(wake)
            else:
                log.info("heard %s, score %.2f%s", word.id, detection.score, _by(wake))

    def _answer(self, wake: Wake) -> None:
        """Say that a word was heard, unless another of the group was first."""
        word, score = wake.word.id, wake.detection.score
        first = self._group.claim(wake, self._loudness.db) if self._group is not None else None
        if first is not None:
            log.info("heard %s, score %.2f; %s answers, which was first", word, score, first)
            return
        log.info("heard %s, score %.2f%s", word, score, _by(wake))
        self._latest = wake
        self._hotword.heard(wake)
        self._audio.woken(wake.detection.end_sample)
        if self._home is not None:
            self._home.heard(wake, self._loudness.db)
        if self._group is None:
            self._on_won()
        self._published += 1

    def _on_won(self) -> None:
        """It is certain that this satellite answers, which a person hears."""
        self._give("wake")

    def _on_lost(self, word: str, first: str) -> None:
        """Another of the group was first to hear a word that was answered already."""
        log.info("%s answers %s, which was first: taking the answer back", first, word)
        self._audio.lost()
        self._link.event(*messages.cancelled(self._config.site_id, word, first))

    def _name(self) -> None:
        """Say once more who said the latest word, when what followed it has been heard."""
        named = self._recogniser and self._recogniser.attend()
        if named and self._latest and self._latest.detection is named.detection:
            wake = replace(self._latest, speakers=named.speakers)
            log.info("%s was said%s", wake.word.id, _by(wake))
            self._hotword.named(wake, named.seconds)


def _by(wake: Wake) -> str:
    """Who said it, as a log has it; nothing where nobody is enrolled."""
    if not wake.speakers:
        return ""
    name, confidence = wake.speakers[0]
    return f", by {name or 'somebody unknown'} ({confidence:.2f}){'' if wake.allowed else ', who may not say it'}"


def _show(topic: str, payload: bytes) -> None:
    print(topic, payload.decode(errors="replace"), flush=True)


def _described(words: Mapping[str, Word]) -> dict[str, dict[str, float | str]]:
    return {word.id: {"threshold": word.threshold, "from": word.origin} for word in words.values()}
