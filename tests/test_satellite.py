"""`wakepulse run` as an owner runs it: real sound in, a real broker, real signals."""

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from daemon.features import SAMPLE_RATE
from daemon.frames import wav
from daemon.messages import availability
from daemon.recording import read
from models.corpus import read_manifest, select
from models.demo import DEMO
from tests.mosquitto import Mosquitto, Subscriber, free_port
from tests.shipped import CORPUS, MODEL, ROOT, model, sound, word_end
from tests.shipped import DEMO as DEMO_WAV
from tests.virtual_microphone import SINK, VirtualMicrophone, virtual_microphone

SPOKEN = [text.lower().rstrip(".").replace(" ", "_") for _, _, text in DEMO]
DEMO_WORDS = [text for text in SPOKEN if text in model().words]
LATENCY_S = 0.5
EARLY_S = 0.3  # a word may be clear before its last sound is over, but not before its second half
READY_S = 30
STOP_S = 5  # of which a busy machine takes most


@contextmanager
def satellite(folder: Path, config: str, wake: str = "", **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A running satellite; what it prints and logs is piped. `wake` are keys beside the model."""
    path = folder / "satellite.yaml"
    path.write_text(f"wake: {{model: {MODEL}, {wake}}}\n{config}")
    process = subprocess.Popen(
        [sys.executable, "-m", "daemon.cli", "run", "--config", str(path)],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def mqtt(port: int) -> str:
    return f"mqtt: {{host: 127.0.0.1, port: {port}}}\n"


def of_file(path: Path, *, realtime: bool = False) -> str:
    return f"audio: {{source: file, file: {path}, realtime: {str(realtime).lower()}}}\n"


def test_the_demo_prints_what_came_back_from_its_own_broker(tmp_path: Path) -> None:
    with satellite(tmp_path, f"mqtt: {{embedded: true}}\nsite_id: demo\n{of_file(DEMO_WAV)}") as process:
        printed, logged = process.communicate(timeout=120)
    assert process.returncode == 0, logged
    lines = [line.split(" ", 1) for line in printed.splitlines()]
    assert [topic for topic, _ in lines] == [f"hermes/hotword/{word}/detected" for word in DEMO_WORDS]
    assert {json.loads(payload)["siteId"] for _, payload in lines} == {"demo"}


class Ear:
    """Listens beside the satellite, and knows when each sample of the room was heard."""

    def __init__(self, microphone: VirtualMicrophone) -> None:
        self._command = ["parec", f"--device={SINK}.monitor", "--rate=16000", "--channels=1", "--format=s16le"]
        self._environment = microphone.environment
        self._heard = bytearray()
        self._times: list[tuple[int, float]] = []  # samples heard by a time

    def __enter__(self) -> "Ear":
        self._process = subprocess.Popen(
            [*self._command, "--latency-msec=10"], env=self._environment, stdout=subprocess.PIPE
        )
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._thread.join()
        with self._process:
            pass

    def _listen(self) -> None:
        assert self._process.stdout
        while data := os.read(self._process.stdout.fileno(), 4096):
            self._heard += data
            self._times.append((len(self._heard) // 2, time.monotonic()))

    @property
    def room(self) -> np.ndarray:
        """All that was heard."""
        return np.frombuffer(bytes(self._heard[: len(self._heard) // 2 * 2]), np.int16)

    def when(self, sound: np.ndarray, sample: int) -> float:
        """The monotonic time at which a sample of a sound was heard in the room."""
        room = self.room.astype(np.float64)
        size = len(room) + len(sound)
        likeness = np.fft.irfft(np.fft.rfft(room, size) * np.conj(np.fft.rfft(sound.astype(np.float64), size)), size)
        wanted = int(np.argmax(likeness[: len(room)])) + sample
        return next(at for samples, at in self._times if samples >= wanted)


def spoken(word: str) -> tuple[np.ndarray, int]:
    """A sound that begins with quiet or other speech, and the sample at which the word in it ends."""
    if word == "computer":
        return sound(), word_end()
    # A real speaker of the dev split: the model has not met them.
    recordings = select(read_manifest(CORPUS), "dev", {"wakeword"}, shippable=True)
    recording = next(r for r in recordings if r.label == word)
    lead = 3 * SAMPLE_RATE
    return np.pad(read(recording.path), (lead, SAMPLE_RATE)), lead + round(recording.end_s * SAMPLE_RATE)


@pytest.mark.parametrize("word", ["computer", *(["jarvis", "view_glass"] if CORPUS.is_dir() else [])])
def test_a_word_in_the_room_reaches_the_broker_in_time(
    tmp_path: Path, broker: Mosquitto, microphone: VirtualMicrophone, word: str
) -> None:
    played, end = spoken(word)
    config = mqtt(broker.port) + "audio: {device: pulse}\nsite_id: room\n"
    with (
        Subscriber(broker.port, "#") as subscriber,
        satellite(tmp_path, config, **microphone.environment) as process,
        Ear(microphone) as ear,
    ):
        subscriber.until(b"online", READY_S)
        microphone.play(played)
        message = subscriber.on("hermes/hotword/+/detected")
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    assert message.topic == f"hermes/hotword/{word}/detected"
    payload = json.loads(message.payload)
    assert (payload["siteId"], payload["modelId"]) == ("room", word)
    latency_s = message.timestamp - ear.when(played, end)
    assert -EARLY_S < latency_s < LATENCY_S


def test_sigterm_ends_it_at_once_and_says_goodbye(tmp_path: Path, broker: Mosquitto) -> None:
    with (
        Subscriber(broker.port, availability("default")) as subscriber,
        satellite(tmp_path, mqtt(broker.port) + of_file(DEMO_WAV, realtime=True)) as process,
    ):
        subscriber.until(b"online", READY_S)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0
        subscriber.until(b"offline")


def test_the_last_will_speaks_for_a_satellite_that_was_killed(tmp_path: Path, broker: Mosquitto) -> None:
    with (
        Subscriber(broker.port, availability("default")) as subscriber,
        satellite(tmp_path, mqtt(broker.port) + of_file(DEMO_WAV, realtime=True)) as process,
    ):
        subscriber.until(b"online", READY_S)
        process.kill()
        subscriber.until(b"offline")


def test_it_listens_without_a_broker(tmp_path: Path) -> None:
    with satellite(tmp_path, mqtt(free_port()) + of_file(DEMO_WAV)) as process:
        _, logged = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "no broker at 127.0.0.1" in logged
    assert re.findall(r"heard (\w+)", logged) == DEMO_WORDS


def test_standard_input_is_a_source(tmp_path: Path, broker: Mosquitto) -> None:
    path = tmp_path / "stdin.yaml"
    path.write_text(f"audio: {{source: stdin}}\nwake: {{model: {MODEL}}}\n{mqtt(broker.port)}")
    command = [sys.executable, "-m", "daemon.cli", "run", "--config", str(path)]
    raw = sound().astype("<i2").tobytes()
    with Subscriber(broker.port, "hermes/#") as subscriber:
        result = subprocess.run(command, cwd=ROOT, input=raw, capture_output=True, timeout=60)
        assert result.returncode == 0
        subscriber.on("hermes/hotword/computer/detected")
        closed = subprocess.run(["sh", "-c", f"{' '.join(command)} <&-"], cwd=ROOT, capture_output=True, timeout=60)
    assert closed.returncode == 1
    # The MQTT client logs in its own time, so that what went wrong need not be the last line.
    assert sum(line.startswith(b"wakepulse: standard input is closed") for line in closed.stderr.splitlines()) == 1
    assert b"Traceback" not in closed.stderr


def test_a_microphone_that_is_not_there_is_named_once_and_waited_for(tmp_path: Path, broker: Mosquitto) -> None:
    config = mqtt(broker.port) + "audio: {device: no such card}\n"
    with Subscriber(broker.port, "wakepulse/+/availability") as subscriber, satellite(tmp_path, config) as process:
        assert process.stderr
        while "no such card" not in (line := process.stderr.readline()):
            assert line
        assert "there is no input device 'no such card'; input devices:" in line
        subscriber.until(b"offline")
        with pytest.raises(queue.Empty):
            subscriber.next(2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0
        assert "no such card" not in process.stderr.read()


def test_a_lost_microphone_is_offline_and_waited_for(
    tmp_path: Path, broker: Mosquitto, microphone: VirtualMicrophone
) -> None:
    config = mqtt(broker.port) + "audio: {device: pulse}\n"
    with satellite(tmp_path, config, **microphone.environment) as process, Subscriber(broker.port, "#") as subscriber:
        subscriber.until(b"online", READY_S)
        microphone.unplug()
        subscriber.until(b"offline", READY_S)
        with virtual_microphone(tmp_path):
            subscriber.until(b"online", READY_S)
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) == 0


def test_sigterm_ends_it_in_time_whatever_the_broker_does(tmp_path: Path) -> None:
    with socket.socket() as silent:  # accepts, and never says a word
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        config = mqtt(silent.getsockname()[1]) + of_file(DEMO_WAV, realtime=True)
        with satellite(tmp_path, config) as process:
            assert process.stderr
            while "hearing" not in process.stderr.readline():
                pass
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_S) == 0


def test_60_a_word_just_before_sigterm_is_not_lost(tmp_path: Path, broker: Mosquitto) -> None:
    with (
        Subscriber(broker.port, "hermes/hotword/+/detected") as subscriber,
        satellite(tmp_path, mqtt(broker.port) + of_file(DEMO_WAV)) as process,
    ):
        assert process.stderr
        while "heard computer" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0
        assert json.loads(subscriber.next().payload)["modelId"] == "computer"


def test_60_a_second_sigterm_ends_it_at_once(tmp_path: Path) -> None:
    recording = tmp_path / "word.wav"
    recording.write_bytes(wav(sound()[word_end() - 3 * SAMPLE_RATE :]))
    # Nobody takes the word, so that a stop waits for somebody.
    with satellite(tmp_path, mqtt(free_port()) + of_file(recording, realtime=True)) as process:
        assert process.stderr
        while "heard computer" not in process.stderr.readline():
            pass
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.returncode == 128 + signal.SIGTERM


def test_the_service_manager_hears_of_progress_only(tmp_path: Path, broker: Mosquitto) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(READY_S)
        path = tmp_path / "stdin.yaml"
        path.write_text(f"audio: {{source: stdin}}\nwake: {{model: {MODEL}}}\n{mqtt(broker.port)}")
        command = [sys.executable, "-m", "daemon.cli", "run", "--config", str(path)]
        notify = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        with subprocess.Popen(command, cwd=ROOT, env=os.environ | notify, stdin=subprocess.PIPE) as process:
            assert process.stdin
            process.stdin.write(sound().tobytes())
            process.stdin.flush()
            assert {manager.recv(100), manager.recv(100)} == {b"READY=1", b"WATCHDOG=1"}
            manager.settimeout(1)
            with pytest.raises(TimeoutError):  # the sound stops, but its end does not come
                while manager.recv(100) == b"WATCHDOG=1":
                    pass
            process.stdin.close()
            manager.settimeout(READY_S)
            while (last := manager.recv(100)) == b"WATCHDOG=1":  # of the last, shorter block
                pass
        assert last == b"STOPPING=1"


def test_the_service_manager_is_told_when_it_ends(tmp_path: Path, broker: Mosquitto) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(READY_S)
        config = mqtt(broker.port) + of_file(DEMO_WAV, realtime=True)
        notify = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        with satellite(tmp_path, config, **notify) as process:
            told = [manager.recv(100) for _ in range(3)]
            process.send_signal(signal.SIGTERM)
            while (last := manager.recv(100)) == b"WATCHDOG=1":
                pass
    assert sorted(told) == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
    assert last == b"STOPPING=1"
