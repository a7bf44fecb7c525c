"""Sound as Hermes sends it, and the clock that it is timed by."""

import io
import struct
import wave

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from rhasspyhermes.audioserver import AudioFrame, AudioSummary

from daemon.activity import FRAME as ACTIVITY_FRAME
from daemon.activity import Activity, debiased_energy
from daemon.clock import StreamClock
from daemon.features import SAMPLE_RATE
from daemon.frames import FRAME, Replay, wav
from daemon.recent import Recent

NOISE = np.random.default_rng(7).integers(-3000, 3000, 5 * SAMPLE_RATE).astype(np.int16)


def chunks(data: bytes) -> dict[bytes, bytes]:
    """The chunks of a RIFF file, in their order."""
    assert data[:4] == b"RIFF" and data[8:12] == b"WAVE"
    assert struct.unpack("<I", data[4:8]) == (len(data) - 8,)
    found, at = {}, 12
    while at < len(data):
        (size,) = struct.unpack("<I", data[at + 4 : at + 8])
        found[data[at : at + 4]] = data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    return found


def sound_of(data: bytes) -> np.ndarray:
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, SAMPLE_RATE)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def test_a_frame_of_snips_says_when_it_was_taken() -> None:
    data = wav(NOISE[:FRAME], unix_ms=1_790_000_000_123)
    assert len(data) == 572
    assert list(chunks(data)) == [b"fmt ", b"time", b"data"]
    assert struct.unpack("<Q", chunks(data)[b"time"]) == (1_790_000_000_123,)
    np.testing.assert_array_equal(sound_of(data), NOISE[:FRAME])


def test_a_frame_of_rhasspy_is_the_one_that_its_own_package_makes() -> None:
    with io.BytesIO() as file:
        with wave.open(file, "wb") as recording:
            recording.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
            recording.writeframes(NOISE[:FRAME].tobytes())
        file.seek(0)
        (theirs,) = AudioFrame.iter_wav_chunked(file, FRAME)
    assert wav(NOISE[:FRAME]) == theirs


def test_a_frame_of_a_replay_says_which_and_how_many_are_left() -> None:
    for name in ("odd", "even"):
        data = wav(NOISE[:FRAME], unix_ms=1, replay=Replay(name, 3))
        assert list(chunks(data)) == [b"fmt ", b"time", b"rpid", b"rprf", b"data"]
        assert chunks(data)[b"rpid"] == name.encode()
        assert struct.unpack("<I", chunks(data)[b"rprf"]) == (3,)
        np.testing.assert_array_equal(sound_of(data), NOISE[:FRAME])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 3 * SAMPLE_RATE), min_size=1, max_size=8), st.integers(0, 10**6))
def test_the_recent_samples_are_those_that_were_heard(cuts: list[int], first: int) -> None:
    recent, whole = Recent(2), np.resize(NOISE, sum(cuts))
    recent.clear(first)
    at = 0
    for cut in cuts:
        recent.push(first + at, whole[at : at + cut])
        at += cut
    assert (recent.first, recent.next_sample) == (first + max(0, at - 2 * SAMPLE_RATE), first + at)
    np.testing.assert_array_equal(recent.copy(0, 10**9), whole[-2 * SAMPLE_RATE :])
    middle = recent.first + (recent.next_sample - recent.first) // 2
    np.testing.assert_array_equal(recent.copy(middle, middle + 99), whole[middle - first : middle - first + 99])


def test_what_came_before_a_gap_is_forgotten_and_what_is_hushed_is_silent() -> None:
    recent = Recent(2)
    recent.push(0, NOISE[:1000])
    recent.push(2000, NOISE[2000:3000])
    np.testing.assert_array_equal(recent.copy(0, 3000), NOISE[2000:3000])
    recent.hush(True)
    recent.push(3000, NOISE[3000:4000])
    recent.hush(False)
    recent.push(4000, NOISE[4000:5000])
    assert not recent.copy(3000, 4000).any()
    np.testing.assert_array_equal(recent.copy(4000, 5000), NOISE[4000:5000])


def test_67_the_time_of_samples_survives_late_blocks_and_follows_a_clock_that_was_set() -> None:
    clock, second = StreamClock(), 1_000_000_000
    start = 1_790_000_000 * second
    for number in range(1, 200):
        late = second // 10 * (number % 3)
        clock.heard(number * SAMPLE_RATE, start + number * second + late)
    assert abs(clock.ms(100 * SAMPLE_RATE) - 1_790_000_100_000) <= 100
    assert clock.sample(clock.ms(12_345_678)) in range(12_345_678 - 16, 12_345_679)
    clock.heard(200 * SAMPLE_RATE, 86_400 * second)
    assert clock.ms(200 * SAMPLE_RATE) == 86_400_000


def test_somebody_speaks_while_it_is_loud() -> None:
    quiet = (NOISE // 100).astype(np.int16)
    sound = np.concatenate([quiet[: 2 * SAMPLE_RATE], NOISE[: 2 * SAMPLE_RATE], quiet[: 2 * SAMPLE_RATE]])
    for cut in (80, 1280, 5000):
        activity, told = Activity(), []
        for first in range(0, len(sound), cut):
            if activity.push(first, sound[first : first + cut]):
                told.append((activity.speaking, activity.since))
        assert told == [(True, 2 * SAMPLE_RATE), (False, 4 * SAMPLE_RATE)]
    assert SAMPLE_RATE % ACTIVITY_FRAME == 0


def test_loudness_is_that_of_rhasspy() -> None:
    for loud in (10, 100, 3000):
        sound = np.random.default_rng(1).integers(-loud, loud, 1280).astype(np.int16)
        theirs = AudioSummary.get_debiased_energy(sound.tobytes())
        assert abs(debiased_energy(sound) - theirs) < 2
