"""A small MQTT broker inside the satellite, on loopback only: for trying wakepulse out where there is none."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from concurrent.futures import Future
from types import TracebackType

HOST = "127.0.0.1"
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
        self._stop = asyncio.Event()
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), name="broker")

    def __enter__(self) -> EmbeddedBroker:
        self._thread.start()
        self._started.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        try:
            from amqtt.broker import Broker  # an extra: a satellite with a broker of its own does without
        except ImportError:
            what = "mqtt.embedded needs the amqtt package: install wakepulse[demo], or set mqtt.embedded to false"
            self._started.set_exception(BrokerError(what))
            return
        for chatty in ("amqtt", "transitions"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
        broker = Broker({"listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{self.port}"}}, "plugins": PLUGINS})
        await broker.start()
        self._started.set_result(None)
        await self._stop.wait()
        await broker.shutdown()
