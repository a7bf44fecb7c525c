"""A real Mosquitto on a free loopback port, and a subscriber to watch it with."""

from __future__ import annotations

import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

START_S = 10
MESSAGE_S = 10


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Mosquitto:
    """`with Mosquitto(folder) as broker:` runs until the block ends; `password` is (user, password)."""

    def __init__(self, folder: Path, password: tuple[str, str] | None = None, *, more: Sequence[str] = ()) -> None:
        """`more` lines of its configuration, which may name files in `folder`."""
        self.port = free_port()
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {str(password is None).lower()}",
            "user root",
            *more,
        ]
        if password:
            file = folder / "passwords"
            subprocess.run(["mosquitto_passwd", "-b", "-c", file, *password], check=True, capture_output=True)
            lines.append(f"password_file {file}")
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join(lines) + "\n")

    def __enter__(self) -> Mosquitto:
        self._process = subprocess.Popen(
            ["mosquitto", "-c", self._config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            threading.Event().wait(0.02)
        raise TimeoutError("mosquitto does not answer")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(START_S)

    def freeze(self) -> None:
        """It is there, and does nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """As after a power cut: nobody is told."""
        self._process.kill()
        self._process.wait(START_S)
        self.__enter__()


class Subscriber:
    """Receives what is published on a pattern, from the moment the block begins."""

    def __init__(self, port: int, pattern: str) -> None:
        self.seen: list[paho.MQTTMessage] = []
        self._port = port
        self._messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda *_: self._client.subscribe(pattern)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _client, _userdata, message: self._messages.put(message)

    def __enter__(self) -> Subscriber:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        assert self._ready.wait(MESSAGE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send a message of our own."""
        self._client.publish(topic, payload, retain=retain)

    def next(self, timeout_s: float = MESSAGE_S) -> paho.MQTTMessage:
        """The next message; `queue.Empty` if none comes."""
        message = self._messages.get(timeout=timeout_s)
        self.seen.append(message)
        return message

    def poll(self) -> paho.MQTTMessage | None:
        """The next message if one comes soon."""
        try:
            return self.next(0.01)
        except queue.Empty:
            return None

    def until(self, payload: bytes, timeout_s: float = MESSAGE_S) -> paho.MQTTMessage:
        """The next message with this payload."""
        while (message := self.next(timeout_s)).payload != payload:
            pass
        return message

    def on(self, topic: str, timeout_s: float = MESSAGE_S) -> paho.MQTTMessage:
        """The next message on a topic, `+` and `#` allowed."""
        while not paho.topic_matches_sub(topic, (message := self.next(timeout_s)).topic):
            pass
        return message

    def drain(self) -> list[paho.MQTTMessage]:
        """What the broker had for this subscriber up to now, proven by a message of our own that comes after it."""
        self._client.subscribe("test/drained")
        self._client.publish("test/drained", b"drained")
        before = []
        while (message := self._messages.get(timeout=MESSAGE_S)).topic != "test/drained":
            before.append(message)
        self.seen += before
        return before
