"""Who the satellite is to the broker: its name, its login and its certificate. Nothing here is ever logged."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon.config import ConfigError, MqttConfig, TlsConfig

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


class _Context(ssl.SSLContext):
    """A context that expects the broker's certificate to be of one name, whatever it is called here."""

    server_name: str | None = None

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        if self.server_name is not None:
            options["server_hostname"] = self.server_name
        return super().wrap_socket(sock, *arguments, **options)


def tls_context(config: TlsConfig) -> ssl.SSLContext:
    """How to speak to the broker; it is verified, always. `ConfigError` names the file that cannot be used."""
    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.server_name = config.server_name
    if config.ca_file is None:
        context.load_default_certs()
    else:
        _use(config.ca_file, lambda: context.load_verify_locations(config.ca_file))
    if config.certificate_file is not None:
        certificate, key = config.certificate_file, config.key_file
        _use(certificate, lambda: context.load_cert_chain(certificate, key, password=_no_password))
    return context


def _use(path: Path, load: Callable[[], object]) -> None:
    try:
        load()
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be used for TLS: {reason}") from None


def _no_password() -> str:
    raise ValueError("its key is encrypted, and nobody is here to type a password")
