"""The satellite as a service of systemd, as seen from outside of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

UNIT = "wakepulse.service"
CONFIG = Path("/etc/wakepulse/satellite.yaml")
CONFIG_HELP = f"configuration (default: {CONFIG} if that is there, else every key at its default)"
SYSTEMD = Path("/run/systemd/system")


def there(path: Path) -> bool:
    """Whether there is such a file, as far as whoever asks may know."""
    try:
        return path.exists()
    except PermissionError:  # it lies in a folder that they may not look into
        return True


def managed() -> bool:
    """Whether systemd runs here and knows the service."""
    return SYSTEMD.is_dir() and _systemctl("cat", UNIT)


def active() -> bool:
    """Whether the service runs."""
    return managed() and _systemctl("is-active", "--quiet", UNIT)


def restart() -> bool:
    """Start the service with its present configuration, now and with the system; whether that worked."""
    return _systemctl("enable", "--quiet", UNIT) and _systemctl("restart", UNIT)


def stop() -> None:
    """Stop the service, if it runs, so that the microphone is free."""
    _systemctl("stop", UNIT)


def reload() -> None:
    """Let the service read anew what it keeps, if it runs and whoever asks may do that."""
    if os.geteuid() == 0 and active():
        _systemctl("reload", UNIT)


@contextlib.contextmanager
def set_aside() -> Iterator[None]:
    """The service does not run meanwhile, so that the microphone is free, if whoever asks may do that."""
    if os.geteuid() != 0 or not active():
        yield
        return
    stop()
    try:
        yield
    finally:
        _systemctl("start", UNIT)


def _systemctl(*arguments: str) -> bool:
    try:
        return subprocess.run(["systemctl", *arguments], stdout=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False
