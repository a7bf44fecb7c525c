"""Tells the service manager that the satellite is ready, hears, or stops (systemd's sd_notify protocol)."""

from __future__ import annotations

import os
import socket
import time


class Watchdog:
    """Says nothing where no service manager asked (`NOTIFY_SOCKET` unset)."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if address else None
        self._period_s = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6 / 4
        self._next = 0.0

    def ready(self) -> None:
        """The first sound went through the network, or is being waited for."""
        self._tell(b"READY=1")

    def alive(self) -> None:
        """Sound went through the network just now, or is being waited for; told at a quarter of the time-out."""
        now = time.monotonic()
        if self._period_s and now >= self._next:
            self._next = now + self._period_s
            self._tell(b"WATCHDOG=1")

    def stopping(self) -> None:
        """The satellite ends as it was asked to."""
        self._tell(b"STOPPING=1")

    def _tell(self, message: bytes) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(message, socket.MSG_DONTWAIT, self._address)
        except OSError:  # a manager that is too busy to read is told again a quarter of its time-out later
            return
