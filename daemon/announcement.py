"""The Wyoming service by multicast DNS, where Home Assistant looks for it."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import ifaddr
from zeroconf import InterfaceChoice
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from daemon.config import ConfigError

log = logging.getLogger(__name__)

SERVICE = "_wyoming._tcp.local."


class ServiceError(RuntimeError):
    """A service cannot be offered; the text is one line."""


@contextlib.asynccontextmanager
async def announced(uri: str) -> AsyncIterator[None]:
    """The service by multicast DNS, where Home Assistant looks for it, on the interfaces on which it answers."""
    split = urlsplit(uri)
    if split.scheme != "tcp":
        raise ConfigError(f"{uri} cannot be announced in the network; use tcp://HOST:PORT")
    addresses, interfaces = _reached_at(split.hostname or "")
    name = f"{uuid.getnode():012x}"
    service = AsyncServiceInfo(SERVICE, f"{name}.{SERVICE}", parsed_addresses=addresses, port=split.port)
    try:
        zeroconf = AsyncZeroconf(interfaces=interfaces)
    except OSError as error:
        raise ServiceError(f"{uri} cannot be announced in the network: {error.strerror or error}") from None
    try:
        await zeroconf.async_register_service(service, allow_name_change=True)
        log.info("announced as %s at %s", service.name, ", ".join(addresses))
        yield
        await zeroconf.async_unregister_all_services()
    finally:
        await zeroconf.async_close()


def _reached_at(host: str) -> tuple[list[str], list[str] | InterfaceChoice]:
    """The addresses under which others reach a server that listens at `host`, and the interfaces they belong to."""
    try:
        address = ipaddress.ip_address(socket.gethostbyname(host))
    except (OSError, ValueError) as error:
        raise ServiceError(f"{host} cannot be announced in the network: {error}") from None
    if not address.is_unspecified:
        return [str(address)], [str(address)]
    own = [str(ip.ip) for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4]
    return [ip for ip in own if not ipaddress.ip_address(ip).is_loopback], InterfaceChoice.All
