"""`wakepulse setup`: asks what only the owner knows, writes the configuration, runs the doctor, starts the service.

What the configuration says of other things stays as it is. Questions are answered by lines of standard input, so that a
script can answer them too; an empty line takes what stands in brackets.
"""

from __future__ import annotations

import getpass
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from daemon import capture, service, store
from daemon.capture import CaptureError, Device
from daemon.config import Config, ConfigError, load
from daemon.credentials import PASSWORD
from daemon.doctor import findings
from daemon.level import SILENT_DB, listen, measure
from daemon.model import WakeModel

LISTEN_S = 4.0
BAR, BAR_DB = 40, 60  # characters of the level's bar, and the decibels that they stand for
TRIES = 5  # of one question
GROUP = "wakepulse"


class NotSetUp(Exception):
    """The owner gave up, or the answers do not make a configuration; nothing was written."""


def setup(path: Path) -> int:
    """Ask, write `path`, run the doctor, start the service; the exit status is the doctor's."""
    if not os.access(path.parent if path.parent.exists() else path.parent.parent, os.W_OK):
        raise NotSetUp(f"{path} cannot be written here; run: sudo wakepulse setup")
    before = load(path) if path.exists() else Config()
    settings = yaml.safe_load(path.read_text("utf-8")) or {} if path.exists() else {}
    listened = path == service.CONFIG and service.active()
    if listened:
        service.stop()  # it may hold the microphone
    try:
        _write(path, merged(settings, _questions(before)))
    except (NotSetUp, CaptureError):
        if listened:
            service.restart()
        raise
    print()
    healthy = True
    for finding in findings(path):
        print(finding, flush=True)
        healthy = healthy and finding.state != "failure"
    return int(not (_started(path) and healthy))


def _started(path: Path) -> bool:
    """Whether what can listen now does."""
    if path != service.CONFIG or not service.managed():
        print(f"\nTo listen: wakepulse run --config {path}")
        return True
    if not service.restart():
        print("\nThe service does not start; see: journalctl -u wakepulse")
        return False
    print("\nThe satellite listens. What it hears: journalctl -fu wakepulse")
    return True


def _questions(before: Config) -> dict[str, Any]:
    """The keys that were asked for, by section."""
    site = ask("Name of this place (the room)", before.site_id)
    device = _microphone(before.audio.device)
    host = ask("The broker's name or address", before.mqtt.host)
    port = int(ask("Its port", str(before.mqtt.port), _a_port))
    username = ask("User at the broker (- for none)", before.mqtt.username or "-")
    mqtt = {"host": host, "port": port, "username": None if username == "-" else username}
    if username == "-":
        mqtt |= {"password": None, "password_file": None}
    elif password := _password():
        mqtt |= {"password": password, "password_file": None}
    audio = {"source": "microphone", "device": device}
    return {"site_id": site, "audio": audio, "wake": _words(before), "mqtt": mqtt}


def ask(question: str, default: str, fault: Callable[[str], str] = lambda answer: "") -> str:
    """The answer, once `fault` finds none in it; `NotSetUp` at the end of the input."""
    for _ in range(TRIES):
        try:
            answer = input(f"{question} [{default}]: ").strip() or default
        except EOFError:
            break
        if not (wrong := fault(answer)):
            return answer
        print(f"  {wrong}")
    raise NotSetUp("no answer; nothing was changed")


def _a_port(answer: str) -> str:
    return "" if answer.isdecimal() and 0 < int(answer) < 1 << 16 else "a port is a number from 1 to 65535"


def _password() -> str:
    prompt = "Password (nothing keeps the one there is): "
    try:
        return getpass.getpass(prompt) if sys.stdin.isatty() else input(prompt)
    except EOFError:
        raise NotSetUp("no answer; nothing was changed") from None


def _microphone(before: str | None) -> str | None:
    """The name of the device, or None for the system's default; asked for until the owner likes its level."""
    for _ in range(TRIES):
        device = _chosen(capture.devices(anew=True), before)
        _show_level(device)
        if ask("Is this the one", "y").lower().startswith("y"):
            return device
    raise NotSetUp("no microphone was chosen; nothing was changed")


def _chosen(known: Sequence[Device], before: str | None) -> str | None:
    if not known:
        raise NotSetUp("no device here can record; plug a microphone in, then run this again")
    for number, device in enumerate(known, 1):
        print(f"  {number}: {device}")
    default = next((number for number, device in enumerate(known, 1) if _is(device, before)), 1)
    chosen = known[int(ask("Number of the microphone", str(default), lambda answer: _among(answer, len(known)))) - 1]
    return None if chosen.is_default and before is None else chosen.name


def _is(device: Device, wanted: str | None) -> bool:
    return device.is_default if wanted is None else wanted.casefold() in device.name.casefold()


def _among(answer: str, count: int) -> str:
    return "" if answer.isdecimal() and 0 < int(answer) <= count else f"a number from 1 to {count}"


def _show_level(device: str | None) -> None:
    print(f"  Please speak for {LISTEN_S:.0f} seconds.")
    end, loudest = "\r" if sys.stdout.isatty() else "\n", SILENT_DB
    try:
        for block in listen(device, LISTEN_S):
            level = measure(block)
            loudest = max(loudest, level.peak_db)
            if sys.stdout.isatty():
                print(f"  {bar(level.peak_db)} {level.peak_db:6.1f} dB", end=end, flush=True)
        print(f"  {bar(loudest)} {loudest:6.1f} dB at the loudest")
    except CaptureError as error:
        print(f"  {error}")


def bar(level_db: float) -> str:
    """The level as characters: none at -60 dB, all at 0."""
    length = round(BAR * min(1.0, max(0.0, 1 + level_db / BAR_DB)))
    return "#" * length + "." * (BAR - length)


def _words(before: Config) -> dict[str, Any]:
    """Which of the model's words count: those that are turned off are named, with what is set of them besides."""
    known = WakeModel.load(before.wake.model).words
    off = {name for name, word in before.wake.words.items() if not word.enabled}
    enabled = ",".join(name for name in known if name not in off)

    def fault(answer: str) -> str:
        strange = sorted({*answer.replace(" ", "").split(",")} - {*known})
        return f"there is no {strange[0]!r}; there are {', '.join(known)}" if strange else ""

    wanted = ask("Words to listen for", enabled, fault).replace(" ", "").split(",")
    return {"words": {name: {"enabled": name in wanted} for name in known if name not in wanted or name in off}}


def merged(settings: Mapping[str, Any], answers: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the answers in their places; everything else as it was."""
    made = dict(settings)
    for key, value in answers.items():
        inner = made.get(key)
        made[key] = merged(inner or {}, value) if isinstance(value, Mapping) else value
    return made


def _write(path: Path, settings: Mapping[str, Any]) -> None:
    """Replace the configuration at once, if what is written can be read; for root and the service alone.

    The service's password goes where only root can read it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    password = settings.get("mqtt", {}).get("password")
    if path == service.CONFIG and password:
        store.keep(PASSWORD, password)
        settings = merged(settings, {"mqtt": {"password": None}})
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    new.touch(0o640)
    new.write_text(yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True), "utf-8")
    try:
        load(new)
    except ConfigError as error:
        new.unlink()
        raise NotSetUp(f"these answers make no configuration: {error}") from None
    if os.geteuid() == 0 and path == service.CONFIG:
        shutil.chown(new, group=GROUP)
    new.replace(path)
