"""What may be changed while the satellite runs, by `wakepulse/<site>/set/<key>`; anything else needs a new start.

A value that makes no sense changes nothing, and is reported. What is set here wins over the configuration until it is
set back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from daemon.config import ConfigError
from daemon.link import Link, Message
from daemon.words import Setting

SWITCH = {b"ON": True, b"OFF": False}
BACK = (b"", b"None", b"null")  # what sets a threshold back
SHOWN, REFUSED = 40, 400  # characters of a refused value, and of why it is refused


@dataclass(frozen=True)
class Controls:
    """What the satellite does when it is told to."""

    listen: Callable[[bool], None]
    mute: Callable[[bool], None]
    adjust: Callable[[dict[str, Setting]], None]  # by the words' ids; `ConfigError` if that cannot be
    refuse: Callable[[str], None]  # report, in one line


class Control:
    """Understands what is set; runs in the thread that dispatches."""

    def __init__(self, site_id: str, link: Link, controls: Controls, settings: Mapping[str, Setting]) -> None:
        """`settings`, by the words' ids, are those in force."""
        self.settings = dict(settings)
        self._prefix = f"wakepulse/{site_id}/set/"
        self._controls = controls
        self._keys = {"listen": controls.listen, "mute": controls.mute}
        link.handle(f"{self._prefix}+", self._set)
        link.handle(f"{self._prefix}+/+", self._set_of_word)

    def _set(self, message: Message) -> None:
        key = message.topic.removeprefix(self._prefix)
        if key == "words":
            self._set_words(message.payload)
        elif key not in self._keys:
            self._refuse(f"there is nothing to set as {key!r}; there are {', '.join(self._keys)} and words")
        elif message.payload not in SWITCH:
            self._refuse(f"{key} is set to ON or OFF, not to {_shown(message.payload)}")
        else:
            self._keys[key](SWITCH[message.payload])

    def _set_words(self, payload: bytes) -> None:
        try:
            wanted = msgspec.json.decode(payload, type=dict[str, Setting])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._refuse(f"words cannot be set to {_shown(payload)}: {error}")
            return
        self._adjust(wanted)

    def _set_of_word(self, message: Message) -> None:
        key, _, word = message.topic.removeprefix(self._prefix).partition("/")
        payload = message.payload
        old = self.settings.get(word, Setting())
        if key == "threshold" and (payload in BACK or 0 < _number(payload) <= 1):
            setting = Setting(None if payload in BACK else _number(payload), old.enabled)
        elif key == "enabled" and payload in SWITCH:
            setting = Setting(old.threshold, SWITCH[payload])
        else:
            wanted = {"threshold": "a number above 0 and at most 1", "enabled": "ON or OFF"}.get(key, "nothing at all")
            self._refuse(f"{key!r} of {word!r} is set to {wanted}, not to {_shown(payload)}")
            return
        self._adjust(self.settings | {word: setting})

    def _adjust(self, settings: dict[str, Setting]) -> None:
        try:
            self._controls.adjust(settings)
        except ConfigError as error:
            self._refuse(str(error))
        else:
            self.settings = settings

    def _refuse(self, why: str) -> None:
        """What was sent may be as long as a topic can be; what is said of it is logged, and retained."""
        self._controls.refuse(why if len(why) <= REFUSED else f"{why[:REFUSED]}...")


def _number(payload: bytes) -> float:
    try:
        return float(payload)
    except ValueError:
        return math.nan


def _shown(payload: bytes) -> str:
    return repr(payload[:SHOWN].decode(errors="replace"))
