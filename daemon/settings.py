"""What was set while the satellite ran, kept for its next start; the configuration stays its owner's.

Writing never keeps anybody waiting, and is given up where there is no place to write: then what was set holds until the
next start, and the log says so once.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Literal

import msgspec
from msgspec import Struct

from daemon.words import Setting

log = logging.getLogger(__name__)

PACKAGED, STATE = Path("/etc/wakepulse"), Path("/var/lib/wakepulse")
MAX_BYTES = 64 * 1024


class Kept(Struct, frozen=True):
    """All that is kept; None leaves it to the configuration."""

    version: Literal[1] = 1
    words: dict[str, Setting] = {}  # by their ids
    muted: bool | None = None


def beside(config: Path | None) -> Path | None:
    """Where to keep it: beside the configuration, or where programs keep such things if that is in /etc."""
    if config is None:
        return None
    folder = STATE if config.absolute().parent == PACKAGED else config.parent
    return folder / f"{config.stem}.set.json"


class SettingsFile:
    """Reads once, and writes in a thread of its own."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._writer = ThreadPoolExecutor(1, "settings")
        self._lock = Lock()
        self._waiting: Kept | None = None  # the newest, which a task will write
        self._unreadable = self._complained = False

    def read(self) -> Kept:
        """What is kept; nothing, if that cannot be read."""
        if self._path is None:
            return Kept()
        try:
            with self._path.open("rb") as file:
                return msgspec.json.decode(file.read(MAX_BYTES), type=Kept)
        except FileNotFoundError:
            return Kept()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            log.warning("%s: what was set before cannot be read, and does not count: %s", self._path, error)
            self._unreadable = True
            return Kept()

    def write(self, kept: Kept) -> None:
        """Keep this from now on. Returns at once."""
        if self._path is None:
            return
        with self._lock:
            known, self._waiting = self._waiting is not None, kept
        if not known:
            self._writer.submit(self._write, self._path)

    def close(self) -> None:
        """Wait until all is written."""
        self._writer.shutdown()

    def _write(self, path: Path) -> None:
        with self._lock:
            kept, self._waiting = self._waiting, None
        fresh = path.with_suffix(".new")
        try:
            with fresh.open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(kept)))
                file.flush()
                os.fsync(file.fileno())
            if self._unreadable:  # of a newer version, perhaps
                path.replace(path.with_suffix(".unreadable"))
                self._unreadable = False
            fresh.replace(path)  # at once: a power cut leaves the old or the new one
        except OSError as error:
            if not self._complained:
                log.warning("%s: what is set cannot be kept for the next start: %s", path, error.strerror or error)
            self._complained = True
