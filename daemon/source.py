"""One endless stream of samples, whatever becomes of the device that they come from.

A microphone that is lost, or not there yet, is waited for; one that is muted is closed. The sample number goes on over
all of that as if it had been heard, and while there is no sound, empty blocks keep the loop of whoever takes it alive.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from typing import Literal

import numpy as np

from daemon.capture import Bell, Block, CaptureError, DeviceLost, SoundCard, Source, StandardInput, WavFile
from daemon.config import AudioConfig, ConfigError
from daemon.features import SAMPLE_RATE
from daemon.recording import RecordingError

log = logging.getLogger(__name__)

RETRY_S = (0.5, 5.0)  # first and longest pause before a lost microphone is tried again
REST_S = 5.0  # between signs of life while it is muted
NOTHING = np.empty(0, np.int16)

State = Literal["waiting", "heard", "away", "muted"]


def open_source(audio: AudioConfig) -> Source:
    """The source that the configuration asks for; `CaptureError` or `ConfigError` in one line if it cannot be had."""
    if audio.source == "file":
        assert audio.file is not None  # the configuration was checked
        try:
            return WavFile(audio.file, realtime=audio.realtime)
        except RecordingError as error:
            raise ConfigError(f"audio.file cannot be used: {error}") from error
    if audio.source == "stdin":
        if sys.stdin is None:
            raise CaptureError("standard input is closed; pipe 16-bit mono samples at 16 kHz into it")
        return StandardInput(sys.stdin.buffer)
    return SoundCard(audio.device)


class EndlessSource:
    """What the satellite hears, from start to stop. `close` is safe in a signal handler, the rest in one thread."""

    def __init__(self, audio: AudioConfig, bell: Bell) -> None:
        """`bell` cuts waiting short."""
        self.state: State = "waiting"
        self.next_sample = 0
        self._audio = audio
        self._bell = bell
        self._muted = audio.muted
        self._closed = False
        self._source: Source | None = None
        self._complaint = ""  # the last one logged of a microphone that is still away

    @property
    def ended(self) -> bool:
        """The sound came to its own end."""
        return not self._closed

    def mute(self, muted: bool) -> None:
        """Close the microphone, or open it again."""
        self._muted = muted
        if muted:
            self._release()

    def close(self) -> None:
        """End `blocks` promptly."""
        self._closed = True
        self._bell.ring()
        self._release()

    def blocks(self) -> Iterator[Block]:
        """The sound until its end or `close`; an empty block where something else may need to be looked after.

        `CaptureError` if a source that is no microphone cannot be opened.
        """
        lost_at, pause = time.monotonic(), RETRY_S[0]
        while not self._closed:
            if self._muted:
                self._be_muted()
                yield from self._rest(REST_S)
                continue
            try:
                self._source = open_source(self._audio)
                yield from self._heard(lost_at)
                if self._source is not None and self._audio.source != "microphone":
                    return
                lost_at = time.monotonic()  # muted, perhaps for a moment only: a microphone has no end of its own
            except CaptureError as error:
                if self._audio.source != "microphone":
                    raise
                if isinstance(error, DeviceLost):
                    lost_at, pause = time.monotonic(), RETRY_S[0]
                self._complain(str(error))
                yield from self._rest(pause)
                pause = min(2 * pause, RETRY_S[1])

    def _heard(self, lost_at: float) -> Iterator[Block]:
        """The source's blocks; after a loss the sample number goes on where it would be."""
        if self._closed or self._source is None:
            return
        lost = round((time.monotonic() - lost_at) * SAMPLE_RATE)
        offset = self.next_sample + lost if self.next_sample else 0
        for first, block in self._source.blocks():
            if self.state != "heard":
                log.info("hearing the %s", self._audio.source)
                self.state, self._complaint = "heard", ""
            self.next_sample = offset + first + len(block)
            yield offset + first, block

    def _be_muted(self) -> None:
        if self.state != "muted":
            log.info("the %s is muted", self._audio.source)
        self.state, self._complaint = "muted", ""

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            log.warning("%s; waiting for it", text)
        self._complaint, self.state = text, "away"
        self._release()

    def _rest(self, seconds: float) -> Iterator[Block]:
        deadline = time.monotonic() + seconds
        muted = self._muted
        while not self._closed and self._muted == muted:
            yield self.next_sample, NOTHING
            if (left := deadline - time.monotonic()) <= 0:
                return
            self._bell.wait(left)

    def _release(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()
