"""What is played is heard in the room, in its order, and the satellite's own sounds are never in what it sends."""

import io
import json
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from rhasspyhermes.audioserver import (
    AudioDeviceMode,
    AudioDevices,
    AudioGetDevices,
    AudioPlayBytes,
    AudioPlayFinished,
    AudioToggleOff,
    AudioToggleOn,
)

from daemon.config import ConfigError, FeedbackConfig
from daemon.features import SAMPLE_RATE
from daemon.sounds import MELODIES, melody, own_sounds
from tests.mosquitto import Mosquitto, Subscriber
from tests.shipped import ROOT, sound, word_end
from tests.test_frames import sound_of
from tests.test_satellite import READY_S, STOP_S, Ear, mqtt, satellite
from tests.virtual_microphone import VirtualMicrophone

RATE = 22_050
NOISE = np.random.default_rng(9).integers(-500, 500, SAMPLE_RATE).astype(np.int16)
TRIES = 8
# Lets the sound server, of the process number given, hang after a sound; then another is to be played while the device
# cannot be closed.
HANGING = """
import os, signal, sys
from threading import Event
from daemon import playback
playback.STREAM_S = 0.1
finished, tone = Event(), open(sys.argv[2], "rb").read()
with playback.Playback("pulse") as playing:
    sound = playback.Sound(tone, lambda error: finished.set(), stream="s", last=False)
    playing.play(sound)
    assert finished.wait(20)
    os.kill(int(sys.argv[1]), signal.SIGSTOP)
    while playing._output is not None:
        Event().wait(0.01)
    os._exit(0 if playing.play(sound) else 1)
"""
SITE = "default"
AUDIO = f"hermes/audioServer/{SITE}"


@contextmanager
def speaking(folder: Path, broker: Mosquitto, microphone: VirtualMicrophone, more: str = "") -> Iterator[Subscriber]:
    """A satellite that records and plays."""
    config = f"{mqtt(broker.port)}audio: {{device: pulse, output: pulse}}\n{more}"
    with (
        Subscriber(broker.port, "#") as hub,
        satellite(folder, config, **microphone.environment) as process,
    ):
        hub.until(b"online", READY_S)
        yield hub
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0


def tone(hertz: int, loud: int = 8000, seconds: float = 0.5) -> bytes:
    """A WAV file in stereo, of 22.05 kHz."""
    samples = loud * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)
    with io.BytesIO() as file:
        with wave.open(file, "wb") as recording:
            recording.setparams((2, 2, RATE, 0, "NONE", ""))
            recording.writeframes(np.repeat(samples.astype("<i2"), 2).tobytes())
        return file.getvalue()


def loudness(heard: np.ndarray, hertz: int) -> np.ndarray:
    """The amplitude of a tone in each tenth of a second."""
    size = SAMPLE_RATE // 10
    parts = heard[: len(heard) // size * size].reshape(-1, size)
    return 2 * np.abs(parts @ np.exp(-2j * np.pi * hertz * np.arange(size) / SAMPLE_RATE)) / size


def test_what_is_to_be_played_is_heard_and_reported(
    tmp_path: Path, broker: Mosquitto, microphone: VirtualMicrophone
) -> None:
    with Ear(microphone) as ear, speaking(tmp_path, broker, microphone) as hub:
        hub.publish(AudioPlayBytes.topic(site_id=SITE, request_id="r1"), tone(500))
        finished = hub.on(AudioPlayFinished.topic(site_id=SITE), READY_S)
        assert AudioPlayFinished.from_json(finished.payload).id == "r1"
        hub.publish("rhasspy/audioServer/setVolume", b'{"volume": 0.5}')
        for number in range(3):
            hub.publish(f"{AUDIO}/playBytesStreaming/s1/{number}/{number // 2}", tone(800))
        assert json.loads(hub.on(f"{AUDIO}/streamFinished", READY_S).payload) == {"id": "s1", "siteId": SITE}
        hub.publish(AudioToggleOff.topic(), AudioToggleOff(site_id=SITE).payload().encode())
        hub.publish(AudioPlayBytes.topic(site_id=SITE, request_id="r2"), tone(1000))
        assert json.loads(hub.on(f"{AUDIO}/playFinished", READY_S).payload)["id"] == "r2"
        hub.publish(AudioToggleOn.topic(), AudioToggleOn(site_id=SITE).payload().encode())
        hub.publish(AudioPlayBytes.topic(site_id=SITE, request_id="r3"), b"RIFF....WAVE")
        assert json.loads(hub.on(f"{AUDIO}/playFinished", READY_S).payload)["id"] == "r3"
        assert "ends inside its header" in json.loads(hub.on("hermes/error/audioServer/play").payload)["error"]
        hub.publish(
            AudioGetDevices.topic(),
            AudioGetDevices(modes=[mode.value for mode in AudioDeviceMode], id="q", site_id=SITE).payload().encode(),
        )
        devices = AudioDevices.from_json(hub.on(AudioDevices.topic()).payload)
        heard = ear.room
    assert (devices.id, devices.site_id) == ("q", SITE)
    assert {device.mode for device in devices.devices if device.id == "pulse"} == set(AudioDeviceMode)
    assert 7000 < loudness(heard, 500).max() < 9000
    assert 3500 < loudness(heard, 800).max() < 4500
    assert 12 <= np.count_nonzero(loudness(heard, 800) > 2000) <= 18  # 1.5 s
    assert loudness(heard, 1000).max() < 1000


def test_own_sounds_are_heard_in_the_room_and_never_sent(
    tmp_path: Path, broker: Mosquitto, microphone: VirtualMicrophone
) -> None:
    notes = [hertz for hertz, _ in MELODIES["wake"]]
    with Ear(microphone) as ear, speaking(tmp_path, broker, microphone, "hermes: {feedback: {enabled: true}}\n") as hub:
        microphone.play(sound()[word_end() - 3 * SAMPLE_RATE : word_end()])
        hub.on("hermes/hotword/computer/detected", READY_S)
        hub.publish("hermes/asr/startListening", b'{"sessionId": "s"}')
        sent = np.concatenate([sound_of(bytes(hub.on(f"{AUDIO}/audioFrame", READY_S).payload)) for _ in range(20)])
        for _ in range(TRIES):  # until what is said after the sound is sent
            microphone.play(NOISE)
            frames = [frame.payload for frame in hub.drain() if frame.topic == f"{AUDIO}/audioFrame"]
            sent = np.concatenate([sent, *(sound_of(bytes(frame)) for frame in frames)])
            if np.count_nonzero(sent[-5 * SAMPLE_RATE :]) > len(NOISE) // 2:
                break
        heard = ear.room
    for hertz in notes:
        assert loudness(heard, hertz).max() > 1500  # of a tenth of a second that need not be the tone's own
        assert loudness(sent, hertz).max() < 300
    assert np.count_nonzero(sent[: 5 * SAMPLE_RATE] == 0) > SAMPLE_RATE // 5
    assert np.count_nonzero(sent) > len(NOISE) // 2


def test_nobody_waits_for_a_device_that_hangs(tmp_path: Path, microphone: VirtualMicrophone) -> None:
    (tmp_path / "tone.wav").write_bytes(tone(500))
    command = [sys.executable, "-c", HANGING, str(microphone.server.pid), str(tmp_path / "tone.wav")]
    try:
        subprocess.run(command, env=microphone.environment, cwd=ROOT, check=True, timeout=READY_S)
    finally:
        microphone.server.send_signal(signal.SIGCONT)


def test_own_sounds_may_be_recordings(tmp_path: Path) -> None:
    path = tmp_path / "mine.wav"
    path.write_bytes(tone(400))
    sounds = own_sounds(FeedbackConfig(wake=path))
    assert abs(len(sound_of(sounds["wake"])) - SAMPLE_RATE // 2) <= 1
    np.testing.assert_array_equal(sound_of(sounds["done"]), melody(MELODIES["done"]))
    with pytest.raises(ConfigError, match=r"hermes\.feedback: .*none\.wav"):
        own_sounds(FeedbackConfig(wake=tmp_path / "none.wav"))
