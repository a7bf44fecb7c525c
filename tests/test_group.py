"""Satellites of one group on a real Mosquitto: one answers, whoever hears a word at once or late."""

import itertools
import json
import math
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from paho.mqtt.client import MQTTMessage, topic_matches_sub

from daemon.detector import Detection
from daemon.features import SAMPLE_RATE
from daemon.group import ROUNDS, WINDOW_S, Group, claims
from daemon.messages import Wake
from daemon.words import Word
from tests.mosquitto import Mosquitto, Subscriber
from tests.shipped import MODEL, ROOT, sound, word_end
from tests.test_link import link_to

SITES = ["attic", "bath", "cellar", "den", "hall"]
WORD = Word("lyra", "lyra", 0.5, "model", "en")
CLAIMS = claims("home")
READY_S = 60
MARKS = itertools.count()
BLOCK = SAMPLE_RATE * 8 // 100


def wake(word: Word = WORD) -> Wake:
    detection = Detection(word.name, 0.87654, sample=32_000, end_sample=30_400)
    return Wake(detection, word, "3", newest_sample=32_080, heard_ns=1_790_000_000_005_000_000)


class Member:
    """A satellite's part in the group, with a thread that dispatches, as the satellite's own does."""

    def __init__(self, site: str, broker: Mosquitto) -> None:
        self.site = site
        self.lost: queue.Queue[tuple[str, str, float]] = queue.Queue()
        self._rung = threading.Event()
        self._ended = False
        self.link = link_to(broker.port, name=site)
        self.link._notify = self._rung.set
        self.won = 0
        self.group = Group(site, "home", self.link, won=self._on_won, lost=self._on_lost)
        self.marks: queue.Queue[bytes] = queue.Queue()
        self.link.handle("test/marker", lambda message: self.marks.put(message.payload))
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Member":
        self.link.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._rung.set()
        self._thread.join()
        self.link.stop()

    def _on_won(self) -> None:
        self.won += 1

    def _on_lost(self, word: str, first: str) -> None:
        self.lost.put((word, first, time.monotonic()))

    def _run(self) -> None:
        while not self._ended:
            self._rung.wait()
            self._rung.clear()
            with self._lock:
                self.link.dispatch()

    def hear(self, word: Word = WORD) -> str | None:
        """Claim a word; the site that was first, if this one has to stay silent."""
        with self._lock:
            return self.group.claim(wake(word), -23.5)


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A round lasts however slow this machine is."""
    monkeypatch.setattr("daemon.group.WINDOW_S", math.inf)
    return monkeypatch


@contextmanager
def members(broker: Mosquitto, sites: list[str]) -> Iterator[tuple[list[Member], Subscriber]]:
    """Satellites that are all connected, and what they say."""
    with ExitStack() as running:
        subscriber = running.enter_context(Subscriber(broker.port, "#"))
        found = [running.enter_context(Member(site, broker)) for site in sites]
        for member in found:
            member.link.state(f"here/{member.site}", b"")
        for _ in found:
            subscriber.on("here/+")
        yield found, subscriber


def test_104_105_the_first_of_five_that_hear_a_word_at_once_wins(
    broker: Mosquitto, endless: pytest.MonkeyPatch
) -> None:
    with members(broker, SITES) as (found, subscriber):
        start, answers = threading.Barrier(len(found)), {}

        def hear(member: Member) -> None:
            start.wait()
            answers[member.site] = (member.hear(), time.monotonic())

        threads = [threading.Thread(target=hear, args=[member]) for member in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spoke = [member for member in found if answers[member.site][0] is None]
        order = []
        while len(order) < len(spoke):
            order.append(json.loads(subscriber.on(CLAIMS).payload)["siteId"])
        assert {member.site for member in spoke} == set(order)
        assert {silenced for silenced, _ in answers.values()} <= {None, order[0]}
        for member in spoke:
            if member.site != order[0]:
                word, first, at = member.lost.get(timeout=READY_S)
                assert (word, first) == (WORD.id, order[0])
                assert at - answers[member.site][1] < WINDOW_S
        for member in found:
            knows(member, by=found[0])
        assert all(member.lost.empty() for member in found)
        assert {member.site: member.won for member in found if member.won} == {order[0]: 1}


def knows(member: Member, by: Member) -> None:
    """Wait until a member has handled all that another has said."""
    mark = b"%d" % next(MARKS)
    by.link.stream("test/marker", mark)
    while member.marks.get(timeout=READY_S) != mark:
        pass


def test_106_who_hears_it_later_says_nothing_until_the_next_time(
    broker: Mosquitto, endless: pytest.MonkeyPatch
) -> None:
    other = Word("other", "other", 0.5, "model", None)
    with members(broker, SITES[:2]) as ((first, second), subscriber):
        assert first.hear() is None
        assert json.loads(subscriber.on(CLAIMS).payload) == {
            "siteId": "attic",
            "modelId": "lyra",
            "score": 0.8765,
            "levelDb": -23.5,
            "detectionSignalMs": 1790000000000,
            "endSignalMs": 1789999999900,
        }
        knows(second, by=first)
        assert first.hear() is None  # it may say so again
        knows(first, by=first)
        knows(second, by=first)
        assert (first.won, second.won) == (2, 0)
        assert second.hear() == "attic"
        assert second.hear(other) is None
        endless.setattr("daemon.group.WINDOW_S", 0.0)
        assert second.hear() is None
        knows(first, by=second)
        knows(second, by=second)
        endless.setattr("daemon.group.WINDOW_S", math.inf)
        assert first.hear() == "bath"
        later = [message.payload for message in subscriber.drain() if message.topic == CLAIMS]
        assert [json.loads(payload)["modelId"] for payload in later] == ["lyra", "other", "lyra"]
        assert first.lost.empty() and second.lost.empty()


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"\xff", b"[" * 10_000, b'{"siteId": "bath"}', b'{"siteId": "", "modelId": "lyra"}',
     b'{"siteId": "bath", "modelId": "lyra", "score": 1e300}', b'{"siteId": "bath", "modelId": 7}'],
)  # fmt: skip
def test_what_is_no_claim_silences_nobody(broker: Mosquitto, payload: bytes) -> None:
    with members(broker, SITES[:2]) as ((first, second), _):
        second.link.stream(CLAIMS, payload)
        knows(first, by=second)
        assert first.hear() is None


def test_a_retained_claim_silences_nobody_and_many_take_no_room(broker: Mosquitto) -> None:
    with Subscriber(broker.port, "#") as subscriber:
        subscriber.publish(CLAIMS, b'{"siteId": "bath", "modelId": "lyra"}', retain=True)
        subscriber.drain()
    with members(broker, SITES[:2]) as ((first, second), _):
        assert first.hear() is None
        for number in range(2 * ROUNDS):
            second.link.stream(CLAIMS, json.dumps({"siteId": "bath", "modelId": str(number)}).encode())
        knows(first, by=second)
        assert len(first.group._winners) <= ROUNDS


def test_whoever_has_no_broker_answers(broker: Mosquitto) -> None:
    alone = Member("attic", broker)
    assert alone.hear() is None
    assert alone.won == 1


class Room:
    """What satellites hear that listen to their standard input: quiet in real time, and what is said in it."""

    def __init__(self, processes: Iterable[subprocess.Popen[bytes]]) -> None:
        self._ears = [process.stdin for process in processes]
        self._said: queue.Queue[np.ndarray] = queue.Queue()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Room":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    def say(self, samples: np.ndarray) -> None:
        for first in range(0, len(samples), BLOCK):
            self._said.put(samples[first : first + BLOCK])

    def _run(self) -> None:
        while not self._left.wait(BLOCK / SAMPLE_RATE):
            block = np.zeros(BLOCK) if self._said.empty() else self._said.get()
            for ear in self._ears:
                ear.write(block.astype("<i2").tobytes())
                ear.flush()


class Hub:
    """A dialogue manager that opens a session for whoever says to have heard a word, and asks for the sound."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber
        self.heard: dict[str, float] = {}  # when each site said so
        self.cancelled: dict[str, float] = {}
        self.ended: set[str] = set()  # sites that have ended their sessions
        self.asked: set[str] = set()  # sites that have told their versions

    def until(self, true: Callable[[], bool]) -> None:
        """Answer until this is true."""
        while not true():
            self._answer(self._subscriber.next(READY_S))

    def _answer(self, message: MQTTMessage) -> None:
        topic = message.topic
        if topic_matches_sub("hermes/hotword/+/detected", topic):
            site = json.loads(message.payload)["siteId"]
            self.heard[site] = message.timestamp
            session = json.dumps({"siteId": site, "sessionId": site}).encode()
            self._subscriber.publish("hermes/dialogueManager/sessionStarted", session)
            self._subscriber.publish("hermes/asr/startListening", session)
        elif topic_matches_sub("wakepulse/+/cancelled", topic):
            self.cancelled[topic.split("/")[1]] = message.timestamp
        elif topic == "hermes/dialogueManager/endSession":
            self.ended.add(json.loads(message.payload)["sessionId"])
        elif topic_matches_sub("hermes/hotword/+/version", topic):
            self.asked.add(topic.split("/")[2])


@contextmanager
def satellites(folder: Path, port: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Running satellites of one group that hear what is written to them."""
    with ExitStack() as running:
        processes = []
        for site in SITES:
            config = folder / f"{site}.yaml"
            heard = f"audio: {{source: stdin}}\nwake: {{model: {MODEL}}}\nmqtt: {{host: 127.0.0.1, port: {port}}}\n"
            config.write_text(f"site_id: {site}\ngroup: home\n{heard}")
            command = [sys.executable, "-m", "daemon.cli", "run", "--config", str(config)]
            pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            processes.append(running.enter_context(subprocess.Popen(command, cwd=ROOT, **pipes)))
            running.callback(processes[-1].kill)
        yield processes


def test_five_satellites_answer_one_word_once(tmp_path: Path, broker: Mosquitto) -> None:
    with (
        Subscriber(broker.port, "#") as subscriber,
        satellites(tmp_path, broker.port) as processes,
        Room(processes) as room,
    ):
        online = set()
        while len(online) < len(SITES):
            message = subscriber.on("wakepulse/+/availability", READY_S)
            online |= {message.topic} if message.payload == b"online" else set()
        hub = Hub(subscriber)
        room.say(np.concatenate([np.zeros(2 * SAMPLE_RATE), sound()[word_end() - SAMPLE_RATE : word_end()]]))
        hub.until(lambda: bool(hub.heard) and len(hub.heard) == len(hub.cancelled) + 1)
        for site in SITES:  # who answers this has handled all claims
            subscriber.publish(f"hermes/hotword/{site}/versionRequest", b"")
        hub.until(lambda: hub.asked == set(SITES) and hub.ended >= set(hub.cancelled))
        (winner,) = set(hub.heard) - set(hub.cancelled)
        assert hub.ended == set(hub.cancelled)
        for site, at in hub.cancelled.items():
            assert at - hub.heard[site] < WINDOW_S
        subscriber.drain()
        frames = [subscriber.on("hermes/audioServer/+/audioFrame").topic.split("/")[2] for _ in range(20)]
        assert set(frames) == {winner}
