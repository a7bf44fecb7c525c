"""Who the satellite is to the broker: its name and its login. Nothing here is ever logged."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from daemon.config import ConfigError, MqttConfig

MACHINE_ID = Path("/etc/machine-id")
CREDENTIALS = "CREDENTIALS_DIRECTORY"  # where systemd puts what LoadCredential= names
USERNAME, PASSWORD = "mqtt_username", "mqtt_password"  # credentials


def client_name(site_id: str) -> str:
    """The same after every start, another one on every machine: two clients of one name push each other out."""
    try:
        machine = MACHINE_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        machine = ""
    # Not the machine's id itself, which is nobody's business.
    own = hashlib.sha256(f"wakepulse {machine}".encode()).hexdigest()[:8] if machine else secrets.token_hex(4)
    return f"wakepulse-{site_id}-{own}"


def login(config: MqttConfig) -> tuple[str | None, str | None]:
    """User and password, from the configuration or systemd's credentials; `ConfigError` if one cannot be read."""
    username = config.username or _credential(USERNAME)
    if config.password is None and config.password_file is None:
        return username, _credential(PASSWORD)
    return username, config.secret()


def _credential(name: str) -> str | None:
    folder = os.environ.get(CREDENTIALS)
    path = Path(folder, name) if folder else None
    if path is None or not path.exists():
        return None
    try:
        return path.read_text("utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: the credential cannot be read: {error}") from None
