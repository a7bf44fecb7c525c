"""The wake word's part of Hermes: what is said of a word that was heard, and what others may ask or tell of words."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

import msgspec

from daemon import messages
from daemon.link import Link, Message
from daemon.listening import OWN, SWITCH, Listening
from daemon.messages import Query, Toggle, Wake, addressed
from daemon.words import Word

log = logging.getLogger(__name__)

DEFAULT_ID = "default"  # of the detector, where no word is meant
SESSION = "dialogueSession"


class Hotword:
    """Obeys and answers in the thread that dispatches; `changed` is called when it begins or ceases to listen."""

    def __init__(self, site_id: str, link: Link, *, software: str, changed: Callable[[], None]) -> None:
        self.listening = Listening()
        self.words: Mapping[str, Word] = {}
        self._model_version = ""
        self._site_id = site_id
        self._link = link
        self._software = software
        self._on_change = changed
        self._off: list[str] = []  # the reasons that were said last
        link.handle("hermes/hotword/toggleOn", addressed(site_id, Toggle, self._toggle_on))
        link.handle("hermes/hotword/toggleOff", addressed(site_id, Toggle, self._toggle_off))
        link.handle("rhasspy/hotword/getHotwords", addressed(site_id, Query, self._tell_words))
        link.handle("hermes/hotword/+/versionRequest", self._tell_version)
        link.greet(self._tell_loaded)

    def load(self, words: Mapping[str, Word], model_version: str) -> None:
        """Say which words are listened for from now on."""
        reloaded, self.words, self._model_version = bool(self.words), words, model_version
        if reloaded:
            self._tell_loaded(reloaded=True)

    def heard(self, wake: Wake) -> None:
        """Say that a word was heard."""
        self._link.event(*messages.detected(self._site_id, wake))

    def switch(self, on: bool) -> None:
        """A person turns the wake word on or off, by a switch that knows of nobody else's reasons."""
        if on:
            for reason in (SWITCH, OWN):
                self.listening.take_back(reason)
        else:
            self.listening.off(SWITCH, time.monotonic())
        self._changed()

    def named(self, wake: Wake, seconds: float) -> None:
        """Say who said a word, now that more of them was heard."""
        self._link.event(*messages.speaker(self._site_id, wake, seconds))

    def fail(self, text: str, context: str) -> None:
        """Say what is wrong, on the topics of Snips and of Rhasspy."""
        payload = messages.error(self._site_id, text, context)
        self._link.stream(f"hermes/hotword/{DEFAULT_ID}/error", payload)
        self._link.stream("hermes/error/hotword", payload)

    def expire(self, now: float) -> None:
        """Listen again where whoever turned it off never came back."""
        over = self.listening.expire(now)
        if over:
            log.warning("nobody turned the wake word on again after %s", ", ".join(over))
            self._changed()

    def _changed(self) -> None:
        off = [reason or "user" for reason in self.listening.reasons]
        if off != self._off:
            log.info("the wake word is %s", f"off: {', '.join(map(repr, off))}" if off else "on again")
        self._off = off
        self._on_change()

    def _tell_loaded(self, *, reloaded: bool = False) -> None:
        for word in self.words.values():
            loaded = {"id": word.id, "reloaded": reloaded, "siteId": self._site_id}
            self._link.stream(f"hermes/hotword/{word.id}/loaded", msgspec.json.encode(loaded))

    def _toggle_on(self, toggle: Toggle) -> None:
        self.listening.on(_reason(toggle))
        self._changed()

    def _toggle_off(self, toggle: Toggle) -> None:
        self.listening.off(_reason(toggle), time.monotonic())
        self._changed()

    def _tell_words(self, query: Query) -> None:
        models = [
            {
                "modelId": word.id,
                "modelWords": word.name.replace("_", " "),
                "modelVersion": self._model_version,
                "modelType": "universal",
            }
            for word in self.words.values()
        ]
        answer = {"models": models, "siteId": self._site_id, "id": query.id}
        self._link.stream("rhasspy/hotword/hotwords", msgspec.json.encode(answer))

    def _tell_version(self, request: Message) -> None:
        wanted = request.topic.split("/")[2]
        if wanted in (DEFAULT_ID, self._site_id) or any(word.id == wanted for word in self.words.values()):
            self._link.stream(f"hermes/hotword/{wanted}/version", msgspec.json.encode({"version": self._software}))


def _reason(toggle: Toggle) -> str:
    # Snips' dialogue manager gives the session that it opens or ends, and knows no reasons.
    return toggle.reason or (SESSION if toggle.session_id else OWN)
