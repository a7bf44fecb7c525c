"""The Hermes link against a real Mosquitto on a free loopback port."""

import logging
import queue
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemon.config import MqttConfig
from daemon.connection import CONTROL_BYTES
from daemon.link import Link, LinkError, Message
from daemon.outbox import WAITING, Outbox
from tests.mosquitto import Mosquitto, Subscriber

WILL = Message("test/availability", b"offline")
EVENT = "hermes/hotword/computer/detected"


@contextmanager
def logged() -> Iterator[queue.Queue[str]]:
    """What the link logs while the block runs."""
    lines: queue.Queue[str] = queue.Queue()
    handler = logging.Handler()
    handler.emit = lambda record: lines.put(record.getMessage())
    logging.getLogger("daemon.link").addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger("daemon.link").removeHandler(handler)


def link_to(port: int, name: str = "tested", **config: object) -> Link:
    return Link(MqttConfig(host="127.0.0.1", port=port, **config), name=name, will=WILL)


@contextmanager
def running(link: Link) -> Iterator[Link]:
    link.start()
    try:
        yield link
    finally:
        link.stop()


@pytest.fixture
def link(broker: Mosquitto) -> Iterator[Link]:
    with running(link_to(broker.port)) as started:
        yield started


def received(link: Link, messages: list[Message], count: int) -> None:
    """Until `count` messages were handled."""
    deadline = time.monotonic() + 10
    while len(messages) < count and time.monotonic() < deadline:
        link.dispatch()
        threading.Event().wait(0.01)
    assert len(messages) >= count


def test_an_event_arrives_and_is_not_retained(broker: Mosquitto, link: Link) -> None:
    with Subscriber(broker.port, "hermes/#") as subscriber:
        link.event(EVENT, b"{}")
        message = subscriber.next()
    assert (message.topic, message.payload, message.qos, message.retain) == (EVENT, b"{}", 0, False)
    with Subscriber(broker.port, "hermes/#") as late:
        assert late.drain() == []


def test_61_a_state_is_retained_said_once_and_replaced_by_the_will(broker: Mosquitto, link: Link) -> None:
    with Subscriber(broker.port, WILL.topic) as subscriber:
        link.state(WILL.topic, b"a")
        assert subscriber.next().payload == b"a"
        link.state(WILL.topic, b"a")
        link.state(WILL.topic, b"b")
        assert subscriber.next().payload == b"b"
    with Subscriber(broker.port, WILL.topic) as late:
        message = late.next()
        assert (message.payload, message.retain) == (b"b", True)
    link.stop()
    with Subscriber(broker.port, WILL.topic) as later:
        assert later.next().payload == b"offline"


def test_what_waits_for_the_broker_arrives_and_what_went_stale_does_not(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    waiting = link_to(broker.port, "waiting", max_event_age_s=60.0)
    hasty = link_to(broker.port, "hasty", max_event_age_s=1e-6)
    with broker, Subscriber(broker.port, "#") as subscriber:
        for link, topic in ((hasty, "hermes/late"), (waiting, "hermes/early")):
            link.event(topic, b"{}")
            link.state(f"{topic}/state", b"here")
            with running(link):
                subscriber.until(b"here")
        subscriber.drain()
    topics = [message.topic for message in subscriber.seen]
    assert "hermes/early" in topics
    assert "hermes/late" not in topics


def test_41_after_a_restart_of_the_broker_all_is_as_before(broker: Mosquitto) -> None:
    messages: list[Message] = []
    link = link_to(broker.port)
    link.handle("test/command", messages.append)
    with running(link):
        link.state("test/state", b"here")
        with Subscriber(broker.port, "test/state") as subscriber:
            subscriber.until(b"here")
            broker.restart()
        with Subscriber(broker.port, "#") as subscriber:
            subscriber.until(b"here", timeout_s=30)
            link.event(EVENT, b"{}")
            assert subscriber.next().topic == EVENT
            subscriber.publish("test/command", b"again")
            received(link, messages, 1)


def test_49_the_outbox_drops_the_stale_and_the_oldest(caplog: pytest.LogCaptureFixture) -> None:
    box = Outbox(5.0)
    box.put("stale", b"", now=0.0)
    fresh = box.put("fresh", b"", now=3.0)
    assert box.fresh(now=6.0) == [fresh]
    assert "dropped 1" in caplog.text
    fresh.number = 7
    box.acknowledge(8)
    assert box.fresh(now=6.0) == [fresh]
    box.acknowledge(7)
    assert not box
    for number in range(WAITING + 3):
        box.put(str(number), b"", now=6.0)
    assert [event.topic for event in box.fresh(now=6.0)] == [str(n) for n in range(3, WAITING + 3)]


def test_44_a_refusal_is_said_once_and_without_the_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.link.PAUSE_S", (0.1, 6.0))
    with Mosquitto(tmp_path, password=("satellite", "right")) as broker, logged() as lines:
        link = link_to(broker.port, username="satellite", password="wrong-secret")
        with running(link):
            assert "refuses this satellite" in lines.get(timeout=10)
            with pytest.raises(queue.Empty):  # it tries again after 0.2 s and 0.4 s
                lines.get(timeout=1)
    assert "wrong-secret" not in caplog.text


def test_what_is_no_broker_is_said() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    with server, logged() as lines, running(link_to(server.getsockname()[1])):
        server.accept()[0].close()
        assert "no MQTT broker" in lines.get(timeout=10)


NO_TOPIC = b"\x30\x07\xd0\x6a\xbb\x00\x00\xae\x00"  # a message whose topic is longer than it


@pytest.mark.parametrize(
    ("version", "answer"),
    [("3.1.1", b"\x20\x02\x00\x00\x90\x04\x00\x01\x00\x00"), (5, b"\x20\x03\x00\x00\x00\x90\x03\x00\x01\x00")],
)
def test_what_speaks_mqtt_badly_is_said_and_tried_again(
    version: str | int, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.link.PAUSE_S", (0.1, 6.0))
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(10)
    link = link_to(server.getsockname()[1], version=version)
    link.handle("test/command", lambda _: None)
    with server, logged() as lines, running(link):
        for _ in range(2):
            with server.accept()[0] as connection:
                connection.settimeout(10)
                connection.sendall(answer + NO_TOPIC)
                while connection.recv(1000):
                    pass
        link.check()
    said = [lines.get_nowait() for _ in range(lines.qsize())]
    assert sum("subscriptions, not 1: is it an MQTT broker?" in line for line in said) == 2


def test_47_a_dead_link_is_an_error(broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    died = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: died.set())

    def fail() -> None:
        raise ZeroDivisionError

    link = Link(MqttConfig(host="127.0.0.1", port=broker.port), name="tested", will=WILL, notify=fail)
    link.start()
    assert died.wait(10)
    with pytest.raises(LinkError):
        link.check()


def test_40_a_broker_that_comes_late_gets_the_newest_that_fit(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    link = link_to(broker.port, max_event_age_s=60.0)
    for number in range(2 * WAITING):
        link.event(f"hermes/{number}", b"{}")
    with broker, Subscriber(broker.port, "hermes/#") as subscriber:
        with running(link):
            arrived = [subscriber.next().topic for _ in range(WAITING)]
        assert subscriber.drain() == []
    assert arrived == [f"hermes/{number}" for number in range(WAITING, 2 * WAITING)]


def test_52_retained_commands_are_ignored(broker: Mosquitto) -> None:
    messages: list[Message] = []
    link = link_to(broker.port)
    link.handle("test/command", messages.append)
    link.handle("test/wanted", messages.append, retained=True)
    with Subscriber(broker.port, "test/#") as sender:
        for topic in ("test/command", "test/wanted"):
            sender.publish(topic, b"old", retain=True)
        sender.drain()
        with running(link):
            received(link, messages, 1)
            sender.publish("test/command", b"new")
            received(link, messages, 2)
    assert messages == [Message("test/wanted", b"old", True), Message("test/command", b"new")]
    assert link.dropped == {"retained, on test/command": 1}


def peak_kb() -> int:
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


@pytest.mark.parametrize("version", ["3.1.1", 5])
def test_51_a_huge_message_costs_no_memory(broker: Mosquitto, version: str | int) -> None:
    messages: list[Message] = []
    link = link_to(broker.port, version=version)
    link.handle("test/huge", messages.append, retained=True)
    link.handle("test/command", messages.append)
    send = (
        "import sys, paho.mqtt.publish as p; p.single('test/huge', bytes(40_000_000), 1, True, port=int(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", send, str(broker.port)], check=True, timeout=60)
    with Subscriber(broker.port, "test/state") as sender:
        Path("/proc/self/clear_refs").write_text("5")  # let the peak begin anew
        before = peak_kb()
        with running(link):
            link.state("test/state", b"here")
            sender.until(b"here")
            sender.publish("test/command", bytes(CONTROL_BYTES + 1))
            sender.publish("test/command", b"last")
            received(link, messages, 1)
        assert peak_kb() - before < 20_000
    assert messages == [Message("test/command", b"last")]
    too_large = {"too large, on test/command": 1}
    assert link.dropped == (too_large if version == 5 else {"too large, on test/huge": 1, **too_large})
