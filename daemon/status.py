"""What the satellite is doing, retained for whoever asks: a lost message cannot leave anybody in doubt for long."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from daemon import messages
from daemon.link import Link, Message

log = logging.getLogger(__name__)


class _Named(msgspec.Struct):
    """Of a state, who says it."""

    client: str


class Status:
    """One JSON object on `wakepulse/<site>/state`, said anew whenever something in it changes."""

    def __init__(self, site_id: str, link: Link) -> None:
        self._topic = messages.state(site_id)
        self._availability = messages.availability(site_id)
        self._link = link
        self._facts: dict[str, Any] = {"client": link.name}
        self._complained = False
        link.handle(self._topic, self._notice, retained=True)
        self.set_online(False)

    def set_online(self, online: bool) -> None:
        """State whether this satellite hears, or could."""
        self._link.state(self._availability, messages.ONLINE if online else messages.OFFLINE)

    def set(self, **facts: Any) -> None:
        """State what is so from now on; the rest stays."""
        self._facts |= facts
        self._link.state(self._topic, msgspec.json.encode(self._facts))

    def _notice(self, message: Message) -> None:
        """What is said here comes back to us; what another satellite says here is a mistake of whoever set it up."""
        if message.retained or self._complained:
            return
        try:
            other = msgspec.json.decode(message.payload, type=_Named).client
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if other != self._link.name:
            self._complained = True
            log.warning("another satellite, %s, has this site too; give each a site_id of its own", other)
