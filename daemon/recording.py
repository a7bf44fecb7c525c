"""Any recording becomes 16 kHz mono int16, or one sentence that says why not.

WAV files are read here, because the standard library's reader refuses float and trusts the header's sizes; FLAC and
Ogg go through the `soundfile` package where it is installed. Recordings come from people: every number of a header is
checked before it is used, and sound is read and resampled in pieces, so that memory is bounded by the result.
"""

from __future__ import annotations

import importlib
import io
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from daemon.features import SAMPLE_RATE
from daemon.pcm import Resampler, Samples, decode, integers

MAX_SECONDS = 2 * 3600
MIN_RATE, MAX_RATE = 1_000, 768_000
MAX_CHANNELS = 64
MAX_CHUNKS = 4096  # of a WAV file, before its sound
PIECE = 1 << 16  # samples that are read and resampled at once, about

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
COMPRESSED = {2: "ADPCM", 6: "A-law", 7: "mu-law", 0x11: "IMA ADPCM", 0x31: "GSM", 0x50: "MPEG", 0x55: "MP3"}
UNKNOWN_SIZE = 0xFFFFFFFF  # what a recorder writes that streams, and cannot go back to fill in the size
NOT_SOUND = (
    (b"ID3", "is an MP3 file; convert it to WAV or FLAC"),
    (b"\xff\xfb", "is an MP3 file; convert it to WAV or FLAC"),
    (b"\xff\xf3", "is an MP3 file; convert it to WAV or FLAC"),
    (b"RIFX", "is a big-endian WAV file; convert it to an ordinary one"),
    (b"FORM", "is an AIFF file; convert it to WAV or FLAC"),
    (b"\x1aE\xdf\xa3", "is a Matroska or WebM file; convert it to WAV or FLAC"),
    (b"<", "is a web page or XML, not sound; was the download refused?"),
    (b"version https://git-lfs", "is a Git LFS pointer, not the sound itself; run: git lfs pull"),
    (b"\x1f\x8b", "is a compressed archive; unpack it first"),
    (b"PK", "is a compressed archive; unpack it first"),
)

Fetch = Callable[[int, int], Samples]  # the mono samples [start, stop) of a recording, in units of int16


class RecordingError(Exception):
    """The file cannot be used as a recording; the text is one sentence that names it and the reason."""


class _Refused(RecordingError):
    """The reason, without the name."""


def read(path: Path | str) -> NDArray[np.int16]:
    """The whole recording as 16 kHz mono int16, (n,), n > 0; channels are averaged. `RecordingError` otherwise."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise _Refused("is not a file")
        with Path(path).open("rb") as file:
            return _read(file)
    except _Refused as refused:
        raise RecordingError(f"{path} {refused}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise RecordingError(f"{path} cannot be read: {reason}") from None


def header(data: bytes) -> Wav:
    """How the sound of a WAV file in memory is written, and where it is; `RecordingError` if it is no such file."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise RecordingError("it is no WAV file")
    wav = _header(io.BytesIO(data))
    _check_rate(wav.rate)
    return wav


def _read(file: BinaryIO) -> NDArray[np.int16]:
    head = file.read(64)
    if not head:
        raise _Refused("is empty")
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        wav = _header(file)
        return _convert(wav.fetch, wav.length, wav.rate)
    if head[:4] in (b"fLaC", b"OggS"):
        return _read_compressed(file)
    if head[4:8] == b"ftyp":
        raise _Refused("is an MP4 or M4A file; convert it to WAV or FLAC")
    for magic, reason in NOT_SOUND:
        if head.lstrip()[: len(magic)] == magic:
            raise _Refused(reason)
    raise _Refused("is not a recording: neither WAV, FLAC nor Ogg")


def _read_compressed(file: BinaryIO) -> NDArray[np.int16]:
    try:
        # Only people who bring such files need the package and the C library under it, and a satellite has neither.
        soundfile = importlib.import_module("soundfile")
    except (ImportError, OSError):
        raise _Refused("is FLAC or Ogg, which needs the soundfile package; run: pip install soundfile") from None
    file.seek(0)
    try:
        with soundfile.SoundFile(file) as sound:

            def fetch(start: int, stop: int) -> Samples:
                sound.seek(start)
                samples = sound.read(stop - start, dtype="float64", always_2d=True)
                if len(samples) != stop - start:
                    raise _Refused("is damaged: it ends before the length that it states")
                return _mean(samples * 32768)

            return _convert(fetch, sound.frames, sound.samplerate)
    except soundfile.LibsndfileError as error:
        raise _Refused(f"is damaged: {error}") from None


def _convert(fetch: Fetch, length: int, rate: int) -> NDArray[np.int16]:
    if length <= 0:
        raise _Refused("holds no sound")
    _check_rate(rate)
    if length > MAX_SECONDS * rate:
        raise _Refused(f"is {length / rate / 3600:.1f} hours long; at most {MAX_SECONDS // 3600} are possible")
    pieces = (fetch(start, min(length, start + PIECE)) for start in range(0, length, PIECE))
    if rate == SAMPLE_RATE:
        return np.concatenate([integers(piece) for piece in pieces])
    resampler = Resampler(rate)
    return np.concatenate([*(resampler.push(piece) for piece in pieces), resampler.finish()])


def _check_rate(rate: int) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise _Refused(f"claims {rate} samples per second; {MIN_RATE} to {MAX_RATE} are possible")


@dataclass(frozen=True)
class Wav:
    """Where the sound of a WAV file lies and how it is written."""

    file: BinaryIO
    kind: int  # PCM or FLOAT
    width: int  # bytes of a sample
    channels: int
    rate: int
    start: int  # byte offset
    length: int  # samples per channel

    def fetch(self, start: int, stop: int) -> Samples:
        """Samples [start, stop), the mean of all channels, in units of int16; `RecordingError` for what is none."""
        frame = self.width * self.channels
        self.file.seek(self.start + start * frame)
        data = self.file.read((stop - start) * frame)
        if len(data) != (stop - start) * frame:
            raise _Refused("became shorter while it was read")
        return _mean(_decode(data, self.kind, self.width).reshape(-1, self.channels))


def _header(file: BinaryIO) -> Wav:
    """Walk the chunks up to the sound. Sizes may lie: what counts is where the file ends."""
    end = file.seek(0, 2)
    file.seek(4)
    claimed = int.from_bytes(file.read(4), "little") + 8
    position = 12
    form = None
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            raise _Refused("ends before its sound begins" if form else "ends inside its header")
        name, size = struct.unpack("<4sI", head)
        body = position + 8
        if name == b"fmt ":
            form = _format(file.read(min(size, 40)))
        if name == b"data" and form:
            # A recorder that was killed leaves the sizes as they were at its start: zero, or less than the file.
            endless = size == UNKNOWN_SIZE or (size == 0 and claimed < end)
            there = end - body if endless else min(size, end - body)
            kind, width, channels, rate = form
            return Wav(file, kind, width, channels, rate, body, there // (width * channels))
        file.seek(body + size)
        padded = size % 2 and file.read(1) == b"\0"  # not all writers pad; no chunk's name begins with zero
        position = body + size + bool(padded)
    raise _Refused("has too many chunks before its sound")


def _format(body: bytes) -> tuple[int, int, int, int]:
    """Kind, bytes of a sample, channels and rate, from the body of the `fmt ` chunk."""
    if len(body) < 16:
        raise _Refused("ends inside its header")
    kind, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", body)
    if kind == EXTENSIBLE:
        if len(body) < 26:
            raise _Refused("ends inside its header")
        (kind,) = struct.unpack_from("<H", body, 24)  # a GUID's first field is the plain format
    if kind not in (PCM, FLOAT):
        raise _Refused(f"holds compressed sound ({COMPRESSED.get(kind, f'format {kind}')}); convert it to PCM")
    width = (bits + 7) // 8
    if width not in ((1, 2, 3, 4) if kind == PCM else (4, 8)):
        raise _Refused(f"has samples of {bits} bits, which no such file has")
    if not 1 <= channels <= MAX_CHANNELS:
        raise _Refused(f"claims {channels} channels; 1 to {MAX_CHANNELS} are possible")
    if align != width * channels:
        raise _Refused(f"contradicts itself: {channels} channels of {width} bytes are not {align} bytes")
    return kind, width, channels, rate


def _decode(data: bytes, kind: int, width: int) -> Samples:
    """Bytes to numbers in units of int16, (n,)."""
    if kind == FLOAT:
        return np.frombuffer(data, f"<f{width}").astype(np.float64) * 32768
    return decode(data, width)


def _mean(samples: Samples) -> Samples:
    """(n, channels) to (n,); `_Refused` for what is no number."""
    if not np.isfinite(samples).all():
        raise _Refused("holds samples that are not numbers (NaN or infinite)")
    # Clipped first, because one wild float sample would ring through the resampling filter.
    return np.asarray(np.clip(samples, -32768, 32767).mean(axis=1))
