"""`wakepulse watch`: every message is one readable line, whatever it holds, and a stream of sound is few."""

import contextlib
import json
import re
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from daemon import cli
from daemon.config import MqttConfig
from daemon.credentials import PASSWORD
from daemon.store import keep
from daemon.tap import WAITING, Tap
from daemon.watch import MAX_LINE, Watch, site_of
from tests.mosquitto import Mosquitto, free_port
from tests.shipped import ROOT

NOW = 1_790_000_000.0
END_S = 15


def frame(samples: np.ndarray, rate: int = 16000, chunks: bytes = b"") -> bytes:
    data = samples.astype("<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    body = b"WAVE" + form + chunks + struct.pack("<4sI", b"data", len(data)) + data
    return struct.pack("<4sI", b"RIFF", len(body)) + body


TIME = struct.pack("<4sIQ", b"time", 8, 1_790_000_000_000)
LOUD = np.tile([16384, -16384], 128)


def lines(topic: str, payload: object, site: str | None = None, *, retained: bool = False) -> list[str]:
    """What is shown of one message, without its time."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    shown = list(Watch(site).push(topic, data, NOW, retained=retained))
    assert all(re.match(r"\d\d:\d\d:\d\d\.000  ", line) for line in shown)
    return [" ".join(line.split()[1:]) for line in shown]


HYPOTHESES = [{"name": "ana", "confidence": 0.91}, {"name": None, "confidence": 0.09}]
HEARD = {"siteId": "bedroom", "modelId": "computer", "currentSensitivity": 0.4, "speakerHypotheses": HYPOTHESES}
WORDS = [{"modelId": "computer", "modelWords": "computer"}]
INTENT = {"input": "light on", "siteId": "bedroom", "intent": {"intentName": "light", "confidenceScore": 0.75}}


@pytest.mark.parametrize(
    ("topic", "payload", "shown"),
    [
        ("hermes/hotword/computer/detected", HEARD, "bedroom hotword heard computer, sensitivity 0.4, spoken by ana"),
        ("hermes/hotword/x/detected", {"modelId": "x", "sessionId": None}, "default hotword heard x"),
        (
            "hermes/hotword/toggleOff",
            {"siteId": "bedroom", "reason": "playAudio"},
            "bedroom hotword the wake word is not to be heard, reason playAudio",
        ),
        ("hermes/hotword/toggleOn", {"reason": ""}, "default hotword the wake word may be heard again"),
        (
            "hermes/error/hotword",
            {"error": "no card", "context": "capture"},
            "default error ERROR of hotword: no card (capture)",
        ),
        ("hermes/asr/textCaptured", {"text": "hello"}, 'default asr understood "hello"'),
        ("hermes/intent/light", INTENT, 'bedroom intent intent light, from "light on", confidence 0.75'),
        (
            "hermes/dialogueManager/sessionEnded",
            {"sessionId": "s1", "termination": {"reason": "timeout"}},
            "default dialogueManager session s1 ended: timeout",
        ),
        ("hermes/voiceActivity/bedroom/vadUp", {"siteId": "bedroom"}, "bedroom voiceActivity somebody speaks"),
        ("wakepulse/bedroom/availability", b"online", "bedroom wakepulse is online"),
        (
            "wakepulse/group/home/claim",
            {"siteId": "bedroom", "modelId": "computer", "score": 0.9, "levelDb": -20.5},
            "bedroom wakepulse claims computer in group home, score 0.9, level -20.5 dB",
        ),
        (
            "wakepulse/attic/cancelled",
            {"siteId": "attic", "modelId": "computer", "first": "bedroom"},
            "attic wakepulse takes computer back, which bedroom answers",
        ),
        # What has no sentence, or not what its sentence needs, is shown key by key.
        ("hermes/x/configure", {"a": {"b": [1, 2]}, "c": True}, "default x configure a.b=[1, 2] c=true"),
        ("hermes/hotword/x/detected", {"siteId": "attic"}, "attic hotword x/detected"),
        ("rhasspy/hotword/hotwords", {"models": WORDS}, f"default hotword hotwords models={json.dumps(WORDS)}"),
        ("hermes/tts/say", b"not JSON", "default tts say not JSON"),
        ("hermes/tts/say", b"[1]", "default tts say [1]"),
        ("hermes/tts/say", b"", "default tts say"),
        ("hermes/x", b"\x00\xff\x80", "default x x: binary, 3 bytes"),
        (
            "hermes/audioServer/attic/playBytes/r1",
            frame(LOUD, 8000),
            "attic audioServer attic/playBytes/r1: 0.03 s of sound, 8000 Hz, 1 channel(s), -6 dB, 556 bytes",
        ),
        (
            "hermes/audioServer/attic/playBytes/r1",
            frame(np.zeros(160)),
            "attic audioServer attic/playBytes/r1: 0.01 s of sound, 16000 Hz, 1 channel(s), silence, 364 bytes",
        ),
        ("hermes/audioServer/a/playBytes/r", frame(LOUD, 0), "a audioServer a/playBytes/r: binary, 556 bytes"),
    ],
)
def test_a_message_is_a_sentence(topic: str, payload: object, shown: str) -> None:
    assert lines(topic, payload) == [shown]


def test_what_is_retained_is_marked() -> None:
    assert lines("wakepulse/attic/availability", b"offline", retained=True) == ["attic wakepulse is offline (retained)"]


@pytest.mark.parametrize(
    ("topic", "payload", "site"),
    [
        ("hermes/audioServer/attic/audioFrame", b"", "attic"),
        ("hermes/audioServer/attic/s1/audioSessionFrame", b"", "attic"),
        ("hermes/audioServer/toggleOn", b'{"siteId": "attic"}', "attic"),
        ("rhasspy/asr/attic/s1/audioCaptured", b"", "attic"),
        ("rhasspy/hotword/attic/exampleRecorded/r1", b"", "attic"),
        ("wakepulse/attic/set/mute", b"ON", "attic"),
        ("hermes/hotword/attic/detected", b"{}", "default"),
        ("hermes/hotword/toggleOn", b'{"siteId": null}', "default"),
        ("hermes/hotword/toggleOn", b'{"siteId": ["attic"]}', "default"),
    ],
)
def test_of_one_site_all_is_shown_and_of_others_nothing(topic: str, payload: bytes, site: str) -> None:
    assert len(lines(topic, payload, site)) == 1
    assert lines(topic, payload, "another") == []


@pytest.mark.parametrize("chunks", [b"", TIME])
def test_streamed_sound_is_one_line_a_second(chunks: bytes) -> None:
    watch, shown = Watch(), []
    for number in range(125):  # two seconds
        topic = "hermes/audioServer/attic/audioFrame" if number % 2 else "hermes/audioServer/attic/s/audioSessionFrame"
        shown += watch.push(topic, frame(LOUD, chunks=chunks), NOW + number * 0.016)
    shown += watch.due(NOW + 3)
    said = [" ".join(line.split()[1:]) for line in shown]
    assert said == [
        "attic audioServer streams sound: 63 frames, 1.01 s, -6 dB",
        "attic audioServer streams sound: 62 frames, 0.99 s, -6 dB",
    ]
    assert list(watch.due(NOW + 9)) == []


def test_a_frame_that_is_none_is_shown_as_it_is() -> None:
    assert lines("hermes/audioServer/attic/audioFrame", b"RIFF nonsense") == [
        "attic audioServer attic/audioFrame: binary, 13 bytes"
    ]


def test_nothing_reaches_the_terminal_but_text() -> None:
    (line,) = lines("hermes/tts/say", {"text": "\x1b[2J\r\n\u202e\x07 é 猫", "siteId": "a\x9b"})
    assert line == r'a\x9b tts asked to say "\x1b[2J\r\n\u202e\x07 é 猫"'


def test_what_a_value_says_is_not_taken_for_a_sentence() -> None:
    assert lines("hermes/tts/say", {"text": "[{id}] {text}", "id": "1"}) == ['default tts asked to say "[{id}] {text}"']


KEYS = st.sampled_from(["siteId", "text", "modelId", "speakerHypotheses", "termination", "1", "a"])
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
)
PAYLOADS = st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode())
PAYLOADS |= st.sampled_from([b"[" * 60_000, b"a" * 70_000, b'{"a":' * 400 + b"1" + b"}" * 400])
TOPICS = st.sampled_from(["hermes/hotword/x/detected", "hermes/tts/say", "hermes/audioServer/x/audioFrame", "hermes"])


@settings(max_examples=50, deadline=None)
@given(TOPICS | st.text(min_size=1, max_size=300), PAYLOADS)
def test_any_message_is_at_most_one_line_of_bounded_length(topic: str, payload: bytes) -> None:
    for line in Watch().push(topic, payload, NOW):
        assert len(line) < 11 * MAX_LINE
        assert line.isprintable()
    assert site_of(topic, None)


def test_it_shows_what_is_on_the_broker_until_it_is_interrupted(tmp_path: Path, broker: Mosquitto) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    client.publish("wakepulse/attic/availability", b"online", qos=1, retain=True).wait_for_publish(END_S)
    config = tmp_path / "watch.yaml"
    config.write_text(f"mqtt: {{host: 127.0.0.1, port: {broker.port}}}\n")
    command = [sys.executable, "-m", "daemon.cli", "watch", "--config", str(config), "--site", "attic"]
    # Tests that run in the background are deaf to interrupts, and what they start would be too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    with process, contextlib.ExitStack() as end:
        end.callback(process.kill)
        assert process.stdout and process.stderr
        assert process.stdout.readline().endswith("is online (retained)\n")
        client.publish("hermes/tts/say", json.dumps({"text": "elsewhere", "siteId": "cellar"}))
        client.publish("rhasspy/asr/attic/s/audioCaptured", frame(LOUD))
        assert "0.02 s of sound" in process.stdout.readline()
        client.publish("hermes/audioServer/attic/audioFrame", frame(LOUD))
        assert "streams sound: 1 frames" in process.stdout.readline()  # though nothing comes after it
        process.send_signal(signal.SIGINT)
        assert process.wait(END_S) == 0
        assert process.stderr.read() == ""
    client.disconnect()
    client.loop_stop()


def test_it_goes_on_when_the_broker_comes_back_and_counts_what_it_could_not_keep(broker: Mosquitto) -> None:
    mqtt = MqttConfig(host="127.0.0.1", port=free_port(), fallback=(f"127.0.0.1:{broker.port}",))
    with Tap(mqtt, ("x/#",)) as tap:
        broker.restart()
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        while (seen := tap.next(0.2)) is None:
            client.publish("x/y", b"back")
        assert (seen.topic, seen.payload, seen.retained) == ("x/y", b"back", False)
        for _ in range(WAITING + 100):
            last = client.publish("x/y", b"many", qos=1)
        last.wait_for_publish(END_S)
        poll, deadline = threading.Event(), END_S * 50
        while not tap.dropped and deadline:
            poll.wait(0.02)
            deadline -= 1
        assert tap.dropped
        client.disconnect()
        client.loop_stop()


def test_a_broker_that_is_not_there_or_refuses_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "watch.yaml"
    with Mosquitto(tmp_path, password=("me", "secret")) as broker:
        for port, login, said, status in (
            (free_port(), "", "no broker at 127.0.0.1", 1),
            (broker.port, "", "refuses: Not authorized", 1),
            (broker.port, ", username: me, password: wrong", "refuses: Not authorized", 1),
            (broker.port, ", embedded: true", "the embedded broker cannot be watched", 78),
        ):
            config.write_text(f"mqtt: {{host: 127.0.0.1, port: {port}{login}}}\n")
            assert cli.main(["watch", "--config", str(config)]) == status
            (line,) = capsys.readouterr().err.splitlines()
            assert said in line


def test_it_logs_in_with_what_setup_has_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "watch.yaml"
    config.write_text("mqtt: {username: me}\n")
    monkeypatch.setattr("daemon.store.STORE", tmp_path)
    keep(PASSWORD, "secret")
    monkeypatch.setattr(cli, "follow", lambda mqtt, site: [mqtt.password])
    assert cli.main(["watch", "--config", str(config)]) == 0
    assert capsys.readouterr().out == "secret\n"
