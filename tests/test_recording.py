"""Whatever a person brings becomes 16 kHz mono, or one sentence."""

from __future__ import annotations

import os
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import firwin, resample_poly

from daemon.features import SAMPLE_RATE
from daemon.recording import MAX_SECONDS, RecordingError, read

GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
RATES = [8_000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000]


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) % 2)


def form(kind: int = 1, channels: int = 1, rate: int = SAMPLE_RATE, bits: int = 16) -> bytes:
    align = channels * ((bits + 7) // 8)
    return chunk(b"fmt ", struct.pack("<HHIIHH", kind, channels, rate, rate * align & 0xFFFFFFFF, align, bits))


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def stored(tmp_path: Path, content: bytes) -> NDArray[np.int16]:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    samples = read(path)
    assert samples.dtype == np.int16 and samples.ndim == 1
    return samples


def refused(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(RecordingError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path} ") and "\n" not in message
    return message.removeprefix(f"{path} ")


def tone(hertz: float, rate: int, seconds: float = 1.0) -> NDArray[np.float64]:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def db(power: float) -> float:
    return float(10 * np.log10(max(power, 1e-20)))


@pytest.fixture
def noise() -> NDArray[np.int16]:
    return np.random.default_rng(1).integers(-32768, 32768, 5000).astype(np.int16)


def test_16_khz_mono_passes_unchanged(tmp_path: Path, noise: NDArray[np.int16]) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(noise.tobytes())
    assert np.array_equal(read(tmp_path / "a.wav"), noise)
    assert np.array_equal(read(str(tmp_path / "a.wav")), noise)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
def test_every_sample_format(tmp_path: Path, noise: NDArray[np.int16], subtype: str, container: str) -> None:
    soundfile.write(tmp_path / "a.wav", noise / 32768, SAMPLE_RATE, subtype=subtype, format=container)
    worst = np.abs(read(tmp_path / "a.wav").astype(int) - noise).max()
    assert worst <= (256 if subtype == "PCM_U8" else 0)


@pytest.mark.parametrize("container", ["FLAC", "OGG"])
def test_flac_and_ogg(tmp_path: Path, container: str) -> None:
    wanted = (10_000 * tone(440, SAMPLE_RATE)).astype(np.int16)
    soundfile.write(tmp_path / "a", wanted, SAMPLE_RATE, format=container)
    samples = read(tmp_path / "a")
    assert len(samples) == len(wanted)
    assert db(np.mean((samples.astype(float) - wanted) ** 2) / np.mean(wanted.astype(float) ** 2)) < -25


def test_channels_are_averaged(tmp_path: Path) -> None:
    frames = np.array([[100, -100, 30], [32767, 32767, 32767], [-32768, -32768, -32768], [1, 1, 0]], "<i2")
    samples = stored(tmp_path, riff(form(channels=3), chunk(b"data", frames.tobytes())))
    assert samples.tolist() == [10, 32767, -32768, 1]


def test_float_is_rounded_and_clipped(tmp_path: Path) -> None:
    values = np.array([0.5, 1.0, 2.5, -1.0, -7.0, 1e30, 0.6 / 32768, -0.6 / 32768], "<f4")
    samples = stored(tmp_path, riff(form(kind=3, bits=32), chunk(b"data", values.tobytes())))
    assert samples.tolist() == [16384, 32767, 32767, -32768, -32768, 32767, 1, -1]


def test_other_chunks_are_stepped_over(tmp_path: Path, noise: NDArray[np.int16]) -> None:
    sound = chunk(b"data", noise.tobytes())
    assert np.array_equal(stored(tmp_path, riff(chunk(b"LIST", b"odd"), form(), chunk(b"void", b""), sound)), noise)
    unpadded = b"junk" + struct.pack("<I", 3) + b"odd"
    assert np.array_equal(stored(tmp_path, riff(unpadded, form(), sound, chunk(b"LIST", b"after"))), noise)


@pytest.mark.parametrize("size", [0, 36, 0xFFFFFFFF, None])
@pytest.mark.parametrize("data_size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 10_001])
def test_sizes_that_lie(tmp_path: Path, noise: NDArray[np.int16], size: int | None, data_size: int) -> None:
    content = riff(form(), chunk(b"data", noise.tobytes(), data_size), size=size)
    if data_size == 0 and size not in (0, 36):
        assert refused(tmp_path, content) == "holds no sound"
    else:
        assert np.array_equal(stored(tmp_path, content), noise)


def test_half_a_frame_at_the_end_is_dropped(tmp_path: Path) -> None:
    assert stored(tmp_path, riff(form(channels=2), chunk(b"data", b"\1\0\1\0\1\0\1")[:-1])).tolist() == [1]


@pytest.mark.parametrize("rate", RATES)
def test_resampled_speech_band_matches_a_reference(tmp_path: Path, rate: int) -> None:
    rng = np.random.default_rng(2)
    band = 0.4 * min(rate, SAMPLE_RATE)
    sound = sum(tone(f, rate) * a for f, a in zip(rng.uniform(50, band, 20), rng.uniform(0, 0.05, 20), strict=True))
    soundfile.write(tmp_path / "a.wav", sound, rate, subtype="DOUBLE")
    samples = read(tmp_path / "a.wav") / 32768
    common = np.gcd(rate, SAMPLE_RATE)
    up, down = SAMPLE_RATE // common, rate // common
    wanted = resample_poly(sound, up, down, window=firwin(128 * max(up, down) + 1, 0.95 / max(up, down)))
    assert len(samples) == len(wanted) == SAMPLE_RATE
    inner = slice(2000, -2000)
    assert db(np.mean((samples - wanted)[inner] ** 2) / np.mean(wanted[inner] ** 2)) < -60


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000])
def test_what_lies_above_the_new_band_does_not_fold_back(tmp_path: Path, rate: int) -> None:
    seconds = 3
    hertz = np.linspace(8_050, 0.499 * rate, seconds * rate)
    sweep = 0.9 * np.sin(2 * np.pi * np.cumsum(hertz) / rate)
    soundfile.write(tmp_path / "a.wav", sweep, rate, subtype="DOUBLE")
    samples = read(tmp_path / "a.wav")[200:-200] / 32768  # the sweep's sudden start and end do lie in the band
    assert db(np.max(samples**2) / 0.9**2) < -60


@pytest.mark.parametrize("rate", RATES)
def test_the_passband_is_flat(tmp_path: Path, rate: int) -> None:
    top = 0.44 * min(rate, SAMPLE_RATE)
    for hertz in np.linspace(20, top, 9):
        soundfile.write(tmp_path / "a.wav", 0.5 * tone(hertz, rate, 0.5), rate, subtype="DOUBLE")
        samples = read(tmp_path / "a.wav")[1000:-1000] / 32768
        wanted = 0.5 * tone(hertz, SAMPLE_RATE, 0.5)[1000:-1000]
        assert np.abs(samples - wanted).max() < 0.002, hertz


@pytest.mark.parametrize("rate", [1_000, 11_127, 44_101, 191_999, 384_000])
def test_odd_rates_keep_pitch_and_length(tmp_path: Path, rate: int) -> None:
    sound = (10_000 * tone(300, rate, 2)).astype(np.int16)
    samples = stored(tmp_path, riff(form(rate=rate), chunk(b"data", sound.tobytes())))
    assert abs(len(samples) - 2 * SAMPLE_RATE) <= 2
    wanted = 10_000 * tone(300, SAMPLE_RATE, 2)[: len(samples)]
    assert np.abs(samples[1000:-1000] - wanted[1000:-1000]).max() < 250  # of 10 000


def test_pieces_join_without_a_seam(tmp_path: Path) -> None:
    sound = np.full(400_000, 12_345, "<i2")
    samples = stored(tmp_path, riff(form(rate=44_100), chunk(b"data", sound.tobytes())))
    assert len(samples) == -(-len(sound) * 160 // 441)
    assert (samples[100:-100] == 12_345).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"RIFF", "is not a recording: neither WAV, FLAC nor Ogg"),
        (b"RIFF\0\0\0\0WAVE", "ends inside its header"),
        (riff(form())[:30], "ends inside its header"),
        (riff(form()), "ends before its sound begins"),
        (riff(chunk(b"data", b"1234")), "ends inside its header"),
        (riff(form(), chunk(b"data", b"")), "holds no sound"),
        (riff(form(channels=2), chunk(b"data", b"abc")), "holds no sound"),
        (riff(form(kind=6, bits=8), chunk(b"data", b"a")), "holds compressed sound (A-law); convert it to PCM"),
        (riff(form(kind=77), chunk(b"data", b"a")), "holds compressed sound (format 77); convert it to PCM"),
        (riff(form(bits=64), chunk(b"data", b"a")), "has samples of 64 bits, which no such file has"),
        (riff(form(bits=0), chunk(b"data", b"a")), "has samples of 0 bits, which no such file has"),
        (riff(form(kind=3), chunk(b"data", b"a")), "has samples of 16 bits, which no such file has"),
        (riff(form(channels=0), chunk(b"data", b"a")), "claims 0 channels; 1 to 64 are possible"),
        (riff(form(channels=9999), chunk(b"data", b"a")), "claims 9999 channels; 1 to 64 are possible"),
        (riff(form(rate=0), chunk(b"data", b"ab")), "claims 0 samples per second; 1000 to 768000 are possible"),
        (
            riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 2, 16000, 64000, 2, 16)), chunk(b"data", b"abcd")),
            "contradicts itself: 2 channels of 2 bytes are not 2 bytes",
        ),
        (
            riff(chunk(b"fmt ", struct.pack("<HHIIHH", 0xFFFE, 1, 16000, 32000, 2, 16)), chunk(b"data", b"ab")),
            "ends inside its header",
        ),
        (
            riff(form(kind=3, bits=32), chunk(b"data", np.array([0, np.nan], "<f4").tobytes())),
            "holds samples that are not numbers (NaN or infinite)",
        ),
        (b"<!DOCTYPE html><html>", "is a web page or XML, not sound; was the download refused?"),
        (b"\n <html>", "is a web page or XML, not sound; was the download refused?"),
        (b"ID3\x03", "is an MP3 file; convert it to WAV or FLAC"),
        (b"\0\0\0\x1cftypM4A ", "is an MP4 or M4A file; convert it to WAV or FLAC"),
        (b"RIFX\0\0\0\0WAVE", "is a big-endian WAV file; convert it to an ordinary one"),
        (b"version https://git-lfs", "is a Git LFS pointer, not the sound itself; run: git lfs pull"),
        (b"hello", "is not a recording: neither WAV, FLAC nor Ogg"),
    ],
)
def test_what_is_no_recording(tmp_path: Path, content: bytes, message: str) -> None:
    assert refused(tmp_path, content) == message


def test_extensible_may_hold_something_compressed(tmp_path: Path) -> None:
    head = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 8000, 8000, 1, 8, 22, 8, 4)
    body = chunk(b"fmt ", head + struct.pack("<H", 7) + GUID_TAIL)
    assert refused(tmp_path, riff(body, chunk(b"data", b"ab"))) == "holds compressed sound (mu-law); convert it to PCM"


def test_damaged_flac(tmp_path: Path) -> None:
    assert refused(tmp_path, b"fLaC" + bytes(100)).startswith("is damaged: ")


def test_three_hours_are_too_long(tmp_path: Path) -> None:
    size = 3 * 3600 * 8000
    with (tmp_path / "a.wav").open("wb") as file:
        file.write(riff(form(rate=8000, bits=8)) + b"data" + struct.pack("<I", size))
        file.truncate(44 + size)  # a hole: it takes no room on the disk
    with pytest.raises(RecordingError, match=rf"3\.0 hours long; at most {MAX_SECONDS // 3600} are possible"):
        read(tmp_path / "a.wav")


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"none\.wav cannot be read: No such file"):
        read(tmp_path / "none.wav")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(RecordingError, match="is not a file"):
            read(path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(riff(chunk(b"LIST", b"info"), form(channels=2, rate=22_050), chunk(b"data", bytes(400))))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, 70))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.wav"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        assert read(path).dtype == np.int16
    except RecordingError as error:
        assert str(error).startswith(f"{path} ")
