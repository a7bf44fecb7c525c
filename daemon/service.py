"""The satellite as a service of systemd, as seen from outside of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

UNIT = "wakepulse.service"
CONFIG = Path("/etc/wakepulse/satellite.yaml")


def managed() -> bool:
    """Whether systemd runs here and knows the service."""
    return Path("/run/systemd/system").is_dir() and _systemctl("cat", UNIT)


def active() -> bool:
    """Whether the service runs."""
    return managed() and _systemctl("is-active", "--quiet", UNIT)


def restart() -> bool:
    """Start the service with its present configuration, now and with the system; whether that worked."""
    return _systemctl("enable", "--quiet", UNIT) and _systemctl("restart", UNIT)


def stop() -> None:
    """Stop the service, if it runs, so that the microphone is free."""
    _systemctl("stop", UNIT)


def _systemctl(*arguments: str) -> bool:
    try:
        return subprocess.run(["systemctl", *arguments], stdout=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False
