"""Samples as the WAV files that Hermes sends, one per message (snipsco/hermes-protocol, ontology/audio_server.rs).

Besides the sound, a frame of Snips has a chunk `time`, and one of a replay says which, `rpid`, and how many frames of
it are left, `rprf`. Rhasspy sends the sound alone, 44 bytes into the file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.features import SAMPLE_RATE

FRAME = 256  # samples, 16 ms
SAMPLE_BYTES = 2
PCM, MONO = 1, 1
FORM = struct.pack("<HHIIHH", PCM, MONO, SAMPLE_RATE, SAMPLE_RATE * SAMPLE_BYTES, SAMPLE_BYTES, 8 * SAMPLE_BYTES)


@dataclass(frozen=True)
class Replay:
    """Which answer a frame belongs to."""

    id: str
    left: int  # frames, this one included


def wav(samples: NDArray[np.int16], *, unix_ms: int | None = None, replay: Replay | None = None) -> bytes:
    """A WAV file of (n,) samples at 16 kHz; `unix_ms` is when the first was taken."""
    chunks = [_chunk(b"fmt ", FORM)]
    if unix_ms is not None:
        chunks.append(_chunk(b"time", struct.pack("<Q", unix_ms)))
    if replay is not None:
        chunks += [_chunk(b"rpid", replay.id.encode()), _chunk(b"rprf", struct.pack("<I", replay.left))]
    chunks.append(_chunk(b"data", samples.astype("<i2").tobytes()))
    return _chunk(b"RIFF", b"WAVE" + b"".join(chunks))


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
