"""`wakepulse watch`: a client of the broker that only listens, to more than a satellite may, for people to look at.

It holds back a bounded number of messages for a reader who is slow, and counts what it had to drop.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from daemon import tls
from daemon.config import ConfigError, MqttConfig
from daemon.connection import CONNECT_S
from daemon.credentials import login
from daemon.link import LinkError
from daemon.watch import STREAM_S, TOPICS, Watch

WAITING = 1000  # messages that the reader has not taken yet
RECONNECT_S = 1


@dataclass(frozen=True)
class Seen:
    """A message, and when it came, in seconds since 1970."""

    topic: str
    payload: bytes
    at: float
    retained: bool


class Tap:
    """`with Tap(config, topics) as tap:` receives; `LinkError` if the broker is not there or refuses."""

    def __init__(self, config: MqttConfig, topics: tuple[str, ...]) -> None:
        self.dropped = 0
        self._config = config
        self._topics = [(topic, 0) for topic in topics]
        self._waiting: queue.Queue[Seen] = queue.Queue(WAITING)
        self._answered = threading.Event()
        self._refusal = ""
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(*login(config))
        if config.tls.enabled:
            self._client.tls_set_context(tls.context(config.tls))
        self._client.connect_timeout = CONNECT_S
        self._client.reconnect_delay_set(RECONNECT_S, RECONNECT_S)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def __enter__(self) -> Tap:
        address = self._connect()
        self._client.loop_start()
        if not self._answered.wait(CONNECT_S):
            self._refusal = "it does not answer"
        if self._refusal:
            self.__exit__()
            raise LinkError(f"the broker at {address} refuses: {self._refusal}")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _connect(self) -> str:
        """To the first of the brokers that is there; its address."""
        failures = []
        for host, port in self._config.brokers():
            try:
                self._client.connect(host, port, self._config.keepalive_s)
                return f"{host}:{port}"
            except OSError as error:
                failures.append(f"no broker at {host}:{port}: {error.strerror or error}")
        raise LinkError("; ".join(failures))

    def next(self, timeout_s: float) -> Seen | None:
        """The next message, or None if there was none for so long."""
        try:
            return self._waiting.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _on_connect(self, client: paho.Client, userdata: object, flags: object, code: ReasonCode, _: object) -> None:
        if code.is_failure:
            self._refusal = str(code)
            self._answered.set()
        else:
            client.subscribe(self._topics)

    def _on_subscribe(
        self, client: paho.Client, userdata: object, number: int, codes: list[ReasonCode], _: object
    ) -> None:
        if all(code.is_failure for code in codes):
            self._refusal = f"the subscriptions: {codes[0]}"
        self._answered.set()

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        try:
            self._waiting.put_nowait(Seen(message.topic, bytes(message.payload), time.time(), message.retain))
        except (queue.Full, UnicodeDecodeError):
            self.dropped += 1


def follow(config: MqttConfig, site: str | None) -> Iterator[str]:
    """What all satellites, or that of one site, say and are told: lines without end. `LinkError` as of `Tap`."""
    if config.embedded:
        raise ConfigError("the embedded broker cannot be watched; set mqtt.embedded to false and use one of your own")
    watch, dropped = Watch(site), 0
    with Tap(config, TOPICS) as tap:
        while True:
            seen = tap.next(STREAM_S)
            if seen is None:
                yield from watch.due(time.time())
            else:
                yield from watch.push(seen.topic, seen.payload, seen.at, retained=seen.retained)
            if tap.dropped > dropped:
                yield f"{tap.dropped - dropped} messages came faster than they could be shown"
                dropped = tap.dropped
