"""`wakepulse doctor`: looks at all that a satellite depends on, and says what to do where something is wrong."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np

from daemon import capture, machine, messages, native
from daemon.capture import CaptureError
from daemon.config import AudioConfig, Config, ConfigError, MqttConfig, load
from daemon.features import FRAMES_PER_SECOND, HOP
from daemon.finding import Finding, failure, ok, warning
from daemon.level import Level, listen, measure
from daemon.link import LinkError
from daemon.listener import Listener
from daemon.model import ModelError, WakeModel
from daemon.service import active, there
from daemon.settings import Kept, SettingsFile, beside
from daemon.store import stored
from daemon.tap import Tap
from daemon.words import Setting, effective, known, recalled, thresholds
from pulse import PulseError

LISTEN_S = 2.0
QUIET_DB, LOUD_FLOOR_DB = -60.0, -35.0  # of a word that is said now; of a room in which nobody speaks
CLIPPED = 0.001  # share of samples from which words are bent
PULSES = 30  # that are timed
TIGHT, TOO_SLOW = 0.4, 0.8  # shares of the time that there is


def findings(path: Path) -> Iterator[Finding]:
    """Everything, one after the other, as soon as it is known."""
    try:
        config = load(path) if there(path) else None
    except ConfigError as error:
        yield failure("configuration", str(error), "mend that line, or run: sudo wakepulse setup")
        config = Config()
    else:
        yield _configuration(path, config)
        config = config or Config()
    kept = SettingsFile(beside(path)).read()
    yield from mute(config, kept)
    yield from microphone(config.audio)
    yield from output(config.audio)
    yield from model(config, kept)
    yield kernels()
    yield from broker(config)
    yield from machine.findings()


def _configuration(path: Path, config: Config | None) -> Finding:
    if config is None:
        return failure("configuration", f"there is no {path}", "run: sudo wakepulse setup")
    return ok("configuration", f"{path}, site {config.site_id}")


def mute(config: Config, kept: Kept) -> Iterator[Finding]:
    """That nobody is heard, where that is what somebody wanted."""
    if kept.muted:
        unmute = f"publish OFF on wakepulse/{config.site_id}/set/mute"
        yield warning("mute", "muted (set while it ran): hears nothing", unmute)
    elif config.audio.muted and kept.muted is None:
        yield warning("mute", "muted (by audio.muted): hears nothing", "set audio.muted: false")


def microphone(audio: AudioConfig) -> Iterator[Finding]:
    """Whether it is there, and what it hears."""
    if audio.source != "microphone":
        yield ok("microphone", f"not used: audio.source is {audio.source}")
        return
    try:
        heard = np.concatenate([*listen(audio.device, LISTEN_S)])
        known = {device.name: device for device in capture.devices()}
    except CaptureError as error:
        if active():
            yield ok("microphone", "in use by the running service; to see its level, first: systemctl stop wakepulse")
        else:
            yield failure("microphone", str(error), "plug it in, or choose another one: sudo wakepulse setup")
        return
    yield ok("microphone", audio.device or next((str(d) for d in known.values() if d.is_default), "the default"))
    yield from heard_as(measure(heard))


def output(audio: AudioConfig) -> Iterator[Finding]:
    """Whether what is to play is there, where something is."""
    if audio.output is None:
        return
    try:
        cards = dict(enumerate(capture.devices("output")))
        yield ok("output", str(cards[capture.choose(cards, audio.output, "output")]))
    except CaptureError as error:
        yield failure("output", str(error), "set audio.output to a part of a name that `wakepulse devices` shows")


def heard_as(level: Level) -> Iterator[Finding]:
    """What the level says of a microphone."""
    turn = "run alsamixer, press F4, and turn the microphone"
    if level.dead:
        yield failure("level", "the microphone delivers nothing", "is it muted? run alsamixer, F4; check its wiring")
        return
    if level.clipped > CLIPPED:
        yield warning("level", f"clipped: {level.clipped:.1%} of the samples are too loud", f"{turn} down")
    elif level.peak_db < QUIET_DB:
        yield warning("level", f"peak {level.peak_db} dB: very quiet", f"{turn} up, or speak while this runs")
    else:
        yield ok("level", f"peak {level.peak_db} dB, mean {level.mean_db} dB, no clipping")
    if level.floor_db > LOUD_FLOOR_DB:
        yield warning("noise floor", f"{level.floor_db} dB", f"{turn} down, or move it away from what hums")
    else:
        yield ok("noise floor", f"{level.floor_db} dB")


def model(config: Config, kept: Kept) -> Iterator[Finding]:
    """The model, its golden vector, its words, and the time that it takes."""
    try:
        found = WakeModel.load(config.wake.model)
        settings = recalled(config.wake, found, kept.words)
        words = effective(config.wake, found, settings)
    except (ModelError, PulseError, ConfigError) as error:
        yield failure("model", str(error), "choose a shipped model: wake.model: six_words.plan")
        return
    yield ok("model", f"{found.path.name} {found.version}, golden vector right, for {', '.join(words)}")
    off = [word.id for name, word in known(config.wake, found).items() if name not in words]
    if off:
        yield ok("words", f"off: {', '.join(_why_off(word, settings) for word in off)}")
    yield speed(Listener(found, thresholds(words), refractory_s=config.wake.refractory_s))


def _why_off(word: str, settings: Mapping[str, Setting]) -> str:
    is_set = settings.get(word, Setting()).enabled is False
    return f"{word} ({'set while it ran' if is_set else 'by wake.words'})"


def speed(listener: Listener) -> Finding:
    """What a pulse takes of the time in which it must be done."""
    samples, noise = listener.pulse * HOP, np.random.default_rng(0)
    budget, times = listener.pulse / FRAMES_PER_SECOND, []
    for number in range(PULSES):
        block = noise.integers(-1000, 1000, samples).astype(np.int16)
        begin = time.perf_counter()
        listener.push(number * samples, block)
        times.append(time.perf_counter() - begin)
    share = statistics.median(times) / budget
    text = f"{share * budget * 1e3:.2f} ms of the {budget * 1e3:.0f} ms that a pulse lasts ({share:.1%})"
    cheaper = "use wake.model: six_words_zero.plan"
    if share > TOO_SLOW:
        return failure("speed", text, f"this board is too slow or too busy for the model; {cheaper}")
    return warning("speed", text, f"stop what else runs, or {cheaper}") if share > TIGHT else ok("speed", text)


def kernels() -> Finding:
    """What computes."""
    if native.described().startswith("numpy"):
        return warning("kernels", native.described(), "install the package for this board")
    return ok("kernels", native.described())


def broker(config: Config) -> Iterator[Finding]:
    """Whether it takes this satellite, and whether others can read along."""
    mqtt = stored(config.mqtt)
    if mqtt.embedded:
        yield ok("broker", "inside the satellite")
        return
    address = f"{mqtt.host}:{mqtt.port}"
    try:
        with Tap(mqtt, (messages.availability(config.site_id),)):
            yield ok("broker", f"{address} takes this satellite")
    except (LinkError, ConfigError) as error:
        yield failure("broker", str(error), "check mqtt.host, mqtt.port, user and password: sudo wakepulse setup")
    yield privacy(mqtt)


def privacy(mqtt: MqttConfig) -> Finding:
    """Whether what is told to the broker can be read on the way."""
    if mqtt.tls.enabled:
        return ok("tls", "on")
    if mqtt.host in ("localhost", "127.0.0.1", "::1"):
        return ok("tls", "off, as the broker is on this board")
    if mqtt.username is None:
        return ok("tls", "off, and no password to be read on the way")
    return warning("tls", "off: the password can be read in the network", "set mqtt.tls.enabled: true")


def as_json(found: list[Finding]) -> str:
    """A list of objects with `name`, `state`, `text` and `advice`."""
    return msgspec.json.encode(found).decode()
