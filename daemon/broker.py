"""A small MQTT broker inside the satellite, on loopback only: for trying wakepulse out where there is none."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

HOST = "127.0.0.1"
TIMEOUT_S = 30  # of its start and its end
PLUGINS = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}


class BrokerError(RuntimeError):
    """The embedded broker cannot be started."""


class EmbeddedBroker:
    """`with EmbeddedBroker() as broker:` listens on `HOST`, `broker.port`, until the block ends."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind((HOST, 0))
            self.port: int = free.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="broker", daemon=True)

    def __enter__(self) -> EmbeddedBroker:
        self._thread.start()
        self._broker = self._do(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._broker.shutdown())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT_S)

    async def _start(self) -> Any:
        try:
            from amqtt.broker import Broker  # an extra: a satellite with a broker of its own does without
            from amqtt.errors import BrokerError as Refused
        except ImportError:
            raise BrokerError(
                "mqtt.embedded needs the amqtt package: install wakepulse[demo], or set mqtt.embedded to false"
            ) from None
        for chatty in ("amqtt", "transitions"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
        broker = Broker({"listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{self.port}"}}, "plugins": PLUGINS})
        try:
            await broker.start()
        except (Refused, OSError) as error:
            raise BrokerError(f"the embedded broker does not start: {error}") from error
        return broker
