"""Whether the satellite listens, and what it says of its words, against a real Mosquitto."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.detector import Detection
from daemon.hotword import Hotword
from daemon.link import Link, Message
from daemon.listening import OWN, REASON_LENGTH, REASONS, SWITCH, Listening
from daemon.messages import Command, Query, Toggle, Wake, addressed, detected
from daemon.words import Word
from tests.mosquitto import Mosquitto, Subscriber
from tests.test_link import link_to, running

SITE = "kitchen"
WORD = Word("hey_lyra", "lyra", 0.75, "config", "en")


def wake(**more: object) -> Wake:
    detection = Detection(WORD.name, 0.8, sample=32_000, end_sample=30_400)
    return Wake(detection, WORD, "3", newest_sample=32_080, heard_ns=1_790_000_000_005_000_000, **more)


@contextmanager
def hotword(broker: Mosquitto) -> Iterator[tuple[Hotword, Link, Subscriber]]:
    """A satellite's wake word with a link, and somebody who has seen that it is connected."""
    link = link_to(broker.port)
    made = Hotword(
        SITE,
        link,
        software="1.2.3",
        changed=lambda: link.state("test/off", json.dumps(made.listening.reasons).encode()),
    )
    made.load({WORD.name: WORD}, "3")
    with Subscriber(broker.port, "#") as subscriber, running(link):
        link.state("test/here", b"here")
        subscriber.until(b"here")
        yield made, link, subscriber


def answer(link: Link, subscriber: Subscriber, topic: str, question: bytes) -> tuple[str, object]:
    """The first message after ours on a topic."""
    subscriber.publish(topic, question)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        link.dispatch()
        message = subscriber.poll()
        if message is not None and message.topic != topic and not message.topic.endswith("/loaded"):
            return message.topic, json.loads(message.payload)
    raise TimeoutError(topic)


def test_detected_has_every_field_of_hermes() -> None:
    topic, payload = detected(SITE, wake())
    assert topic == "hermes/hotword/lyra/detected"
    assert json.loads(payload) == {
        "siteId": "kitchen",
        "modelId": "lyra",
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


def test_108_detected_tells_of_speakers_and_of_an_open_session() -> None:
    payload = json.loads(detected(SITE, wake(during_session=True, speakers=[("ana", 0.9), (None, 0.1)]))[1])
    assert payload["duringSession"] is True
    assert payload["customEntities"] == {"speaker": "ana"}
    assert payload["speakerHypotheses"] == [{"name": "ana", "confidence": 0.9}, {"name": None, "confidence": 0.1}]
    assert json.loads(detected(SITE, wake(speakers=[(None, 0.9)]))[1])["customEntities"] is None


def test_55_a_lost_toggle_on_leaves_nobody_deaf() -> None:
    listening = Listening()
    listening.off("dialogueSession", 0.0)
    listening.off("playAudio", 0.0)
    listening.off("dialogueSession", 30.0)
    assert listening.expire(89.9) == []
    assert listening.expire(90.0) == ["dialogueSession"]
    assert not listening
    assert listening.expire(120.0) == ["playAudio"]
    assert listening
    for reason in (OWN, SWITCH, "another program's"):
        listening.off(reason, 0.0)
    assert listening.expire(1e9) == ["another program's"]
    assert listening.reasons == [OWN, SWITCH]


def test_56_reasons_are_kept_apart_and_only_a_person_takes_back_all() -> None:
    listening = Listening()
    for reason in (OWN, "dialogueSession", "ttsSay"):
        listening.off(reason, 0.0)
    listening.on("dialogueSession")
    listening.on("never given")
    assert listening.reasons == [OWN, "ttsSay"]
    listening.on(OWN)
    assert listening
    for number in range(3 * REASONS):
        listening.off(f"{number}" * 1000, 0.0)
    assert len(listening.reasons) <= REASONS + 1
    assert max(map(len, listening.reasons)) <= REASON_LENGTH
    for reason in (OWN, SWITCH):
        listening.off(reason, 0.0)
    listening.expire(1e9)
    assert listening.reasons == [OWN, SWITCH]


def test_toggles_of_snips_and_rhasspy_are_obeyed(broker: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "daemon.hotword"), hotword(broker) as (made, link, subscriber):

        def toggle(way: str, **more: str) -> list[str]:
            topic, reasons = answer(
                link, subscriber, f"hermes/hotword/toggle{way}", json.dumps({"siteId": SITE, **more}).encode()
            )
            assert topic == "test/off"
            return reasons

        assert toggle("Off", reason="dialogueSession") == ["dialogueSession"]
        assert toggle("Off") == ["dialogueSession", ""]
        assert toggle("On", sessionId="snips") == [""]
        assert toggle("Off", sessionId="snips") == ["", "dialogueSession"]
        assert toggle("On") == []
        made.switch(True)
        assert made.listening
    said = [record.getMessage() for record in caplog.records if record.name == "daemon.hotword"]
    assert said[0] == "the wake word is off: 'dialogueSession'"
    assert said[-2:] == ["the wake word is off: 'user', 'dialogueSession'", "the wake word is on again"]
    assert len(said) == 5


def test_questions_are_answered(broker: Mosquitto) -> None:
    with hotword(broker) as (_, link, subscriber):
        model = {"modelId": "lyra", "modelWords": "hey lyra", "modelVersion": "3", "modelType": "universal"}
        question = json.dumps({"siteId": SITE, "id": "q1"}).encode()
        found = answer(link, subscriber, "rhasspy/hotword/getHotwords", question)
        assert found == ("rhasspy/hotword/hotwords", {"models": [model], "siteId": SITE, "id": "q1"})
        for name in ("default", "lyra", SITE):
            found = answer(link, subscriber, f"hermes/hotword/{name}/versionRequest", b"")
            assert found == (f"hermes/hotword/{name}/version", {"version": "1.2.3"})


def test_errors_go_to_snips_and_to_rhasspy(broker: Mosquitto) -> None:
    with hotword(broker) as (made, _, subscriber):
        made.fail("no microphone", "capture")
        wanted = {"error": "no microphone", "siteId": SITE, "context": "capture", "sessionId": None}
        for topic in ("hermes/hotword/default/error", "hermes/error/hotword"):
            assert json.loads(subscriber.on(topic).payload) == wanted


@pytest.mark.parametrize(
    ("site", "payload", "obeyed"),
    [
        ("default", b"{}", True),
        ("default", b'{"siteId": null}', True),
        ("kitchen", b"{}", False),
        ("kitchen", b'{"siteId": "Kitchen"}', False),
        ("kitchen", b'{"siteId": ["kitchen"]}', False),
        ("kitchen", b'{"siteId": "kitchen", "siteId": "hall"}', False),
        ("kitchen", b'{"siteId": "kitchen", "reason": 1}', False),
        ("kitchen", b'{"siteId": "kitchen", "volume": NaN}', False),
        ("kitchen", b'{"siteId": "kitchen", "unknown": {"a": [1]}}', True),
        ("kitchen", b'{"siteId": "kitchen", "a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", False),
        ("kitchen", b'{"siteId": "kitch\\xe9n"}', False),
        ("kitchen", b"[]", False),
        ("kitchen", b"", False),
    ],
)
def test_53_54_only_what_is_meant_for_this_site_and_makes_sense_is_obeyed(
    site: str, payload: bytes, obeyed: bool
) -> None:
    got: list[Command] = []
    addressed(site, Toggle, got.append)(Message("hermes/hotword/toggleOff", payload))
    assert bool(got) == obeyed


HANDLERS = [addressed(SITE, kind, lambda _: None) for kind in (Toggle, Query)]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80) | st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v).encode()))
def test_53_any_bytes_do_no_harm(payload: bytes) -> None:
    for handle in HANDLERS:
        handle(Message("test", payload))
