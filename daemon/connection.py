"""One connection to one broker: paho's client, where a satellite needs more of it than it does by itself.

All sending is left to the thread that calls `loop`; a message that is too large is read past, not held in memory; and
what cannot be delivered in time is given up.
"""

from __future__ import annotations

import math
import socket
import time
from collections import deque
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from daemon.config import MqttConfig

if TYPE_CHECKING:
    from paho.mqtt.client import SocketLike  # which paho has for type checkers only

CONNECT_S = 5.0
CONTROL_BYTES = 64 * 1024  # of a command; whoever takes sounds allows more
PACKET_BYTES = 8 * 1024 * 1024  # more than that is never held in memory, whatever the topic
PROTOCOLS = {"3.1.1": MQTTProtocolVersion.MQTTv311, 5: MQTTProtocolVersion.MQTTv5}
STALE_CLOCK = ("not yet valid", "expired")


class Connection(paho.Client):
    """A client that is used once."""

    def __init__(self, name: str, config: MqttConfig, address: str) -> None:
        protocol = PROTOCOLS[config.version]
        super().__init__(CallbackAPIVersion.VERSION2, client_id=name, protocol=protocol, reconnect_on_failure=False)
        self.address = address
        self.begun = time.monotonic()
        self.taken_at: float | None = None  # by the broker, monotonic
        self.too_large = False  # the message that comes in
        self.acknowledged: deque[int] = deque()  # numbers
        self.left, self.gone = 0, 0  # messages that were published, and those of them that are off our hands
        self._config = config
        self._is_new = protocol == MQTTProtocolVersion.MQTTv5
        self.connect_timeout = CONNECT_S
        self.on_socket_open = self._tune
        self.on_socket_register_write = lambda *_: None  # or a publisher would write to the socket itself

    def open(self, host: str, port: int) -> None:
        """Look up the broker and connect to it; `OSError` if that fails."""
        limits = None
        if self._is_new:  # the broker then sends nothing that is too large in the first place
            limits = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            limits.MaximumPacketSize = PACKET_BYTES
        self.connect(host, port, self._config.keepalive_s, properties=limits)

    def leave(
        self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False, expires: bool = False
    ) -> int | None:
        """Publish, whoever calls; the number by which it will be acknowledged, or None if the link was just lost."""
        properties = None
        if expires and self._is_new:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.MessageExpiryInterval = math.ceil(self._config.max_event_age_s)
        info = self.publish(topic, payload, qos, retain, properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return None
        self.left += 1
        return info.mid

    def _sock_recv(self, bufsize: int) -> bytes:
        # paho asks for all that is still missing of a message, and would keep it. Of one that is too large, only the
        # beginning, which has the topic, and the end are kept.
        if bufsize <= PACKET_BYTES and not self.too_large:
            return super()._sock_recv(bufsize)
        self.too_large = True
        del self._in_packet["packet"][CONTROL_BYTES:]
        return super()._sock_recv(min(bufsize, CONTROL_BYTES))

    def _tune(self, client: paho.Client, userdata: object, sock: SocketLike) -> None:
        # Without this, the kernel goes on trying for minutes to deliver what has long gone stale.
        if isinstance(sock, socket.socket):
            late_ms = max(1, round(self._config.max_event_age_s * 1000))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, late_ms)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def unreachable(address: str, error: Exception) -> str:
    """What kept us from connecting, in one line."""
    # Errors of OpenSSL are told by what they carry, as their classes come with OpenSSL.
    why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    if message := getattr(error, "verify_message", ""):
        reason = f"the certificate of the broker at {address} is not trusted: {message}"
        if any(text in message for text in STALE_CLOCK):
            reason += f"; is the clock of this machine right? It says {time.strftime('%Y-%m-%d %H:%M')}"
    elif hasattr(error, "library"):
        reason = f"no TLS with the broker at {address}: {why}; check mqtt.port and mqtt.tls"
    else:
        reason = f"no broker at {address} ({why}); listening meanwhile, and trying again"
    return reason
