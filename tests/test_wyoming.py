"""`wakepulse wyoming` as its clients see it: the protocol's own client, on real sockets."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.wake import Detect, Detection, NotDetected
from zeroconf import ServiceBrowser, ServiceInfo, ServiceListener, Zeroconf

from daemon import cli, wyoming
from daemon.announcement import SERVICE
from daemon.features import SAMPLE_RATE
from daemon.listener import Listener
from daemon.people import People, Person
from daemon.recogniser import Recogniser
from daemon.speaker import Voice, word_start
from tests.mosquitto import free_port
from tests.shipped import ROOT, model, sound, speaker_model, word_end

READY_S = 30
ANSWER_S = 20
NEAR_MS = 300
QUIET = np.zeros(SAMPLE_RATE, np.int16)


@contextmanager
def service(folder: Path, uri: str, *arguments: str, more: str = "", kept: str = "") -> Iterator[subprocess.Popen[str]]:
    """A running service that answers at `uri`; its threshold for "computer" is low enough for telephone sound."""
    config = folder / "wyoming.yaml"
    words = f"{{computer: {{threshold: 0.3{kept}}}, smart_mirror: {{id: mirror, language: en-GB}}}}"
    config.write_text(f"wake: {{words: {words}}}\n{more}")
    command = [sys.executable, "-m", "daemon.cli", "wyoming", "--config", str(config), "--uri", uri, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        while "answering" not in (line := process.stderr.readline()):
            assert line, "it ended"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    uri = f"tcp://127.0.0.1:{free_port()}"
    with service(tmp_path_factory.mktemp("wyoming"), uri) as process:
        log = threading.Thread(target=process.stderr.read)  # type: ignore[union-attr]
        log.start()
        yield uri
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        log.join()


def talk(uri: str, what: Callable[[AsyncClient], Coroutine[None, None, None]]) -> None:
    async def connected() -> None:
        async with AsyncClient.from_uri(uri) as client:
            await asyncio.wait_for(what(client), READY_S)

    asyncio.run(connected())


async def answer(client: AsyncClient) -> Event:
    event = await asyncio.wait_for(client.read_event(), ANSWER_S)
    assert event is not None
    return event


def in_form(samples: np.ndarray, rate: int, width: int, channels: int) -> bytes:
    """16 kHz int16 samples in another form."""
    moved = np.interp(np.arange(len(samples) * rate // SAMPLE_RATE) * SAMPLE_RATE / rate, range(len(samples)), samples)
    scaled = np.rint(moved / 65536 * 256**width).astype(np.int64) + (128 if width == 1 else 0)
    raw = np.repeat(scaled, channels).astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width]
    return raw.tobytes()


async def say(
    client: AsyncClient, samples: np.ndarray, form: tuple[int, int, int] = (16000, 2, 1), start_ms: int | None = None
) -> None:
    """A stream from its start to its end, in chunks of about 1000 samples."""
    rate, width, channels = form
    data, size = in_form(samples, rate, width, channels), 1001 * width * channels
    await client.write_event(AudioStart(rate, width, channels, start_ms).event())
    for first in range(0, len(data), size):
        await client.write_event(AudioChunk(rate, width, channels, data[first : first + size]).event())
    await client.write_event(AudioStop().event())


def is_the_word(event: Event, start_ms: int = 0) -> bool:
    heard = Detection.from_event(event)
    end_ms = start_ms + word_end() * 1000 / SAMPLE_RATE
    return Detection.is_type(event.type) and heard.name == "computer" and abs((heard.timestamp or 0) - end_ms) < NEAR_MS


def test_it_describes_its_words(uri: str) -> None:
    async def ask(client: AsyncClient) -> None:
        await client.write_event(Describe().event())
        (program,) = Info.from_event(await answer(client)).wake
        assert program.installed
        assert [known.name.replace("mirror", "smart_mirror") for known in program.models] == list(model().words)
        mirror = next(known for known in program.models if known.name == "mirror")
        assert (mirror.phrase, mirror.installed, mirror.languages) == ("smart mirror", True, ["en-GB"])

    talk(uri, ask)


def test_a_ping_is_answered_while_it_hears(uri: str) -> None:
    async def ask(client: AsyncClient) -> None:
        await client.write_event(AudioStart(16000, 2, 1).event())
        for text in ("hello", None):
            await client.write_event(AudioChunk(16000, 2, 1, QUIET.tobytes()).event())
            await client.write_event(Ping(text).event())
            assert Pong.from_event(await answer(client)).text == text

    talk(uri, ask)


FORMS = [(16000, 2, 1), (16000, 1, 1), (48000, 2, 2), (44100, 4, 1), (22050, 3, 2), (8000, 2, 1)]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_word_is_heard_in_any_form_of_sound(uri: str, form: tuple[int, int, int]) -> None:
    async def ask(client: AsyncClient) -> None:
        await client.write_event(Detect(["computer"]).event())
        await say(client, sound(), form, start_ms=5000)
        assert is_the_word(await answer(client), 5000)

    talk(uri, ask)


def test_every_stream_begins_anew_and_says_when_there_was_nothing(uri: str) -> None:
    async def ask(client: AsyncClient) -> None:
        for _ in range(2):
            await say(client, sound()[: word_end() - SAMPLE_RATE // 2])  # the first half of the word
            assert NotDetected.is_type((await answer(client)).type)
            await say(client, sound())
            assert is_the_word(await answer(client))
        await client.write_event(AudioStop().event())
        assert NotDetected.is_type((await answer(client)).type)

    talk(uri, ask)


def test_only_what_is_asked_for_is_heard_and_an_unknown_name_means_all(uri: str) -> None:
    async def ask(client: AsyncClient) -> None:
        for names, heard in ((["alexa", "nobody"], False), (["nobody"], True), ([], True), (None, True)):
            await client.write_event(Detect(names).event())
            await say(client, sound())
            event = await answer(client)
            assert is_the_word(event) if heard else NotDetected.is_type(event.type)

    talk(uri, ask)


def test_many_connections_do_not_disturb_each_other(uri: str) -> None:
    async def one(late: int) -> None:
        async with AsyncClient.from_uri(uri) as client:
            await say(client, np.concatenate([np.tile(QUIET, late), sound()]))
            assert is_the_word(await answer(client), late * 1000)

    async def all_at_once() -> None:
        await asyncio.wait_for(asyncio.gather(*(one(late) for late in range(8))), 2 * READY_S)

    asyncio.run(all_at_once())


def line(**keys: object) -> bytes:
    return json.dumps(keys).encode() + b"\n"


CHUNK = {"rate": 16000, "width": 2, "channels": 1}


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"GET / HTTP/1.1\r\n", "an event is not JSON"),
        (b"[]\n", "an event cannot be used"),
        (b'{"type": "ping", "data": []}\n', "an event cannot be used"),
        (b'{"type": "\xff"}\n', "an event is not JSON"),
        (b"{" * 100_000, "the first line of an event is longer than"),
        (b'{"type": "ping", "data": ' + b'{"a":' * 10_000 + b"\n", "an event is not JSON"),
        (line(type="ping", data_length=10**12), "data_length"),
        (line(type="audio-chunk", data=CHUNK, payload_length=10**9), "payload_length"),
        (line(type="audio-chunk", data=CHUNK, payload_length=-1), "payload_length"),
        (line(type="ping", data_length=2) + b"[]", "the data of ping cannot be used"),
        (line(type="ping", data={"text": 3}), "text"),
        (line(type="detect", data={"names": "computer"}), "names"),
        (line(type="detect", data={"names": ["a"] * 1000}), "names"),
        (line(type="audio-start", data=CHUNK | {"timestamp": "now"}), "timestamp"),
        (line(type="audio-chunk", data=CHUNK | {"rate": 7}, payload_length=2) + b"ab", "rate"),
        (line(type="audio-chunk", data=CHUNK | {"width": 8}, payload_length=8) + b"abcdefgh", "width"),
        (line(type="audio-chunk", data=CHUNK | {"channels": 0}, payload_length=2) + b"ab", "channels"),
        (line(type="audio-chunk", payload_length=2) + b"ab", "rate"),
        (line(type="audio-chunk", data=CHUNK, payload_length=3) + b"abc", "3 bytes is no whole number of samples"),
    ],
)
def test_what_cannot_be_used_is_refused_and_ends_that_connection_alone(uri: str, sent: bytes, said: str) -> None:
    async def ask(client: AsyncClient) -> None:
        reader, writer = await asyncio.open_connection(*uri.removeprefix("tcp://").split(":"))
        writer.write(sent)
        writer.write_eof()
        head = json.loads(await asyncio.wait_for(reader.readline(), ANSWER_S))
        refusal = Error.from_event(Event(head["type"], json.loads(await reader.readexactly(head["data_length"]))))
        assert said in refusal.text
        assert await reader.read() == b""
        writer.close()
        await client.write_event(Ping("still there").event())
        assert Pong.from_event(await answer(client)).text == "still there"

    talk(uri, ask)


def test_what_it_has_no_use_for_is_passed_over(uri: str) -> None:
    async def ask(client: AsyncClient) -> None:
        await client.write_event(Event("synthesize", {"text": "hello"}, b"payload"))
        await client.write_event(Ping("and on").event())
        assert Pong.from_event(await answer(client)).text == "and on"

    talk(uri, ask)


def test_there_are_so_many_connections_and_no_more(uri: str) -> None:
    address = ("127.0.0.1", int(uri.rpartition(":")[2]))
    crowd = [socket.create_connection(address) for _ in range(wyoming.MAX_CONNECTIONS)]
    for one in crowd:  # each is being answered
        one.sendall(line(type="ping"))
        assert b"pong" in one.recv(1000)

    async def ask(client: AsyncClient) -> None:
        assert "are connected already" in Error.from_event(await answer(client)).text
        crowd.pop().close()
        answered = False
        while not answered:  # as soon as the service has noticed
            async with AsyncClient.from_uri(uri) as another:
                await another.write_event(Ping().event())
                answered = Pong.is_type((await answer(another)).type)

    talk(uri, ask)
    for one in crowd:
        one.close()


def test_a_client_that_leaves_in_the_midst_of_an_event_is_no_trouble(uri: str) -> None:
    for sent in (b'{"type"', line(type="audio-chunk", data=CHUNK, payload_length=1000) + b"abc", line(type="describe")):
        with socket.create_connection(("127.0.0.1", int(uri.rpartition(":")[2]))) as client:
            client.sendall(sent)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not a farewell
    test_a_ping_is_answered_while_it_hears(uri)


def test_a_unix_socket_serves_as_well_and_sigterm_ends_it_under_a_client(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with service(tmp_path, f"unix://{path}") as process:

        async def ask(client: AsyncClient) -> None:
            await say(client, sound())
            assert is_the_word(await answer(client))
            process.send_signal(signal.SIGTERM)
            assert await client.read_event() is None

        talk(f"unix://{path}", ask)
        assert process.wait(10) == 0
        assert "Traceback" not in process.stderr.read()  # type: ignore[union-attr]


def enrol(folder: Path, name: str) -> str:
    """Enrol who says the word in the shipped recording; the configuration that knows them."""
    known = Recogniser(speaker_model, false_acceptance=0.05)
    listener, first, found = Listener(model(), {"computer": 0.3}, refractory_s=1.0, memory=known.memory), 0, []
    while not found:
        found, first = listener.push(first, sound()[first : first + 1280]), first + 1280
    (heard,) = found
    frames = known.memory.since(word_start(speaker_model(), heard.end_sample))
    voice = np.stack([Voice(speaker_model()).embed(frames)] * 3)
    People(folder / "people").write(Person(name, "computer", voice, voice[:0]), speaker_model())
    return f"speakers: {{folder: {folder / 'people'}}}\n"


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        ("", "ana"),
        (", speakers: [ana]", "ana"),
        (", speakers: [eva]", None),
        (", speakers: [eva], strangers: mark", "ana"),
    ],
)
def test_who_spoke_is_told_and_who_may_not_say_it_is_not_answered(tmp_path: Path, kept: str, told: str | None) -> None:
    path = tmp_path / "socket"
    with service(tmp_path, f"unix://{path}", more=enrol(tmp_path, "ana"), kept=kept):

        async def ask(client: AsyncClient) -> None:
            await say(client, sound())
            event = await answer(client)
            assert is_the_word(event) if told else NotDetected.is_type(event.type)
            assert not told or Detection.from_event(event).speaker == told

        talk(f"unix://{path}", ask)


class Found(ServiceListener):
    """What is announced, and what is gone again."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.changed = threading.Condition()

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        with self.changed:
            self.names.add(name)
            self.changed.notify_all()

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        with self.changed:
            self.names.discard(name)
            self.changed.notify_all()

    def update_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        pass

    def wait(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.names) == count, READY_S)


def test_it_is_found_in_the_network_while_it_answers(tmp_path: Path) -> None:
    port, found = free_port(), Found()
    with Zeroconf(interfaces=["127.0.0.1"]) as network:
        with service(tmp_path, f"tcp://127.0.0.1:{port}", "--zeroconf") as process:
            browser = ServiceBrowser(network, SERVICE, found)
            found.wait(1)
            told = ServiceInfo(SERVICE, next(iter(found.names)))
            assert told.request(network, READY_S * 1000)
            assert (told.port, told.parsed_addresses()) == (port, ["127.0.0.1"])
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        found.wait(0)
        browser.cancel()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--uri", "http://127.0.0.1:80"], 78, "use tcp://HOST:PORT or unix://PATH"),
        (["--uri", "tcp://127.0.0.1"], 78, "use tcp://HOST:PORT or unix://PATH"),
        (["--uri", "tcp://127.0.0.1:99999999"], 78, "use tcp://HOST:PORT or unix://PATH"),
        (["--uri", "stdio://"], 78, "use tcp://HOST:PORT or unix://PATH"),
        (["--uri", "tcp://203.0.113.1:10400"], 1, "cannot listen at tcp://203.0.113.1:10400"),
        (["--uri", "unix:///nowhere/socket"], 1, "cannot listen at unix:///nowhere/socket"),
        (["--uri", "unix://{folder}/socket", "--zeroconf"], 78, "cannot be announced"),
    ],
)
def test_what_cannot_be_had_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, said: str
) -> None:
    assert cli.main(["wyoming", *(argument.format(folder=tmp_path) for argument in arguments)]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_without_its_package_it_says_what_to_install() -> None:
    command = "import sys; sys.modules['wyoming'] = None; from daemon import cli; sys.exit(cli.main(['wyoming']))"
    ended = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=READY_S)
    assert ended.returncode == 78
    assert "install wakepulse[wyoming]" in ended.stderr
