"""The Hermes link against a real Mosquitto on a free loopback port."""

import json
import logging
import queue
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemon.config import MqttConfig
from daemon.detector import Detection
from daemon.mqtt import WAITING, Hermes, LinkError, Outbox, Wake, availability, detected
from tests.mosquitto import Mosquitto, Subscriber

SITE = "kitchen"


@contextmanager
def logged() -> Iterator[queue.Queue[str]]:
    """What the link logs while the block runs."""
    lines: queue.Queue[str] = queue.Queue()
    handler = logging.Handler()
    handler.emit = lambda record: lines.put(record.getMessage())
    logging.getLogger("daemon.mqtt").addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger("daemon.mqtt").removeHandler(handler)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as running:
        yield running


@pytest.fixture
def hermes(broker: Mosquitto) -> Iterator[Hermes]:
    link = Hermes(SITE, MqttConfig(host="127.0.0.1", port=broker.port))
    link.start()
    yield link
    link.stop()


def wake() -> Wake:
    detection = Detection("computer", 0.8, sample=32_000, end_sample=30_400)
    return Wake(detection, 0.75, "3", "en", newest_sample=32_080, heard_ns=1_790_000_000_005_000_000)


def test_detected_has_every_field_of_hermes() -> None:
    topic, payload = detected(SITE, wake())
    assert topic == "hermes/hotword/computer/detected"
    assert json.loads(payload) == {
        "siteId": "kitchen",
        "modelId": "computer",
        "modelVersion": "3",
        "modelType": "universal",
        "currentSensitivity": 0.25,
        "detectionSignalMs": 1_790_000_000_000,
        "endSignalMs": 1_789_999_999_900,
        "sessionId": None,
        "sendAudioCaptured": None,
        "lang": "en",
        "customEntities": None,
    }


def test_a_detection_arrives_and_is_not_retained(broker: Mosquitto, hermes: Hermes) -> None:
    with Subscriber(broker.port, "hermes/#") as subscriber:
        hermes.publish(*detected(SITE, wake()))
        message = subscriber.next()
    assert (message.topic, message.payload) == detected(SITE, wake())
    assert (message.qos, message.retain) == (0, False)
    with Subscriber(broker.port, "hermes/#") as late:
        assert late.drain() == []


def test_availability_is_retained_and_follows_the_microphone(broker: Mosquitto, hermes: Hermes) -> None:
    with Subscriber(broker.port, availability(SITE)) as subscriber:
        subscriber.until(b"offline")
        hermes.set_online(True)
        subscriber.until(b"online")
        hermes.set_online(False)
        subscriber.until(b"offline")
        hermes.set_online(True)
        subscriber.until(b"online")
    with Subscriber(broker.port, availability(SITE)) as late:
        message = late.next()
        assert (message.payload, message.retain) == (b"online", True)
    hermes.stop()
    with Subscriber(broker.port, availability(SITE)) as later:
        assert later.next().payload == b"offline"


def test_what_waits_for_the_broker_arrives_and_what_went_stale_does_not(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    waiting, hasty = (
        Hermes(site, MqttConfig(host="127.0.0.1", port=broker.port, max_event_age_s=age))
        for site, age in (("waiting", 60.0), ("hasty", 1e-6))
    )
    with broker, Subscriber(broker.port, "#") as subscriber:
        for link, topic in ((hasty, "hermes/late"), (waiting, "hermes/early")):
            link.publish(topic, b"{}")
            link.start()
            link.set_online(True)
        arrived = {subscriber.until(b"online").topic, subscriber.until(b"online").topic}
        assert arrived == {availability("waiting"), availability("hasty")}
        for link in (waiting, hasty):
            link.stop()
        subscriber.drain()
    topics = [message.topic for message in subscriber.seen]
    assert "hermes/early" in topics
    assert "hermes/late" not in topics


def test_the_link_heals_after_the_broker_restarts(broker: Mosquitto, hermes: Hermes) -> None:
    hermes.set_online(True)
    with Subscriber(broker.port, availability(SITE)) as subscriber:
        subscriber.until(b"online")
        broker.restart()
    with Subscriber(broker.port, "#") as subscriber:
        subscriber.until(b"online", timeout_s=30)
        hermes.publish("hermes/hotword/again/detected", b"{}")
        assert subscriber.next().topic == "hermes/hotword/again/detected"


def test_the_outbox_drops_the_stale_and_the_oldest(caplog: pytest.LogCaptureFixture) -> None:
    box = Outbox(5.0)
    box.put("stale", b"", now=0.0)
    box.put("fresh", b"", now=3.0)
    assert box.take(now=6.0) == [("fresh", b"")]
    assert "dropped 1" in caplog.text
    assert box.take(now=6.0) == []
    for number in range(WAITING + 3):
        box.put(str(number), b"", now=6.0)
    assert [topic for topic, _ in box.take(now=6.0)] == [str(n) for n in range(3, WAITING + 3)]


def test_a_refusal_is_said_once_and_without_the_password(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Mosquitto(tmp_path, password=("satellite", "right")) as broker, logged() as lines:
        config = MqttConfig(host="127.0.0.1", port=broker.port, username="satellite", password="wrong-secret")
        link = Hermes(SITE, config)
        link.start()
        assert "refuses this satellite" in lines.get(timeout=10)
        with pytest.raises(queue.Empty):  # it tries again after 1 s and 2 s
            lines.get(timeout=4)
        link.stop()
    assert "wrong-secret" not in caplog.text


def test_what_is_no_broker_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, logged() as lines:
        link = Hermes(SITE, MqttConfig(host="127.0.0.1", port=server.getsockname()[1]))
        link.start()
        server.accept()[0].close()
        assert "no MQTT broker" in lines.get(timeout=10)
        link.stop()


def test_a_dead_client_is_an_error(broker: Mosquitto, hermes: Hermes) -> None:
    with Subscriber(broker.port, availability(SITE)) as subscriber:
        subscriber.until(b"offline")
    hermes.check()
    hermes.stop()
    with pytest.raises(LinkError):
        hermes.check()


def test_a_broker_that_comes_late_gets_the_newest_that_fit(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    link = Hermes(SITE, MqttConfig(host="127.0.0.1", port=broker.port, max_event_age_s=60.0))
    for number in range(2 * WAITING):
        link.publish(f"hermes/{number}", b"{}")
    with broker, Subscriber(broker.port, "hermes/#") as subscriber:
        link.start()
        received = [subscriber.next().topic for _ in range(WAITING)]
        link.stop()
        assert subscriber.drain() == []
    assert received == [f"hermes/{number}" for number in range(WAITING, 2 * WAITING)]
