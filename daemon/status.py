"""What the satellite is doing, retained for whoever asks: a lost message cannot leave anybody in doubt for long."""

from __future__ import annotations

from typing import Any

import msgspec

from daemon import messages
from daemon.link import Link


class Status:
    """One JSON object on `wakepulse/<site>/state`, said anew whenever something in it changes."""

    def __init__(self, site_id: str, link: Link) -> None:
        self._topic = messages.state(site_id)
        self._availability = messages.availability(site_id)
        self._link = link
        self._facts: dict[str, Any] = {}
        self.set_online(False)

    def set_online(self, online: bool) -> None:
        """State whether this satellite hears, or could."""
        self._link.state(self._availability, messages.ONLINE if online else messages.OFFLINE)

    def set(self, **facts: Any) -> None:
        """State what is so from now on; the rest stays."""
        self._facts |= facts
        self._link.state(self._topic, msgspec.json.encode(self._facts))
