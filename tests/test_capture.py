"""Sound arrives whole, in order and numbered, or it is said what is missing."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from daemon.capture import BLOCK, LOST_S, Bell, Block, CaptureError, Ring, SoundCard, Source, StandardInput, WavFile
from daemon.config import AudioConfig
from daemon.features import SAMPLE_RATE
from daemon.recording import RecordingError
from daemon.source import EndlessSource
from tests.virtual_microphone import VirtualMicrophone, virtual_microphone

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 30

# Records the number of samples given, and leaves them and the blocks' first samples in a file.
RECORDER = """
import sys
import numpy as np
from daemon.capture import SoundCard
card = SoundCard(sys.argv[1])
firsts, blocks = [], []
for first, block in card.blocks():
    firsts or print("ready", flush=True)
    firsts.append(first)
    blocks.append(block)
    if first + len(block) >= int(sys.argv[2]):
        card.close()
np.savez(sys.argv[3], firsts=firsts, samples=np.concatenate(blocks))
"""
LISTER = """
import sys
from daemon.capture import CaptureError, SoundCard, devices
print(*devices(), sep="; ")
try:
    SoundCard(sys.argv[1])
except CaptureError as error:
    print(error)
"""
SLOW = """
from daemon.capture import RING_BLOCKS, SoundCard
card = SoundCard("pulse")
while card._ring._written < RING_BLOCKS + 5:
    assert card._bell.wait(10)
first, block = next(card.blocks())
assert first >= 5 * len(block), first
card.close()
print("gap shown")
"""
# Lets the microphone end by itself.
REOPENED = """
from daemon.capture import Bell
from daemon.config import AudioConfig
from daemon.source import EndlessSource
source = EndlessSource(AudioConfig(device="pulse"), Bell())
for number, _ in enumerate(source.blocks()):
    if number == 1:
        source._source.close()
    if number == 3:
        source.close()
print(number, source.ended)
"""


def noise(length: int) -> NDArray[np.int16]:
    return np.random.default_rng(length).integers(-32768, 32768, length).astype(np.int16)


def joined(blocks: Iterator[Block]) -> NDArray[np.int16]:
    """The samples, once it is certain that their numbers have no gap."""
    pieces, wanted = [np.empty(0, np.int16)], 0
    for first, block in blocks:
        assert first == wanted and block.dtype == np.int16 and 0 < len(block) <= BLOCK
        wanted += len(block)
        pieces.append(block)
    return np.concatenate(pieces)


@pytest.fixture
def recording(tmp_path: Path) -> tuple[Path, NDArray[np.int16]]:
    samples = noise(8 * BLOCK + 77)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return tmp_path / "a.wav", samples


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualMicrophone]:
    with virtual_microphone(tmp_path_factory.mktemp("microphone")) as running:
        yield running


def child(script: str, *arguments: object, environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    assert select.select([process.stdout], [], [], PATIENCE_S)[0], "the child says nothing"
    return process.stdout.readline()


def test_a_ring_before_the_wait_is_kept() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    assert bell.wait(0)
    assert not bell.wait(0)
    assert not bell.wait(-1)


def test_a_bell_wakes_another_thread() -> None:
    bell, woken = Bell(), []
    thread = threading.Thread(target=lambda: woken.append(bell.wait(PATIENCE_S)))
    thread.start()
    bell.ring()
    thread.join()
    assert woken == [True]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3), st.integers(0, 40)), max_size=20), st.integers(2, 9))
def test_the_ring_keeps_the_newest_and_numbers_them(turns: list[tuple[int, int, int]], slots: int) -> None:
    ring, kept, start = Ring(slots), [], 0
    for writes, reads, lost in turns:
        for length in range(1, writes + 1):
            samples = noise(length)
            ring.write(samples.tobytes(), lost=lost)
            kept.append((start + lost, samples))
            start += lost + length
        for _ in range(reads):
            kept = kept[-1:] if len(kept) >= slots else kept  # overtaken: the newest only
            block = ring.read()
            if not kept:
                assert block is None
                continue
            first, samples = kept.pop(0)
            assert block is not None and block[0] == first and np.array_equal(block[1], samples)


def test_no_block_is_torn_while_the_writer_laps_the_reader() -> None:
    ring, done = Ring(3), threading.Event()
    rows = [np.full(BLOCK, number, "<i2").tobytes() for number in range(1000)]

    def write() -> None:
        for row in itertools.chain(*[rows] * 20):
            ring.write(row)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    while not done.is_set() or seen == 0:
        block = ring.read()
        if block is not None:
            seen += 1
            assert (block[1] == block[0] // BLOCK % 1000).all()
    writer.join()


def test_a_recording_comes_whole(recording: tuple[Path, NDArray[np.int16]]) -> None:
    path, samples = recording
    assert np.array_equal(joined(WavFile(path, realtime=False).blocks()), samples)


def test_a_recording_that_is_muted_for_a_moment_begins_again(recording: tuple[Path, NDArray[np.int16]]) -> None:
    path, samples = recording
    source = EndlessSource(AudioConfig(source="file", file=path, realtime=False), Bell())
    lengths = []
    for _, block in source.blocks():
        lengths.append(len(block))
        if len(lengths) == 2:
            source.mute(True)
            source.mute(False)
    assert sum(lengths) == 2 * BLOCK + len(samples) and source.ended


def test_a_recording_comes_at_its_own_speed(recording: tuple[Path, NDArray[np.int16]]) -> None:
    path, samples = recording
    start = time.monotonic()
    for first, block in WavFile(path, realtime=True).blocks():
        ahead = (first + len(block)) / SAMPLE_RATE - (time.monotonic() - start)
        assert ahead <= 0.001  # how far behind it falls is this machine's business
    assert time.monotonic() - start >= len(samples) / SAMPLE_RATE


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="No such file"):
        WavFile(tmp_path / "none.wav", realtime=False)


@contextlib.contextmanager
def stuck_input() -> Iterator[StandardInput]:
    """Standard input whose other end says nothing."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb"):
        yield StandardInput(stream)


@contextlib.contextmanager
def endless_recording(tmp_path: Path) -> Iterator[WavFile]:
    with wave.open(str(tmp_path / "long.wav"), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(bytes(2 * SAMPLE_RATE * 600))
    yield WavFile(tmp_path / "long.wav", realtime=True)


@pytest.fixture(params=["pipe", "recording"])
def endless(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Source]:
    with stuck_input() if request.param == "pipe" else endless_recording(tmp_path) as source:
        yield source


def test_close_from_another_thread_ends_the_blocks(endless: Source) -> None:
    closer = threading.Timer(0.2, endless.close)
    closer.start()
    start = time.monotonic()
    joined(endless.blocks())
    assert time.monotonic() - start < 5
    closer.join()


def test_close_from_a_signal_handler_ends_the_blocks(endless: Source) -> None:
    before = signal.signal(signal.SIGALRM, lambda number, frame: endless.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        joined(endless.blocks())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_what_was_closed_before_it_began_yields_nothing(endless: Source) -> None:
    endless.close()
    endless.close()
    assert list(endless.blocks()) == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 3 * BLOCK), max_size=12))
def test_however_bytes_are_cut_the_samples_are_the_same(cuts: list[int]) -> None:
    data = noise(5 * BLOCK + 3).tobytes() + b"\x7f"  # half a sample too many
    reading, writing = os.pipe()

    def write() -> None:
        source = io.BytesIO(data)
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            for cut in [*cuts, len(data)]:
                pipe.write(source.read(cut))

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as stream:
        assert joined(StandardInput(stream).blocks()).tobytes() == data[:-1]
    writer.join()


@pytest.mark.parametrize("size", [0, 1, 2, 2 * BLOCK, 2 * BLOCK + 1])
def test_input_may_be_a_file(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "raw").write_bytes(data)
    with (tmp_path / "raw").open("rb") as stream:
        assert joined(StandardInput(stream).blocks()).tobytes() == data[: size // 2 * 2]


def test_a_terminal_is_not_listened_to() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb"), os.fdopen(theirs, "rb") as stream, pytest.raises(CaptureError, match="is a terminal"):
        StandardInput(stream)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("no such card", "there is no input device 'no such card'; input devices: "),
        ("2", "'2' is a number, and numbers change; give part of a name; input devices: "),
    ],
)
def test_a_device_that_is_not_there_is_named(device: str, message: str) -> None:
    with pytest.raises(CaptureError) as caught:
        SoundCard(device)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_a_part_of_two_names_is_ambiguous(microphone: VirtualMicrophone) -> None:
    output, errors = child(LISTER, "UL", environment=microphone.environment).communicate(timeout=PATIENCE_S)
    listed, refused = output.splitlines()
    assert not errors
    assert re.search(r"pulse \(ALSA, \d+ channels, \d+ Hz\)", listed)
    assert re.search(r"default \(ALSA, \d+ channels, \d+ Hz, the default\)", listed)
    assert refused == "'UL' may mean 'pulse', 'default'; give more of the name"


def test_broken_sound_configuration_is_said(tmp_path: Path) -> None:
    (tmp_path / ".asoundrc").write_text("pcm.pulse { hint { show on } }\n")  # clashes with the system's own entry
    environment = {**os.environ, "HOME": str(tmp_path)}
    script = "from daemon.capture import devices\ndevices()"
    _, errors = child(script, environment=environment).communicate(timeout=PATIENCE_S)
    last = errors.splitlines()[-1]
    assert last.startswith("daemon.capture.CaptureError: PortAudio does not start: "), errors


def test_the_microphone_is_heard(microphone: VirtualMicrophone, tmp_path: Path) -> None:
    tone = 10_000 * np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    recorder = child(RECORDER, "PULSE", 3 * SAMPLE_RATE, tmp_path / "a.npz", environment=microphone.environment)
    assert first_line(recorder) == "ready\n"
    microphone.play(tone.astype(np.int16))
    _, errors = recorder.communicate(timeout=PATIENCE_S)
    assert recorder.returncode == 0 and not errors
    heard = np.load(tmp_path / "a.npz")
    samples = heard["samples"].astype(np.float64)
    assert heard["firsts"].tolist() == list(range(0, len(samples), BLOCK))
    loud = np.flatnonzero(np.abs(samples) > 100)
    sounding = samples[loud[0] : loud[-1] + 1]
    assert abs(len(sounding) - SAMPLE_RATE) < SAMPLE_RATE // 50
    assert np.sqrt(np.mean(sounding**2)) == pytest.approx(10_000 / np.sqrt(2), rel=0.02)
    assert np.argmax(np.abs(np.fft.rfft(sounding[:8000]))) == 440 * 8000 // SAMPLE_RATE


def test_a_reader_that_is_late_sees_a_gap(microphone: VirtualMicrophone) -> None:
    output, errors = child(SLOW, environment=microphone.environment).communicate(timeout=PATIENCE_S)
    assert (output, errors) == ("gap shown\n", "")


def test_a_microphone_ends_only_when_it_is_to(microphone: VirtualMicrophone) -> None:
    output, errors = child(REOPENED, environment=microphone.environment).communicate(timeout=PATIENCE_S)
    assert (output, errors) == ("3 False\n", "")


def test_a_device_that_goes_away_is_lost(tmp_path: Path) -> None:
    with virtual_microphone(tmp_path) as microphone:
        recorder = child(RECORDER, "pulse", 60 * SAMPLE_RATE, tmp_path / "a.npz", environment=microphone.environment)
        assert first_line(recorder) == "ready\n"
        microphone.unplug()
        start = time.monotonic()
        _, errors = recorder.communicate(timeout=PATIENCE_S)
    assert "daemon.capture.DeviceLost: the sound card 'pulse' " in errors.splitlines()[-1]
    assert time.monotonic() - start < LOST_S + 5
