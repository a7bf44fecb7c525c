"""How the satellite trusts a broker by certificate, and shows its own. Loaded where TLS is wanted: OpenSSL is large."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon.config import ConfigError, TlsConfig


class _Context(ssl.SSLContext):
    """A context that expects the broker's certificate to be of one name, whatever it is called here."""

    server_name: str | None = None

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        if self.server_name is not None:
            options["server_hostname"] = self.server_name
        return super().wrap_socket(sock, *arguments, **options)


def context(config: TlsConfig) -> ssl.SSLContext:
    """How to speak to the broker; it is verified, always. `ConfigError` names the file that cannot be used."""
    made = _Context(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.server_name = config.server_name
    if config.ca_file is None:
        made.load_default_certs()
    else:
        _use(config.ca_file, lambda: made.load_verify_locations(config.ca_file))
    if config.certificate_file is not None:
        certificate, key = config.certificate_file, config.key_file
        _use(certificate, lambda: made.load_cert_chain(certificate, key, password=_no_password))
    return made


def _use(path: Path, load: Callable[[], object]) -> None:
    try:
        load()
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be used for TLS: {reason}") from None


def _no_password() -> str:
    raise ValueError("its key is encrypted, and nobody is here to type a password")
