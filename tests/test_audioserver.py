"""Sound leaves after the wake word, on request, from its end on, and never otherwise; against a real Mosquitto."""

import json
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import paho.mqtt.client as paho
from rhasspyhermes.asr import AsrStartListening, AsrStopListening
from rhasspyhermes.audioserver import AudioFrame, AudioSessionFrame, AudioSummary, SummaryToggleOff, SummaryToggleOn
from rhasspyhermes.base import Message as Theirs

from daemon.audioserver import AudioServer
from daemon.clock import StreamClock
from daemon.config import HermesConfig
from daemon.dialogue import ANSWER_S, OPEN_S, Dialogue
from daemon.features import SAMPLE_RATE
from daemon.frames import FRAME
from daemon.recent import Recent
from daemon.streams import ASK_S, STREAM_S, STREAMS, Streams
from tests.mosquitto import Mosquitto, Subscriber
from tests.test_frames import chunks, sound_of
from tests.test_link import link_to, running

SITE = "kitchen"
START_NS = 1_790_000_000 * 10**9
BLOCK = 1280
NOISE = np.random.default_rng(3).integers(-3000, 3000, 60 * SAMPLE_RATE).astype(np.int16)
FRAMES = f"hermes/audioServer/{SITE}/audioFrame"
REPLAY = f"hermes/audioServer/{SITE}/replayResponse"


class Room:
    """A satellite's audio server, the broker, and somebody who hears `NOISE` block by block."""

    def __init__(self, broker: Mosquitto, config: HermesConfig) -> None:
        self.done = self.marks = 0
        self._here = Subscriber(broker.port, "test/here")
        self.link = link_to(broker.port, max_event_age_s=60.0)
        self.audio = AudioServer(SITE, self.link, config, software="1.2.3", done=self._count)
        self.sample = 0

    def _count(self) -> None:
        self.done += 1

    def hear(self, seconds: float, loud: float = 1.0) -> None:
        for _ in range(round(seconds * SAMPLE_RATE) // BLOCK):
            block = (NOISE[self.sample : self.sample + BLOCK] * loud).astype(np.int16)
            self.audio.hear(self.sample, block, START_NS + (self.sample + BLOCK) * 10**9 // SAMPLE_RATE)
            self.sample += BLOCK

    def said(self, hub: Subscriber) -> list[paho.MQTTMessage]:
        """What the hub got since it was asked last; a state of ours that went out after it proves that this is all."""
        self.marks += 1
        self.link.state("test/here", str(self.marks).encode())
        self._here.until(str(self.marks).encode())
        return hub.drain()

    def tell(self, hub: Subscriber, message: Theirs | tuple[str, dict], obeyed: Callable[[], bool]) -> None:
        """Let the hub say something, and wait until it is obeyed."""
        topic, payload = (message.topic(), message.payload()) if isinstance(message, Theirs) else message
        hub.publish(topic, (payload if isinstance(payload, str) else json.dumps(payload)).encode())
        deadline = time.monotonic() + 10
        while not obeyed():
            assert time.monotonic() < deadline
            self.link.dispatch()


@contextmanager
def room(broker: Mosquitto, topic: str, **config: object) -> Iterator[tuple[Room, Subscriber]]:
    """With a hub that sees the topic, and knows that the satellite is there."""
    made = Room(broker, HermesConfig(**config))
    with Subscriber(broker.port, topic) as hub, made._here, running(made.link):
        made.said(hub)
        yield made, hub


def heard(messages: list) -> np.ndarray:
    return np.concatenate([sound_of(bytes(message.payload)) for message in messages])


def listening(made: Room) -> Callable[[], bool]:
    return lambda: bool(made.audio.streams)


def silent(made: Room) -> Callable[[], bool]:
    return lambda: not made.audio.streams


def test_what_follows_the_word_is_in_the_first_frames(broker: Mosquitto) -> None:
    end = 5 * SAMPLE_RATE + 123
    with room(broker, FRAMES) as (made, hub):
        made.hear(6)
        assert made.said(hub) == []
        made.audio.woken(end)
        made.hear(1)
        made.tell(hub, AsrStartListening(site_id=SITE, session_id="s"), listening(made))
        made.hear(2)
        stopped = made.sample
        made.tell(hub, AsrStopListening(site_id=SITE, session_id="s"), silent(made))
        made.hear(2)
        frames = made.said(hub)
    assert made.done == 1
    assert all(AudioFrame.get_site_id(frame.topic) == SITE for frame in frames)
    sound = heard(frames)
    np.testing.assert_array_equal(sound, NOISE[end : end + len(sound)])
    assert 0 <= stopped - end - len(sound) < FRAME
    times = [struct.unpack("<Q", chunks(bytes(frame.payload))[b"time"])[0] for frame in frames]
    assert times[0] == made.audio.clock.ms(end)
    assert set(np.diff(times)) == {16}


def test_startlistening_alone_begins_there_and_then(broker: Mosquitto) -> None:
    with room(broker, FRAMES, frames="plain") as (made, hub):
        made.hear(3)
        early = {"siteId": SITE, "startSignalMs": made.audio.clock.ms(SAMPLE_RATE)}
        begin = made.sample
        made.tell(hub, ("hermes/asr/startListening", early), listening(made))
        made.hear(1)
        frames = made.said(hub)
    assert {len(frame.payload) for frame in frames} == {44 + 2 * FRAME}
    np.testing.assert_array_equal(heard(frames), NOISE[begin:][: len(frames) * FRAME])


def test_a_wanted_start_is_kept_where_it_may_be(broker: Mosquitto) -> None:
    with room(broker, FRAMES) as (made, hub):
        made.hear(5)
        made.audio.woken(3 * SAMPLE_RATE)
        wanted = {"siteId": SITE, "startSignalMs": made.audio.clock.ms(4 * SAMPLE_RATE)}
        made.tell(hub, ("hermes/asr/startListening", wanted), listening(made))
        made.hear(1)
        np.testing.assert_array_equal(heard(made.said(hub))[:FRAME], NOISE[4 * SAMPLE_RATE :][:FRAME])


def test_each_session_has_its_own_frames_where_that_is_asked_for(broker: Mosquitto) -> None:
    with room(broker, f"hermes/audioServer/{SITE}/+/audioSessionFrame", session_frames=True) as (made, hub):
        made.hear(1)
        made.tell(hub, AsrStartListening(site_id=SITE, session_id="s1"), listening(made))
        made.hear(1)
        frames = made.said(hub)
    assert {AudioSessionFrame.get_session_id(frame.topic) for frame in frames} == {"s1"}
    assert len(frames) == 12 * BLOCK // FRAME


def test_a_replay_holds_what_followed_the_word_and_nothing_before(broker: Mosquitto) -> None:
    with room(broker, REPLAY) as (made, hub):
        made.hear(4)
        made.audio.woken(3 * SAMPLE_RATE)
        for start, first in ((3.5, 3.5), (0, 3)):
            begin = made.audio.clock.ms(round(start * SAMPLE_RATE))
            question = {"requestId": "rq81", "startAtMs": begin, "siteId": SITE}
            made.tell(
                hub, (f"hermes/audioServer/{SITE}/replayRequest", question), lambda: bool(made.audio.streams._answers)
            )
            wanted = NOISE[round(first * SAMPLE_RATE) : made.sample]
            made.hear(1)
            frames = made.said(hub)
            sound = heard(frames)
            np.testing.assert_array_equal(sound, wanted[: len(sound)])
            assert len(wanted) - len(sound) < FRAME
            left = [struct.unpack("<I", chunks(bytes(frame.payload))[b"rprf"])[0] for frame in frames]
            assert left == list(range(len(frames), 0, -1))
            assert {chunks(bytes(frame.payload))[b"rpid"] for frame in frames} == {b"rq81"}


def test_without_a_wake_word_there_is_no_replay(broker: Mosquitto) -> None:
    with room(broker, "#") as (made, hub):
        made.hear(4)
        made.link.dispatch()
        made.said(hub)
        hub.publish(
            f"hermes/audioServer/{SITE}/replayRequest",
            json.dumps({"requestId": "r", "startAtMs": 1, "siteId": SITE}).encode(),
        )
        deadline = time.monotonic() + 10
        topics: set[str] = set()
        while len(topics) < 3 and time.monotonic() < deadline:
            made.link.dispatch()
            topics |= {message.topic for message in made.said(hub)} - {"test/here"}
        made.hear(1)
        topics |= {message.topic for message in made.said(hub)} - {"test/here"}
    errors = {f"hermes/audioServer/{SITE}/error", "hermes/error/audioServer/record"}
    assert topics == {f"hermes/audioServer/{SITE}/replayRequest", *errors}


def test_a_closed_microphone_leaves_nothing(broker: Mosquitto) -> None:
    with room(broker, "hermes/audioServer/#") as (made, hub):
        made.hear(2)
        made.audio.woken(SAMPLE_RATE)
        made.tell(hub, AsrStartListening(site_id=SITE), listening(made))
        made.said(hub)
        made.audio.forget()
        made.hear(1)
        assert made.said(hub) == []
        made.tell(hub, AsrStartListening(site_id=SITE), listening(made))
        begin = made.sample
        made.hear(0.5)
        np.testing.assert_array_equal(heard(made.said(hub))[:FRAME], NOISE[begin:][:FRAME])


def test_a_stream_that_nobody_ends_ends_by_itself() -> None:
    streams, recent, sent = fresh()
    assert streams.start("t", "a", None, 0.0)
    assert streams.start("t", "b", None, 30.0)
    assert streams.expire(STREAM_S) == ["a"]
    assert streams
    assert streams.expire(STREAM_S + 30) == ["b"]
    recent.push(recent.next_sample, NOISE[:SAMPLE_RATE])
    streams.leave("r")
    assert sent == [] and not streams


def test_a_start_in_the_future_is_now() -> None:
    streams, recent, sent = fresh()
    recent.push(0, NOISE[:SAMPLE_RATE])
    streams.start("t", "a", 20 * SAMPLE_RATE, 0.0)
    recent.push(SAMPLE_RATE, NOISE[SAMPLE_RATE:][:FRAME])
    streams.leave("r")
    np.testing.assert_array_equal(np.concatenate([sound_of(frame) for frame in sent]), NOISE[SAMPLE_RATE:][:FRAME])


def test_the_window_after_a_word_closes_by_itself_and_with_the_last_stream() -> None:
    streams, recent, sent = fresh()
    recent.push(0, NOISE[: 5 * SAMPLE_RATE])
    streams.woken(SAMPLE_RATE, 0.0)
    streams.expire(ASK_S)
    streams.start("t", None, None, ASK_S)
    streams.leave("r")
    assert sent == []  # it begins now
    streams.woken(4 * SAMPLE_RATE, 20.0)  # while somebody listens: for whoever asks next
    streams.stop(None)
    streams.start("t", None, None, 21.0)
    streams.leave("r")
    np.testing.assert_array_equal(sound_of(sent[0]), NOISE[4 * SAMPLE_RATE :][:FRAME])
    streams.stop(None)
    assert not streams.replay("x", 0)


def test_streams_are_bounded() -> None:
    streams, _, _ = fresh()
    for number in range(3 * STREAMS):
        streams.start(f"t{number}", None, None, 0.0)
        streams.start("t0", str(number), None, 0.0)
    assert len(streams._streams) == STREAMS and len(streams._streams["t0"].ends) == STREAMS


def fresh() -> tuple[Streams, Recent, list[bytes]]:
    recent, sent = Recent(), []
    return Streams(recent, StreamClock(), lambda _, payload: sent.append(payload), timed=True), recent, sent


def test_summaries_are_told_while_they_are_asked_for(broker: Mosquitto) -> None:
    with room(broker, f"hermes/audioServer/{SITE}/audioSummary") as (made, hub):
        made.hear(1)
        made.tell(hub, SummaryToggleOn(site_id=SITE), lambda: made.audio._summaries)
        made.hear(1)
        summaries = [AudioSummary.from_json(message.payload) for message in made.said(hub)]
        made.tell(hub, SummaryToggleOff(site_id=SITE), lambda: not made.audio._summaries)
        made.hear(1)
        assert made.said(hub) == []
    assert len(summaries) == 3
    assert all(2000 < summary.debiased_energy < 3000 for summary in summaries)


def test_speech_is_told_where_that_is_asked_for(broker: Mosquitto) -> None:
    with room(broker, "hermes/voiceActivity/#", voice_activity=True) as (made, hub):
        made.hear(1, loud=1 / 200)
        begins = made.sample
        made.hear(1)
        (up,) = made.said(hub)
    assert up.topic == f"hermes/voiceActivity/{SITE}/vadUp"
    assert json.loads(up.payload) == {"siteId": SITE, "signalMs": made.audio.clock.ms(begins)}


def test_57_sessions_in_any_order_and_number() -> None:
    dialogue = Dialogue()
    dialogue.started("a", 0.0)
    dialogue.started("a", 1.0)
    dialogue.ended("a")
    assert not dialogue.open
    dialogue.ended("b")
    dialogue.started("b", 2.0)  # the start was overtaken
    assert not dialogue.open
    for number in range(1000):
        dialogue.started(str(number), 3.0)
    assert len(dialogue._ends) < 100
    dialogue.expire(3.0 + OPEN_S)
    assert not dialogue.open


def test_59_109_a_wake_word_that_nobody_answers_is_noticed_once() -> None:
    dialogue = Dialogue()
    dialogue.woken(0.0)
    assert not dialogue.expire(2 * ANSWER_S)  # nobody ever answers here
    dialogue.woken(100.0)
    dialogue.started("a", 101.0)
    assert not dialogue.expire(200.0)
    dialogue.woken(300.0)
    assert not dialogue.expire(300.0 + ANSWER_S - 0.1)
    assert dialogue.expire(300.0 + ANSWER_S)
    assert not dialogue.expire(300.0 + 2 * ANSWER_S)
