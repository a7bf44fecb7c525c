"""Satellites of one group that hear the same word answer once: the first claim that the broker hands out wins.

A broker hands the messages on one topic to everybody in the same order, so that all agree without a clock, and nobody
has to wait for anybody: who hears a word claims it and answers at once, and takes the answer back if it learns that
another was first. Who learns that before it hears the word says nothing at all. This rests on a broker whom all share.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from daemon.link import Link, Message
from daemon.messages import Wake

log = logging.getLogger(__name__)

WINDOW_S = 0.7  # after the first claim, in which others are about the same utterance
ECHO_S = 5.0  # in which a claim comes back from the broker, or never
ROUNDS = 64  # that are remembered: one for each word

Name = Annotated[str, Meta(min_length=1, max_length=64)]
Number = Annotated[float, Meta(ge=-(2**53), le=2**53)]


class Claim(Struct, rename="camel"):
    """A word that was heard, with what a hub may rank by."""

    site_id: Name
    model_id: Name
    score: Number | None = None
    level_db: Number | None = None  # of the last second, full scale being 0
    detection_signal_ms: Number | None = None  # Unix time of the sample at which it was certain
    end_signal_ms: Number | None = None  # and of the word's end


def claims(group: str) -> str:
    """The topic on which a group's satellites claim what they hear."""
    return f"wakepulse/group/{group}/claim"


class Group:
    """One satellite's view of its group. Runs in the thread that dispatches."""

    def __init__(
        self, site_id: str, group: str, link: Link, *, won: Callable[[], None], lost: Callable[[str, str], None]
    ) -> None:
        """A word that was claimed is `won`, or `lost`: that is called with the word and the site that was first."""
        self._site_id = site_id
        self._topic = claims(group)
        self._link = link
        self._won = won
        self._lost = lost
        self._decoder = msgspec.json.Decoder(Claim)
        self._complained = False
        self._winners: dict[str, tuple[str, float]] = {}  # by word: the first site, and when its claim came, monotonic
        self._claimed: dict[str, float] = {}  # by word: when it was claimed here, and nothing has come back yet
        link.handle(self._topic, self._on_claim)

    def claim(self, wake: Wake, level_db: float | None) -> str | None:
        """Claim a word that was heard here; the site that was first, if this one has to stay silent."""
        word, now = wake.word.id, time.monotonic()
        winner = self._winner(word, now)
        if winner not in (None, self._site_id):
            return winner
        claim = Claim(
            self._site_id,
            word,
            score=round(wake.detection.score, 4),
            level_db=level_db,
            detection_signal_ms=wake.unix_ms(wake.detection.sample),
            end_signal_ms=wake.unix_ms(wake.detection.end_sample),
        )
        if self._link.stream(self._topic, msgspec.json.encode(claim)):
            self._claimed[word] = now
        else:  # nobody can be asked
            self._won()
        return None

    def _winner(self, word: str, now: float) -> str | None:
        site, at = self._winners.get(word, ("", 0.0))
        return site if site and now - at < WINDOW_S else None

    def _on_claim(self, message: Message) -> None:
        try:
            claim = self._decoder.decode(message.payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if not self._complained:
                log.warning("what came on %s is no claim", message.topic)
            self._complained = True
            return
        word, now = claim.model_id, time.monotonic()
        first = self._winner(word, now) or self._remember(word, claim.site_id, now)
        mine = now - self._claimed.get(word, -ECHO_S) < ECHO_S
        if mine and first != self._site_id:
            del self._claimed[word]
            self._lost(word, first)
        elif mine and claim.site_id == self._site_id:
            del self._claimed[word]
            self._won()

    def _remember(self, word: str, site: str, now: float) -> str:
        if len(self._winners) >= ROUNDS:
            self._winners = {known: first for known, first in self._winners.items() if now - first[1] < WINDOW_S}
        if len(self._winners) < ROUNDS:
            self._winners[word] = (site, now)
        return site
