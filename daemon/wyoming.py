"""The words as a Wyoming wake-word service, for Home Assistant's pipelines and whatever else speaks that protocol.

Events, their framing and the server are those of the `wyoming` package (OHF-Voice/wyoming). It trusts its peers; here
every event is bounded and checked before it is read into memory. A connection is one stream at a time with a state of
its own; all share the model's plan. Everything runs in one thread: hearing takes far less time than speaking.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Attribution, Info, WakeProgram
from wyoming.info import WakeModel as WakeModelInfo
from wyoming.ping import Pong
from wyoming.server import AsyncEventHandler, AsyncServer
from wyoming.wake import Detection, NotDetected

from daemon.announcement import ServiceError, announced
from daemon.config import ConfigError
from daemon.detector import Detection as Heard
from daemon.features import SAMPLE_RATE
from daemon.listener import Listener
from daemon.memory import Memory
from daemon.model import MAX_WORDS, WakeModel
from daemon.pcm import Resampler, decode, integers
from daemon.recogniser import Recogniser
from daemon.words import Word, thresholds

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_CONNECTIONS = 64
MAX_DATA = 64 * 1024  # bytes of an event's data; its first line is bounded by asyncio, at as much
MAX_PAYLOAD = 1024 * 1024  # bytes of a chunk
SLICE_S = 0.08  # of a chunk, after which other connections have their turn
DEAD_AFTER_S = 30  # a peer that has vanished is noticed within this
MADE_BY = Attribution(name="wakepulse", url="")


class _Refused(Exception):
    """What is wrong with an event, for its sender."""


class _Header(Struct):
    """The first line of an event."""

    type: Annotated[str, Meta(min_length=1, max_length=64)]
    data: dict[str, Any] | None = None
    data_length: Annotated[int, Meta(ge=0, le=MAX_DATA)] | None = None
    payload_length: Annotated[int, Meta(ge=0, le=MAX_PAYLOAD)] | None = None


class _Form(Struct, frozen=True):
    """How samples are sent."""

    rate: Annotated[int, Meta(ge=8_000, le=96_000)]
    width: Annotated[int, Meta(ge=1, le=4)]
    channels: Annotated[int, Meta(ge=1, le=16)]


class _Time(Struct):
    """When an audio event begins, in milliseconds on the sender's clock."""

    timestamp: Annotated[float, Meta(ge=-(2**53), le=2**53)] | None = None


class _Wanted(Struct):
    """Which words are asked for."""

    names: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(max_length=MAX_WORDS)] | None = None


class _Text(Struct):
    """What a ping wants back."""

    text: Annotated[str, Meta(max_length=1024)] | None = None


async def read(reader: asyncio.StreamReader) -> Event | None:
    """The next event, or None at the end; `_Refused` if it is none, or too large."""
    try:
        line = await reader.readline()
    except ValueError:
        raise _Refused(f"the first line of an event is longer than {MAX_DATA} bytes") from None
    if not line:
        return None
    header = _checked("an event", msgspec.json.decode, line, _Header)
    data = header.data or {}
    if header.data_length:
        body = await reader.readexactly(header.data_length)
        data |= _checked(f"the data of {header.type}", msgspec.json.decode, body, dict[str, Any])
    payload = await reader.readexactly(header.payload_length) if header.payload_length else None
    return Event(header.type, data, payload)


def _checked(what: str, check: Any, given: object, kind: type[T]) -> T:
    try:
        result: T = check(given, type=kind)
    except msgspec.ValidationError as error:
        raise _Refused(f"{what} cannot be used: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _Refused(f"{what} is not JSON") from None
    return result


class Stream:
    """One stream of sound in any form, from its first chunk to its end."""

    def __init__(self, listener: Listener, start_ms: float | None) -> None:
        self._listener = listener
        self._start_ms = start_ms
        self._next_sample = 0
        self._form: _Form | None = None
        self._resampler: Resampler | None = None

    def push(self, form: _Form, data: bytes, start_ms: float | None) -> Iterator[list[tuple[Heard, int]]]:
        """Take a chunk, a short while at a time; give each word that it completes, with the time at which it ended."""
        frame = form.width * form.channels
        if len(data) % frame:
            raise _Refused(f"a chunk of {len(data)} bytes is no whole number of samples of {frame} bytes")
        if self._start_ms is None:
            self._start_ms = start_ms
        if form != self._form:
            self._form, self._resampler = form, Resampler(form.rate) if form.rate != SAMPLE_RATE else None
        size = round(SLICE_S * form.rate) * frame
        for first in range(0, len(data), size):
            samples = decode(data[first : first + size], form.width).reshape(-1, form.channels).mean(axis=1)
            yield self._hear(self._resampler.push(samples) if self._resampler else integers(samples))

    def finish(self) -> list[tuple[Heard, int]]:
        """The stream has ended: what quiet after it completes."""
        rest = self._hear(self._resampler.finish()) if self._resampler else []
        return rest + self._timed(self._listener.finish())

    def _hear(self, samples: NDArray[np.int16]) -> list[tuple[Heard, int]]:
        first, self._next_sample = self._next_sample, self._next_sample + len(samples)
        return self._timed(self._listener.push(first, samples))

    def _timed(self, found: Sequence[Heard]) -> list[tuple[Heard, int]]:
        return [(heard, round((self._start_ms or 0) + heard.end_sample * 1000 / SAMPLE_RATE)) for heard in found]


class Service:
    """What all connections share: the model, what it knows, and how many there are."""

    def __init__(
        self,
        model: WakeModel,
        words: Mapping[str, Word],
        refractory_s: float,
        *,
        recogniser: Callable[[], Recogniser | None],
    ) -> None:
        """`recogniser` makes one for each client that may be told who spoke; it gives None where nobody is known."""
        self.connections = 0
        self.recogniser = recogniser
        self.words = words
        self.info = info(model, list(words.values())).event()
        self._model = model
        self._refractory_s = refractory_s
        self._complaint = ""  # the last one logged, so that each is logged once

    def listener(self, names: Sequence[str], memory: Memory | None) -> Listener:
        """For the words of these ids; for all, if no word has any of them. `memory` keeps what it hears."""
        wanted = {name: word for name, word in self.words.items() if word.id in names}
        heard = thresholds(wanted or self.words)
        return Listener(self._model, heard, refractory_s=self._refractory_s, memory=memory)

    def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Connection:
        """A new one."""
        return Connection(self, reader, writer)

    def complain(self, text: str) -> None:
        """Tell the owner, who may be told the same a thousand times."""
        if text != self._complaint:
            log.warning(text)
            self._complaint = text


def info(model: WakeModel, words: Sequence[Word]) -> Info:
    """What `describe` is answered with."""
    models = [
        WakeModelInfo(
            name=word.id,
            attribution=MADE_BY,
            installed=True,
            description=word.name.replace("_", " "),
            version=model.version,
            languages=[word.language] if word.language else [],
            phrase=word.name.replace("_", " "),
        )
        for word in words
    ]
    program = WakeProgram(
        name="wakepulse",
        attribution=MADE_BY,
        installed=True,
        description="wakepulse",
        version=version("wakepulse"),
        models=models,
    )
    return Info(wake=[program])


class Connection(AsyncEventHandler):
    """One client, until it leaves or sends what cannot be used."""

    def __init__(self, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self._service = service
        self._names: Sequence[str] = ()
        self._stream: Stream | None = None
        self._told = False  # of a word in this stream
        self._recogniser: Recogniser | None = None
        self._answers = {
            "describe": self._describe,
            "ping": self._ping,
            "detect": self._detect,
            "audio-start": self._start,
            "audio-chunk": self._chunk,
            "audio-stop": self._stop,
        }

    async def run(self) -> None:
        """Answer events to the end."""
        self._service.connections += 1
        with contextlib.suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError):  # the client is gone
            try:
                self._admit()
                while (event := await read(self.reader)) is not None:
                    await self.handle_event(event)
            except _Refused as refused:
                self._service.complain(f"refused a Wyoming client: {refused}")
                await self.write_event(Error(text=str(refused), code="refused").event())
            finally:
                self._service.connections -= 1
                self.writer.close()

    def _admit(self) -> None:
        if self._service.connections > MAX_CONNECTIONS:
            raise _Refused(f"{MAX_CONNECTIONS} clients are connected already")
        connected = self.writer.get_extra_info("socket")
        if connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
                connected.setsockopt(socket.IPPROTO_TCP, option, DEAD_AFTER_S // 3)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_S * 1000)

    async def handle_event(self, event: Event) -> bool:
        """Answer one event; those that a wake-word service has no use for are passed over."""
        answer = self._answers.get(event.type)
        if answer is not None:
            await answer(event)
        return True

    async def _describe(self, event: Event) -> None:
        await self.write_event(self._service.info)

    async def _ping(self, event: Event) -> None:
        await self.write_event(Pong(text=_of(event, _Text).text).event())

    async def _detect(self, event: Event) -> None:
        self._names = _of(event, _Wanted).names or ()
        self._stream = None

    async def _start(self, event: Event) -> None:
        self._begin(_of(event, _Time).timestamp)

    def _begin(self, start_ms: float | None) -> Stream:
        if self._recogniser is None:
            self._recogniser = self._service.recogniser()
        memory = self._recogniser.memory if self._recogniser else None
        self._told = False
        self._stream = Stream(self._service.listener(self._names, memory), start_ms)
        return self._stream

    async def _chunk(self, event: Event) -> None:
        stream, start_ms = self._stream or self._begin(None), _of(event, _Time).timestamp
        for found in stream.push(_of(event, _Form), event.payload or b"", start_ms):
            await self._tell(found)
            await asyncio.sleep(0)

    async def _stop(self, event: Event) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await self._tell(stream.finish())
        if stream is None or not self._told:
            await self.write_event(NotDetected().event())

    async def _tell(self, found: Sequence[tuple[Heard, int]]) -> None:
        for heard, end_ms in found:
            word = self._service.words[heard.word]
            speakers = self._recogniser.wake(heard) if self._recogniser else ()
            speaker = speakers[0][0] if speakers else None
            answered = not speakers or word.may_say(speaker) or word.marks_strangers
            stranger = "" if answered else ", by somebody who may not say it"
            log.info("heard %s, score %.2f, for a Wyoming client%s", word.id, heard.score, stranger)
            if answered:
                self._told = True
                await self.write_event(Detection(name=word.id, timestamp=end_ms, speaker=speaker).event())


def _of(event: Event, kind: type[T]) -> T:
    return _checked(f"the data of {event.type}", msgspec.convert, event.data, kind)


def serve(service: Service, uri: str, *, announce: bool) -> None:
    """Answer at tcp://HOST:PORT or unix://PATH until SIGINT or SIGTERM; `ServiceError` if that cannot be had."""
    asyncio.run(_serve(service, uri, announce))


async def _serve(service: Service, uri: str, announce: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = _server(uri)
    try:
        await server.start(service.connection)
    except OSError as error:
        raise ServiceError(f"cannot listen at {uri}: {error.strerror or error}") from None
    try:
        async with announced(uri) if announce else contextlib.nullcontext():
            log.info("answering Wyoming at %s", uri)
            await stop.wait()
    finally:
        await server.stop()


def _server(uri: str) -> AsyncServer:
    try:
        if urlsplit(uri).scheme in ("tcp", "unix"):
            return AsyncServer.from_uri(uri)
    except ValueError:  # a port that is none
        pass
    raise ConfigError(f"{uri!r} is no address to answer at; use tcp://HOST:PORT or unix://PATH")
