"""User and password for the broker in systemd's credential store, where only root can read them."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from daemon.config import MqttConfig
from daemon.credentials import CREDENTIALS, PASSWORD, USERNAME

STORE = Path("/etc/credstore")


def place(name: str, folder: Path | None = None) -> Path:
    """The file of one credential; the unit of the service names it so."""
    return (folder or STORE) / f"wakepulse.{name}"


def keep(name: str, secret: str, folder: Path | None = None) -> None:
    """Write a credential, readable by its owner alone from the first moment on."""
    path = place(name, folder)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(secret)


def stored(mqtt: MqttConfig, folder: Path | None = None) -> MqttConfig:
    """The configuration with what the service would find in the store, for whoever may read it."""
    if os.environ.get(CREDENTIALS):
        return mqtt
    password = None if mqtt.password or mqtt.password_file else _read(PASSWORD, folder)
    return msgspec.structs.replace(
        mqtt, username=mqtt.username or _read(USERNAME, folder), password=password or mqtt.password
    )


def _read(name: str, folder: Path | None) -> str | None:
    try:
        return place(name, folder).read_text("utf-8").rstrip("\r\n")
    except OSError:
        return None
