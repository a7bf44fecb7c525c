"""Sounds that others want heard here, one after the other on one output device, in a thread of its own.

PortAudio starts anew when the microphone was lost, and takes this stream with it: the sound then goes on in a new one.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.capture import LIBRARY, CaptureError, choose, known
from daemon.pcm import Resampler, integers
from daemon.recording import RecordingError, Wav, header

log = logging.getLogger(__name__)

WAITING_BYTES = 8 * 1024 * 1024  # of sounds that wait
WAITING = 64  # sounds
PIECE_S = 0.05
AHEAD = 10  # pieces that wait for the device
POLL_S = 0.01
STUCK_S = 5.0  # without a piece played, a device plays no more
STREAM_S = 2.0  # that a stream's device is kept open for its next chunk


@dataclass(frozen=True)
class Sound:
    """What is to be played."""

    data: bytes  # a WAV file
    finished: Callable[[str | None], None]  # called with what went wrong
    stream: str | None = None  # whose chunks follow each other without a break
    last: bool = True  # of its stream
    begun: Callable[[], None] = lambda: None


class PlaybackError(RuntimeError):
    """Sounds cannot be played; the text is one line."""


class Playback:
    """`with Playback(device) as playback:` plays until the block ends."""

    def __init__(self, device: str) -> None:
        """`device` is a part of its name."""
        self.volume = 1.0
        self.enabled = True
        self._device = device
        self._waiting: deque[Sound] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._output: _Output | None = None
        self._thread = threading.Thread(target=self._run, name="playback", daemon=True)

    def __enter__(self) -> Playback:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(1.0)

    def check(self) -> None:
        """`PlaybackError` if the thread that plays has died, so that the service manager can start everything anew."""
        if not self._thread.is_alive() and not self._stopping:
            raise PlaybackError("the playback has died; see the lines before this one")

    def play(self, sound: Sound) -> bool:
        """Play a sound after those that wait; False if too many do. Returns at once."""
        with self._changed:
            size = sum(len(waiting.data) for waiting in self._waiting) + len(sound.data)
            if len(self._waiting) >= WAITING or size > WAITING_BYTES:
                return False
            self._waiting.append(sound)
            self._changed.notify()
        return True

    # From here on in the playback thread.

    def _run(self) -> None:
        while (sound := self._next()) is not None:
            error = None
            sound.begun()
            try:
                if self.enabled:
                    self._play(sound)
            except (PlaybackError, RecordingError, CaptureError) as failed:
                error = str(failed)
                self._close(at_once=True)
            sound.finished(error)
        self._close()

    def _next(self) -> Sound | None:
        """The next sound, once there is one; None to stop."""
        with self._changed:
            patience = STREAM_S if self._output else None
            if self._changed.wait_for(lambda: self._stopping or self._waiting, patience):
                return None if self._stopping else self._waiting.popleft()
        self._close()  # which takes seconds if the device hangs, while `play` may wait for nothing
        return self._next()

    def _play(self, sound: Sound) -> None:
        wav = header(sound.data)
        if self._output is None or not self._output.goes_with(sound.stream, wav.rate):
            self._close()
            self._output = _Output(self._device, wav.rate, sound.stream)
        for samples in _pieces(wav):
            if self._stopping or not self.enabled:
                break
            self._output.write(integers(samples * self.volume))
        if sound.last:
            self._close()

    def _close(self, *, at_once: bool = False) -> None:
        output, self._output = self._output, None
        if output is not None:
            if not at_once:
                output.finish()
            output.release()


class _Output:
    """The device, for sound of one rate."""

    def __init__(self, device: str, rate: int, stream: str | None) -> None:
        self._device = device
        self._rate = rate
        self._stream_id = stream
        self._pieces: deque[bytes] = deque()  # that are left to be played
        self._taken = 0  # bytes of the first
        self._open()

    def goes_with(self, stream: str | None, rate: int) -> bool:
        """Whether a sound is the next chunk of what is being played."""
        return stream is not None and (stream, rate) == (self._stream_id, self._rate)

    def _open(self) -> None:
        """At the sound's own rate if the device can play that, or else at the device's."""
        portaudio = LIBRARY.load()
        self._error: type[Exception] = portaudio.PortAudioError
        self._resampler: Resampler | None = None
        with LIBRARY.lock:
            self._starts = LIBRARY.starts
            outputs = known(portaudio, "output")
            index = choose(outputs, self._device, "output")
            try:
                self._start(portaudio, index, self._rate)
            except self._error:
                own = round(outputs[index].rate)
                self._resampler = Resampler(self._rate, own)
                try:
                    self._start(portaudio, index, own)
                except self._error as error:
                    reason = str(error).splitlines()[0]
                    raise PlaybackError(f"cannot play on {outputs[index].name!r}: {reason}") from None

    def _start(self, portaudio: Any, index: int, rate: int) -> None:
        self._stream = portaudio.RawOutputStream(
            device=index, samplerate=rate, channels=1, dtype="int16", callback=self._fill
        )
        self._piece = round(PIECE_S * rate)
        self._stream.start()

    def _fill(self, out: Any, frames: int, times: Any, status: Any) -> None:
        """PortAudio's thread: what was handed over, and silence after it."""
        filled = 0
        while filled < len(out) and self._pieces:
            piece = self._pieces[0]
            taken = min(len(piece) - self._taken, len(out) - filled)
            out[filled : filled + taken] = piece[self._taken : self._taken + taken]
            filled, self._taken = filled + taken, self._taken + taken
            if self._taken == len(piece):
                self._pieces.popleft()
                self._taken = 0
        out[filled:] = bytes(len(out) - filled)

    def write(self, samples: NDArray[np.int16]) -> None:
        """Play (n,) samples of the sound's rate; returns once there is room for more."""
        if self._resampler is not None:
            samples = self._resampler.push(samples.astype(np.float64))
        for first in range(0, len(samples), self._piece):
            self._pieces.append(samples[first : first + self._piece].astype("<i2").tobytes())
        self._wait(AHEAD)

    def _wait(self, most: int) -> None:
        """Until at most so many pieces are left to be played."""
        left, deadline = len(self._pieces), time.monotonic() + STUCK_S
        while len(self._pieces) > most:
            if len(self._pieces) < left:
                left, deadline = len(self._pieces), time.monotonic() + STUCK_S
            if self._starts != LIBRARY.starts:
                self._open()
            if time.monotonic() > deadline:
                raise PlaybackError(f"the sound card {self._device!r} takes no sound")
            time.sleep(POLL_S)

    def finish(self) -> None:
        """Let what was handed over be heard."""
        with contextlib.suppress(PlaybackError, CaptureError):  # its last part of a second
            if self._resampler is not None:
                self._pieces.append(self._resampler.finish().astype("<i2").tobytes())
            self._wait(0)

    def release(self) -> None:
        """Close the device; it would go on calling us."""
        with LIBRARY.lock:
            if self._starts == LIBRARY.starts:
                self._stream.stop(ignore_errors=True)
                self._stream.close(ignore_errors=True)


def _pieces(wav: Wav) -> Iterator[NDArray[np.float64]]:
    step = max(1, round(PIECE_S * wav.rate))
    for start in range(0, wav.length, step):
        yield wav.fetch(start, min(wav.length, start + step))
