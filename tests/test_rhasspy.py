"""A hub that speaks through Rhasspy's own package: it understands all that the satellite says, and is obeyed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
import pytest
from rhasspyhermes import asr, audioserver, dialogue, wake
from rhasspyhermes.base import Message

from daemon.features import SAMPLE_RATE
from tests.mosquitto import Mosquitto, Subscriber
from tests.shipped import MODEL, ROOT, sound, word_end
from tests.test_frames import sound_of
from tests.test_satellite import READY_S, mqtt

SITE = "kitchen"
CLASSES = (
    wake.HotwordDetected,
    wake.HotwordError,
    wake.Hotwords,
    wake.HotwordExampleRecorded,
    audioserver.AudioFrame,
    audioserver.AudioSessionFrame,
    audioserver.AudioSummary,
    audioserver.AudioDevices,
    audioserver.AudioRecordError,
    audioserver.AudioPlayFinished,
)
SNIPS_ALONE = (
    "hermes/hotword/+/loaded",
    "hermes/hotword/+/error",
    "hermes/hotword/+/version",
    f"hermes/audioServer/{SITE}/loaded",
    f"hermes/audioServer/{SITE}/error",
    f"hermes/audioServer/{SITE}/replayResponse",
    f"hermes/voiceActivity/{SITE}/vadUp",
    f"hermes/voiceActivity/{SITE}/vadDown",
)
NOISE = np.random.default_rng(5).integers(-3000, 3000, SAMPLE_RATE).astype(np.int16)


class Hub:
    """Says what Rhasspy says, feeds the satellite with sound, and keeps what came back."""

    def __init__(self, subscriber: Subscriber, process: subprocess.Popen[bytes]) -> None:
        self._subscriber, self._process = subscriber, process
        self.said: set[str] = set()
        self.answers: list[paho.MQTTMessage] = []

    def hear(self, samples: np.ndarray) -> None:
        assert self._process.stdin
        self._process.stdin.write(samples.astype("<i2").tobytes())
        self._process.stdin.flush()

    def say(self, message: Message) -> None:
        self.said.add(message.topic())
        self._subscriber.publish(message.topic(), message.payload().encode())

    def until(self, kind: type[Message], true: Callable[[Message], bool] = lambda _: True) -> Message:
        """The next message of a class; the satellite hears silence meanwhile."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            message = self._subscriber.poll()
            if message is None:
                self.hear(np.zeros(1280, np.int16))
                continue
            self.answers.append(message)
            if kind.is_topic(message.topic) and true(found := decoded(kind, message)):
                return found
        raise TimeoutError(kind.__name__)

    def state(self, true: Callable[[dict], bool]) -> None:
        """Until the satellite's state is so."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            message = self._subscriber.poll()
            if message is None:
                self.hear(np.zeros(1280, np.int16))
                continue
            self.answers.append(message)
            if message.topic == f"wakepulse/{SITE}/state" and true(json.loads(message.payload)):
                return
        raise TimeoutError("state")


def decoded(kind: type[Message], message: paho.MQTTMessage) -> Message:
    """As Rhasspy decodes it."""
    return kind(bytes(message.payload)) if kind.is_binary_payload() else kind.from_json(message.payload)


@contextmanager
def hub(folder: Path, **config: object) -> Iterator[Hub]:
    path = folder / "satellite.yaml"
    with Mosquitto(folder) as broker, Subscriber(broker.port, "#") as subscriber:
        path.write_text(
            f"site_id: {SITE}\naudio: {{source: stdin}}\nwake: {{model: {MODEL}}}\n{mqtt(broker.port)}"
            f"hermes: {json.dumps(config)}\n"
        )
        command = [sys.executable, "-m", "daemon.cli", "run", "--config", str(path)]
        with subprocess.Popen(command, cwd=ROOT, env=os.environ, stdin=subprocess.PIPE) as process:
            made = Hub(subscriber, process)
            made.state(lambda state: state["listening"])
            yield made
            assert process.stdin
            process.stdin.close()
            assert process.wait(READY_S) == 0
        made.answers += subscriber.drain()
    for message in made.answers:
        if message.topic in made.said or message.topic.startswith("wakepulse/"):
            continue
        kinds = [kind for kind in CLASSES if kind.is_topic(message.topic)]
        if kinds:
            decoded(kinds[0], message)
        else:
            assert any(paho.topic_matches_sub(topic, message.topic) for topic in SNIPS_ALONE), message.topic


@pytest.mark.parametrize("session_frames", [False, True])
def test_a_dialogue_from_the_wake_word_to_its_end(tmp_path: Path, session_frames: bool) -> None:
    frame = audioserver.AudioSessionFrame if session_frames else audioserver.AudioFrame
    with hub(tmp_path, session_frames=session_frames, send_audio_captured=True) as made:
        made.hear(sound())
        heard = made.until(wake.HotwordDetected)
        assert (heard.site_id, heard.model_id, heard.send_audio_captured) == (SITE, "computer", True)
        made.say(dialogue.DialogueSessionStarted(session_id="s", site_id=SITE))
        made.say(wake.HotwordToggleOff(site_id=SITE, reason=wake.HotwordToggleReason.DIALOGUE_SESSION))
        made.state(lambda state: state["off"] == ["dialogueSession"])
        made.say(asr.AsrStartListening(site_id=SITE, session_id="s", wakeword_id="computer"))
        first = made.until(frame)
        after = sound()[word_end() - SAMPLE_RATE // 2 :]  # the word's end, as the satellite saw it, is near ours
        windows = np.lib.stride_tricks.sliding_window_view(after[:SAMPLE_RATE], 256)
        assert (windows == sound_of(first.wav_bytes)).all(axis=1).any()
        made.say(asr.AsrStopListening(site_id=SITE, session_id="s"))
        made.say(wake.HotwordToggleOn(site_id=SITE, reason=wake.HotwordToggleReason.DIALOGUE_SESSION))
        made.state(lambda state: state["listening"])
        made.say(
            dialogue.DialogueSessionEnded(
                session_id="s",
                site_id=SITE,
                termination=dialogue.DialogueSessionTermination(dialogue.DialogueSessionTerminationReason.NOMINAL),
            )
        )


def test_questions_are_answered(tmp_path: Path) -> None:
    with hub(tmp_path, record_examples=True, voice_activity=True) as made:
        made.say(wake.GetHotwords(site_id=SITE, id="q"))
        words = made.until(wake.Hotwords)
        assert (words.id, words.site_id, len(words.models)) == ("q", SITE, 6)
        made.say(audioserver.SummaryToggleOn(site_id=SITE))
        made.until(audioserver.AudioSummary)
        made.say(audioserver.SummaryToggleOff(site_id=SITE))
        made.say(wake.RecordHotwordExample(id="r1", site_id=SITE))
        made.say(wake.GetHotwords(site_id=SITE, id="recording"))
        made.until(wake.Hotwords)
        made.hear(NOISE)
        example = made.until(wake.HotwordExampleRecorded)
        recorded = sound_of(example.wav_bytes)
        assert abs(len(recorded) - SAMPLE_RATE * 1.2) < SAMPLE_RATE / 5
        begin = int(np.flatnonzero(recorded)[0])
        np.testing.assert_array_equal(recorded[begin : begin + SAMPLE_RATE], NOISE)
        assert wake.HotwordExampleRecorded.get_request_id(made.answers[-1].topic) == "r1"


def test_66_examples_are_not_recorded_unless_the_owner_wants_it(tmp_path: Path) -> None:
    with hub(tmp_path) as made:
        made.say(wake.RecordHotwordExample(id="r1", site_id=SITE))
        assert "not allowed" in made.until(wake.HotwordError).error
        made.hear(NOISE)
    assert not any(wake.HotwordExampleRecorded.is_topic(message.topic) for message in made.answers)
