"""Shows what the embedded broker hands out, so that a satellite that is only tried out has somebody to talk to."""

from __future__ import annotations

import threading
from collections.abc import Callable

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

CONNECT_S = 5.0


class Echo:
    """A second client on the broker that shows every detection it receives back: `with Echo(host, port, show):`."""

    def __init__(self, host: str, port: int, show: Callable[[str, bytes], None]) -> None:
        self._address = (host, port)
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
        client.subscribe("hermes/hotword/+/detected")

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        self._show(message.topic, bytes(message.payload))
        with self._changed:
            self._received += 1
            self._changed.notify_all()
