"""Blocks of 16 kHz mono int16 samples from a sound card, a recording or standard input, through one interface.

Every block carries the number of its first sample; the running sample number is the only clock downstream, and what was
lost shows as a jump in it. `close` may be called from another thread and from a signal handler, even one that has
interrupted `blocks` itself, so nothing here that both touch takes a lock that can be held: a `Bell` is enough.
This module does not retry: that is for whoever knows what else should happen while the device is away.
"""

from __future__ import annotations

import importlib.util
import os
import select
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from daemon.features import HOP, SAMPLE_RATE
from daemon.recording import read

BLOCK = 8 * HOP  # samples, 80 ms: one pulse of 8 frames
SAMPLE_BYTES = 2
RING_BLOCKS = 2 * SAMPLE_RATE // BLOCK  # 2 s: longer than a busy board stalls, short enough not to answer late
START_S = 5.0  # some sound servers and wireless microphones take their time to begin
LOST_S = 1.0  # without a frame for this long, a running device is gone, whatever its driver says
LONGEST_GAP_S = 3600  # a larger one is a driver's clock gone wrong
POLL_S = 0.1  # how soon standard input notices that it was closed

Way = Literal["input", "output"]
Block = tuple[int, NDArray[np.int16]]  # number of the first sample; samples, (n,)


class CaptureError(Exception):
    """The source cannot be opened; the text is one line for the owner."""


class DeviceLost(CaptureError):
    """The device stopped delivering while it was running."""


class Source(Protocol):
    """Where sound comes from."""

    def blocks(self) -> Iterator[Block]:
        """The sound, until its end or `close`; `DeviceLost` if the device goes away."""

    def close(self) -> None:
        """End `blocks` promptly and release the device; may be called more than once, and from a signal handler."""


class Device(NamedTuple):
    """A device that can record, or play."""

    name: str
    host: str  # PortAudio's name of the sound system that offers it
    channels: int
    rate: float  # its default, in Hz
    is_default: bool

    def __str__(self) -> str:
        mark = ", the default" if self.is_default else ""
        return f"{self.name} ({self.host}, {self.channels} channels, {self.rate:.0f} Hz{mark})"


class Bell:
    """Wakes one waiting thread; a ring that comes before the wait is kept. Safe in callbacks and signal handlers."""

    def __init__(self) -> None:
        self._silent = threading.Lock()
        self._silent.acquire()

    def ring(self) -> None:
        """Wake the waiting thread, or the next one that waits."""
        try:
            self._silent.release()
        except RuntimeError:  # it has been rung already
            return

    def wait(self, seconds: float) -> bool:
        """Wait for a ring, at most this long; False if none came."""
        return self._silent.acquire(timeout=max(0.0, seconds))


class Ring:
    """The newest blocks, between one writer that never waits and one reader; the oldest give way.

    The writer fills a slot and then counts it; the reader copies a slot and then looks whether the writer has come
    round to it meanwhile. So neither holds the other up.
    """

    def __init__(self, slots: int = RING_BLOCKS) -> None:
        self._data = np.zeros((slots, BLOCK), np.int16)
        self._bytes = [memoryview(row.data).cast("B") for row in self._data]
        self._lengths = [0] * slots  # samples
        self._firsts = [0] * slots
        self._written = 0  # blocks
        self._read = 0
        self._next_sample = 0

    def write(self, samples: bytes | memoryview, *, lost: int = 0) -> None:
        """Append a block of at most BLOCK samples as bytes, `lost` samples after the one before it."""
        slot = self._written % len(self._lengths)
        size = len(samples)
        self._bytes[slot][:size] = samples
        self._firsts[slot] = self._next_sample + lost
        self._lengths[slot] = size // SAMPLE_BYTES
        self._next_sample += lost + size // SAMPLE_BYTES
        self._written += 1

    def read(self) -> Block | None:
        """The oldest block that is still whole, or None if all have been read."""
        slots = len(self._lengths)
        while self._read < self._written:
            if self._read + slots <= self._written:  # one slot may be in the writer's hands
                # A reader that was overtaken catches up at once: one long gap, not one before every block.
                self._read = self._written - 1
            slot = self._read % slots
            first, block = self._firsts[slot], self._data[slot, : self._lengths[slot]].copy()
            if self._written - self._read < slots:
                self._read += 1
                return first, block
        return None


class SoundCard:
    """An input device, by a part of its name; None is the system's default input. It records from the start.

    At most one may be open in a process: opening one starts PortAudio anew, because it looks for devices only once.
    """

    def __init__(self, device: str | None = None) -> None:
        """`CaptureError` if there is no such device, more than one, or it cannot record 16 kHz mono now."""
        self._ring = Ring()
        self._bell = Bell()
        self._closed = self._finished = False
        self._adc_end = 0.0  # when the last sample of the newest block was taken, on the stream's own clock
        portaudio = LIBRARY.load(anew=True)
        inputs = known(portaudio, "input")
        index = choose(inputs, device, "input")
        self.name = inputs[index].name
        try:
            with LIBRARY.lock:
                self._stream = portaudio.RawInputStream(
                    device=index,
                    samplerate=SAMPLE_RATE,
                    channels=1,
                    dtype="int16",
                    blocksize=BLOCK,
                    callback=self._receive,
                    finished_callback=self._finish,
                )
                self._stream.start()
        except portaudio.PortAudioError as error:
            reason = str(error).splitlines()[0]
            raise CaptureError(
                f"cannot record 16 kHz mono from {self.name!r}: {reason}; {_listing(inputs, 'input')}"
            ) from None

    def blocks(self) -> Iterator[Block]:
        """The blocks as they come in; `DeviceLost` if none has for `LOST_S`."""
        patience = START_S
        deadline = time.monotonic() + patience
        while not self._closed:
            block = self._ring.read()
            if block is not None:
                deadline = time.monotonic() + LOST_S
                yield block
            elif self._finished and not self._closed:
                raise DeviceLost(f"the sound card {self.name!r} stopped")
            elif not self._bell.wait(deadline - time.monotonic()) and not self._closed:
                raise DeviceLost(f"the sound card {self.name!r} delivers no sound")

    def close(self) -> None:
        """End `blocks` and release the device."""
        first, self._closed = not self._closed, True
        self._bell.ring()
        if first:
            self._stream.abort(ignore_errors=True)
            self._stream.close(ignore_errors=True)

    def _receive(self, data: Any, frames: int, times: Any, status: Any) -> None:
        """PortAudio's thread: copy, ring, return; it must allocate no buffer, wait for nothing and do no I/O."""
        begun = times.inputBufferAdcTime
        lost = 0
        if status.input_overflow and self._adc_end:
            lost = min(max(1, round((begun - self._adc_end) * SAMPLE_RATE)), LONGEST_GAP_S * SAMPLE_RATE)
        self._adc_end = begun + frames / SAMPLE_RATE
        self._ring.write(memoryview(data), lost=lost)
        self._bell.ring()

    def _finish(self) -> None:
        self._finished = True
        self._bell.ring()


class WavFile:
    """A recording as a source: at the speed of sound (`realtime`), or as fast as its blocks are taken."""

    def __init__(self, path: Path | str, realtime: bool) -> None:
        """`RecordingError` if it cannot be read."""
        self._samples = read(path)
        self._realtime = realtime
        self._closed = False
        self._bell = Bell()

    def blocks(self) -> Iterator[Block]:
        """The recording from its start; in real time, each block when its last sample would have been taken."""
        start = time.monotonic()
        for first in range(0, len(self._samples), BLOCK):
            block = self._samples[first : first + BLOCK]
            due = start + (first + len(block)) / SAMPLE_RATE
            while self._realtime and not self._closed and time.monotonic() < due:
                self._bell.wait(due - time.monotonic())
            if self._closed:
                return
            yield first, block

    def close(self) -> None:
        """End `blocks`."""
        self._closed = True
        self._bell.ring()


class StandardInput:
    """Raw 16-bit little-endian mono samples at 16 kHz from a pipe or file; half a sample at its end is dropped."""

    def __init__(self, stream: BinaryIO) -> None:
        """`stream` needs a file descriptor, from which nothing has been read. `CaptureError` if it is a terminal."""
        self._descriptor = stream.fileno()
        self._closed = False
        if os.isatty(self._descriptor):
            raise CaptureError("standard input is a terminal; pipe 16-bit mono samples at 16 kHz into it")

    def blocks(self) -> Iterator[Block]:
        """Whole blocks however the bytes come in; the last may be shorter."""
        first = 0
        waiting = bytearray()
        while data := self._some(BLOCK * SAMPLE_BYTES - len(waiting)):
            waiting += data
            if len(waiting) == BLOCK * SAMPLE_BYTES:
                yield first, _samples(waiting)
                first += BLOCK
                waiting.clear()
        if len(waiting) >= SAMPLE_BYTES and not self._closed:
            yield first, _samples(waiting)

    def close(self) -> None:
        """End `blocks` within `POLL_S`; the stream itself stays open, for it is not ours."""
        self._closed = True

    def _some(self, most: int) -> bytes:
        """At least one byte; none at the end or once closed. A blocking read could not be ended from outside."""
        while not self._closed:
            ready, _, _ = select.select([self._descriptor], [], [], POLL_S)
            if ready:
                return os.read(self._descriptor, most)
        return b""


def devices(way: Way = "input", *, anew: bool = False) -> list[Device]:
    """All devices that can record, or play, as PortAudio knew them when it last looked; `CaptureError` without it.

    `anew` has it look again, which ends all streams that are open.
    """
    return list(known(LIBRARY.load(anew=anew), way).values())


class Library:
    """PortAudio, of which a process has one. Whoever opens a stream, or closes one that plays, holds the lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.starts = 0  # each ends all streams that were open

    def load(self, *, anew: bool = False) -> Any:
        """The sounddevice module, started; `anew` shows what was plugged in since."""
        # Importing it loads and starts PortAudio, which a satellite that hears a file or standard input can do without.
        # It is done by hand, because a module whose import fails would take the class of its exception with it.
        with self.lock:
            return self._load(anew)

    def _load(self, anew: bool) -> Any:
        module: Any = sys.modules.get("sounddevice")
        spec = importlib.util.find_spec("sounddevice")
        assert spec and spec.loader  # it is a dependency
        try:
            if module is None:
                module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
                sys.modules["sounddevice"] = module
            elif anew:
                self.starts += 1
                if module._initialized:
                    module._terminate()
                module._initialize()
        except OSError:
            raise CaptureError("PortAudio is not installed; run: apt-get install libportaudio2") from None
        except module.PortAudioError as error:
            reason = str(error).splitlines()[0]
            raise CaptureError(
                f"PortAudio does not start: {reason}; is ALSA's configuration (.asoundrc) right?"
            ) from None
        return module


LIBRARY = Library()


def known(portaudio: Any, way: Way) -> dict[int, Device]:
    """PortAudio's index of each device that can record, or play."""
    hosts = portaudio.query_hostapis()
    default = hosts[portaudio.default.hostapi][f"default_{way}_device"] if hosts else None
    return {
        index: Device(
            info["name"],
            hosts[info["hostapi"]]["name"],
            info[f"max_{way}_channels"],
            info["default_samplerate"],
            index == default,
        )
        for index, info in enumerate(portaudio.query_devices())
        if info[f"max_{way}_channels"] > 0
    }


def choose(known: dict[int, Device], wanted: str | None, way: Way) -> int:
    """The index of the one device meant; indices change from start to start, so only names count."""
    if wanted is None:
        found = [index for index, device in known.items() if device.is_default]
    elif wanted.isdigit():
        raise CaptureError(f"{wanted!r} is a number, and numbers change; give part of a name; {_listing(known, way)}")
    else:
        part = [index for index, device in known.items() if wanted.casefold() in device.name.casefold()]
        found = [index for index in part if known[index].name.casefold() == wanted.casefold()] or part
    if not found:
        missing = f"default {way} device" if wanted is None else f"{way} device {wanted!r}"
        raise CaptureError(f"there is no {missing}; {_listing(known, way)}")
    if len(found) > 1:
        raise CaptureError(f"{wanted!r} may mean {_names(known[index] for index in found)}; give more of the name")
    return found[0]


def _listing(known: dict[int, Device], way: Way) -> str:
    return f"{way} devices: {_names(known.values()) or 'none'}"


def _names(some: Iterable[Device]) -> str:
    return ", ".join(repr(device.name) for device in some)


def _samples(data: bytearray) -> NDArray[np.int16]:
    whole = len(data) // SAMPLE_BYTES * SAMPLE_BYTES
    return np.frombuffer(bytes(data[:whole]), "<i2").astype(np.int16)
