"""Detections out as Hermes messages, over a link that heals itself while the satellite goes on listening.

Payloads and topics are those of the Hermes protocol (snipsco/hermes-protocol, rhasspy/rhasspy-hermes); what Hermes does
not have, our availability, lives outside `hermes/`. Nothing here blocks the caller: paho's own thread does the sending.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from daemon.config import MqttConfig
from daemon.detector import Detection
from daemon.features import SAMPLE_RATE

if TYPE_CHECKING:
    from paho.mqtt.client import SocketLike  # which paho has for type checkers only

log = logging.getLogger(__name__)

WAITING = 32  # messages that a lost link holds back; the oldest goes first
RECONNECT_S = (1, 60)
CONNECT_S = 5.0
ONLINE, OFFLINE = b"online", b"offline"


@dataclass(frozen=True)
class Wake:
    """A detection with all that its message says of it."""

    detection: Detection
    threshold: float
    model_version: str
    language: str | None
    newest_sample: int  # that had been heard when it was detected: what is before it is in the past
    heard_ns: int  # wall clock at that sample, for display only

    def unix_ms(self, sample: int) -> int:
        """The wall-clock time of a sample, in milliseconds since 1970."""
        return self.heard_ns // 1_000_000 - (self.newest_sample - sample) * 1000 // SAMPLE_RATE


def detected(site_id: str, wake: Wake) -> tuple[str, bytes]:
    """Topic and payload of `hermes/hotword/<word>/detected`."""
    detection = wake.detection
    payload = {
        "siteId": site_id,
        "modelId": detection.word,
        "modelVersion": wake.model_version,
        "modelType": "universal",
        "currentSensitivity": round(1 - wake.threshold, 4),  # Hermes: 0 to 1, more means more triggers
        "detectionSignalMs": wake.unix_ms(detection.sample),
        "endSignalMs": wake.unix_ms(detection.end_sample),
        "sessionId": None,
        "sendAudioCaptured": None,
        "lang": wake.language,
        "customEntities": None,
    }
    return f"hermes/hotword/{detection.word}/detected", json.dumps(payload).encode()


def availability(site_id: str) -> str:
    """Our own retained topic: `online` while this satellite hears, `offline` (also as last will) while it does not."""
    return f"wakepulse/{site_id}/availability"


class Outbox:
    """Messages that wait for the link: few, young, in order. The caller holds the lock."""

    def __init__(self, max_age_s: float) -> None:
        self._max_age_s = max_age_s
        self._waiting: deque[tuple[float, str, bytes]] = deque(maxlen=WAITING)

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, topic: str, payload: bytes, now: float) -> None:
        """Hold a message back; a full box drops its oldest."""
        self._waiting.append((now, topic, payload))

    def take(self, now: float) -> list[tuple[str, bytes]]:
        """Empty the box; what has gone stale is dropped and counted in the log, never sent late."""
        fresh = [(topic, payload) for at, topic, payload in self._waiting if now - at <= self._max_age_s]
        stale = len(self) - len(fresh)
        if stale:
            log.warning("the broker was away for too long: dropped %d stale message(s)", stale)
        self._waiting.clear()
        return fresh


class LinkError(RuntimeError):
    """The link to the broker cannot heal itself any more."""


class _Client(paho.Client):
    """paho's client, which tells when its thread has ended, for whatever reason."""

    def __init__(self, client_id: str) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id=client_id)
        self.ended = threading.Event()

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:
        try:
            return super().loop_forever(timeout, retry_first_connection)
        finally:
            self.ended.set()


class Hermes:
    """The satellite's link to its broker."""

    def __init__(self, site_id: str, config: MqttConfig) -> None:
        self._site_id = site_id
        self._online = False
        self._outbox = Outbox(config.max_event_age_s)
        self._lock = threading.Lock()
        self._connected = False
        self._linked = threading.Event()  # set once what waited was sent
        self._refusal = ""  # the last one logged, so that each is logged once
        self._address = f"{config.host}:{config.port}"
        self._max_age_ms = round(config.max_event_age_s * 1000)
        # Two clients of one name push each other out for ever; a random part keeps satellites of one site apart.
        self._client = _Client(config.client_id or f"wakepulse-{site_id}-{secrets.token_hex(4)}")
        self._client.connect_timeout = CONNECT_S
        self._client.username_pw_set(config.username, config.secret())
        self._client.will_set(availability(site_id), OFFLINE, retain=True)
        self._client.reconnect_delay_set(*RECONNECT_S)
        self._client.on_socket_open = self._on_socket_open
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.connect_async(config.host, config.port, config.keepalive_s)

    def start(self) -> None:
        """Connect in the background, now and whenever the link is lost."""
        self._client.loop_start()

    def check(self) -> None:
        """`LinkError` if the thread that sends has died, so that the service manager can start everything anew."""
        if self._client.ended.is_set():
            raise LinkError("the MQTT client has died; see the lines before this one")

    def stop(self, timeout_s: float = 1.0) -> None:
        """Send what waits, say that the satellite is gone, and disconnect; at most `timeout_s` for each of the two."""
        with self._lock:
            self._online = False
            waits = bool(self._outbox) and not self._connected
        if waits and not self._linked.wait(timeout_s):
            log.warning("no broker at %s: dropped what was waiting for it", self._address)
        if not self._connected:
            self._client.disconnect()  # its thread may hang in a look-up of the name, and ends with the process
            return
        last = self._client.publish(availability(self._site_id), OFFLINE, qos=1, retain=True)
        with contextlib.suppress(RuntimeError):  # the link was lost just now: the last will speaks instead
            last.wait_for_publish(timeout_s)
        self._client.disconnect()
        self._client.loop_stop()

    def set_online(self, online: bool) -> None:
        """State whether the satellite hears; stated anew after each reconnect."""
        with self._lock:
            changed, self._online = online != self._online, online
            if changed and self._connected:
                self._say_availability()

    def publish(self, topic: str, payload: bytes) -> None:
        """Send a message now, or soon after the link is back, or never. Returns at once."""
        with self._lock:
            if not self._connected or self._client.publish(topic, payload).rc != paho.MQTT_ERR_SUCCESS:
                self._outbox.put(topic, payload, time.monotonic())

    def _say_availability(self) -> None:
        self._client.publish(availability(self._site_id), ONLINE if self._online else OFFLINE, retain=True)

    def _on_socket_open(self, client: paho.Client, userdata: object, sock: SocketLike) -> None:
        # Without this, the kernel goes on trying for minutes to deliver what has long gone stale.
        if isinstance(sock, socket.socket):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._max_age_ms)

    def _on_connect(
        self, client: paho.Client, userdata: object, flags: object, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            what = f"the broker at {self._address} refuses this satellite: {code}"
            self._complain(f"{what}; check mqtt.username and its password; trying again")
            return
        log.info("connected to the broker at %s", self._address)
        self._refusal = ""
        with self._lock:
            self._connected = True
            self._say_availability()
            for topic, payload in self._outbox.take(time.monotonic()):
                client.publish(topic, payload)
        self._linked.set()

    def _on_connect_fail(self, client: paho.Client, userdata: object) -> None:
        self._complain(f"no broker at {self._address}; listening meanwhile, and trying again")

    def _on_disconnect(
        self, client: paho.Client, userdata: object, flags: object, code: ReasonCode, properties: Properties | None
    ) -> None:
        with self._lock:
            was_connected, self._connected = self._connected, False
            self._linked.clear()
        if was_connected and code.is_failure:
            self._complain(f"lost the broker at {self._address}; listening meanwhile, and trying again")
        elif code.is_failure and not self._refusal:
            self._complain(f"what answers at {self._address} is no MQTT broker that takes this satellite; trying again")

    def _complain(self, text: str) -> None:
        if text != self._refusal:
            log.warning(text)
            self._refusal = text


class Echo:
    """A second client on the broker that shows every Hermes message it receives back: `with Echo(config, show):`."""

    def __init__(self, config: MqttConfig, show: Callable[[str, bytes], None]) -> None:
        self._address = (config.host, config.port)
        self._show = show
        self._received = 0
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message

    def __enter__(self) -> Echo:
        self._client.connect(*self._address)
        self._client.loop_start()
        if not self._subscribed.wait(CONNECT_S):
            raise ConnectionError(f"the broker at {self._address[0]}:{self._address[1]} does not answer")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def wait(self, count: int, timeout_s: float) -> bool:
        """Whether `count` messages have been received in all, within `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._received >= count, timeout_s)

    def _on_connect(
        self, client: paho.Client, userdata: object, flags: object, code: ReasonCode, properties: Properties | None
    ) -> None:
        client.subscribe("hermes/#")

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        self._show(message.topic, bytes(message.payload))
        with self._changed:
            self._received += 1
            self._changed.notify_all()
