"""The sound that a model is judged on: real recordings, one after the other, as they are or in worse conditions.

A session is a few minutes of running sound. Words lie between other speech and noise, so that what precedes a word is
what would precede it in a home. The same seed gives the same order, pauses and noise in every condition; only what is
done to the sound differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import oaconvolve

from daemon.features import SAMPLE_RATE
from models.corpus import Recording, read_audio, to_int16

Audio = NDArray[np.float32]

SESSION_S = 300.0  # of recordings
LEAD_S = 2.5  # of quiet at a session's start, longer than a receptive field
HIT_S = 0.5  # after the word's end, in which a detection still counts
PAUSE_S = (HIT_S, 1.2)  # behind each recording: a late hit falls into it
HISS = 3e-4  # root mean square of a quiet room, of full scale: -70 dB
SPEECH = 0.05  # root mean square of speech that noise is measured against: -26 dB
VOICES, BABBLE_S = 6, 40.0
LOWEST_HZ = 50.0  # of pink noise: what lies below would count as noise and disturb nobody
TALKING_S = 2.0  # least length of a recording that babble is made of


@dataclass(frozen=True)
class Condition:
    """What is done to the sound; nothing where a field is at its default."""

    name: str
    snr_db: float | None = None  # speech against pink noise and babble of six voices in equal parts
    in_room: bool = False  # a measured one
    gain_db: float = 0.0


CONDITIONS = (
    Condition("clean"),
    Condition("noise 10 dB", snr_db=10.0),
    Condition("noise 5 dB", snr_db=5.0),
    Condition("room", in_room=True),
    Condition("level -20 dB", gain_db=-20.0),
)


@dataclass(frozen=True)
class Surroundings:
    """What a corpus offers to put recordings into."""

    voices: tuple[Recording, ...]
    rooms: tuple[Recording, ...]


@dataclass(frozen=True)
class Session:
    """Recordings to be heard one after the other, and the seed of all that is random about it."""

    recordings: tuple[Recording, ...]
    seed: tuple[int, int]


@dataclass(frozen=True)
class Mark:
    """A recording in a session, by samples of the session."""

    recording: Recording
    first: int
    past: int  # where the next one begins: the pause behind it is its own

    def hit(self) -> tuple[float, float]:
        """The samples between which a detection of its word is right."""
        start, end = self.recording.start_s, self.recording.end_s + HIT_S
        return self.first + start * SAMPLE_RATE, self.first + end * SAMPLE_RATE


def sessions(recordings: Sequence[Recording], seed: int) -> list[Session]:
    """All recordings, shuffled, in sessions of about SESSION_S."""
    order = np.random.default_rng(seed).permutation(len(recordings))
    parts: list[list[Recording]] = [[]]
    for index in order:
        if sum(r.duration_s for r in parts[-1]) >= SESSION_S:
            parts.append([])
        parts[-1].append(recordings[index])
    return [Session(tuple(part), (seed, number)) for number, part in enumerate(parts) if part]


def surroundings(recordings: Sequence[Recording]) -> Surroundings:
    """The measured rooms among some recordings, and the voices for babble."""
    spoken = [r for r in recordings if r.kind in {"speech", "speaker"} and r.duration_s >= TALKING_S]
    rooms = [r for r in recordings if r.kind == "rir"]
    return Surroundings(tuple(r for r in spoken if not r.mentions), tuple(rooms))


def dry(session: Session, *, levelled: bool) -> tuple[Audio, list[Mark]]:
    """The session's recordings and the hiss of a quiet room; `levelled` brings all speech to one level."""
    rng = np.random.default_rng((*session.seed, 0))
    parts, marks = [np.zeros(round(LEAD_S * SAMPLE_RATE), np.float32)], []
    position = len(parts[0])
    for recording in session.recordings:
        audio = read_audio(recording)
        pause = np.zeros(round(rng.uniform(*PAUSE_S) * SAMPLE_RATE), np.float32)
        parts += [audio * _gain(recording, audio) if levelled else audio, pause]
        first, position = position, position + len(audio) + len(pause)
        marks.append(Mark(recording, first, position))
    sound = np.concatenate(parts)
    return sound + rng.standard_normal(len(sound), np.float32) * np.float32(HISS), marks


def _gain(recording: Recording, audio: Audio) -> np.float32:
    start, end = (round(s * SAMPLE_RATE) for s in (recording.start_s, recording.end_s))
    return np.float32(SPEECH / max(_rms(audio[start:end]), HISS))


def heard_in(condition: Condition, session: Session, around: Surroundings) -> tuple[NDArray[np.int16], list[Mark]]:
    """What the sound card would hand over, (n,) samples, and where each recording lies in it."""
    sound, marks = dry(session, levelled=condition.snr_db is not None)
    rng = np.random.default_rng((*session.seed, 1))
    if condition.in_room and around.rooms:
        response = direct(read_audio(around.rooms[int(rng.integers(len(around.rooms)))]))
        sound = oaconvolve(sound, response)[: len(sound)].astype(np.float32)
    if condition.snr_db is not None:
        loudness = SPEECH * 10 ** (-condition.snr_db / 20)
        sound = sound + np.float32(loudness) * noise(len(sound), around.voices, rng)
    return to_int16(sound * np.float32(10 ** (condition.gain_db / 20))), marks


def noise(length: int, voices: Sequence[Recording], rng: np.random.Generator) -> Audio:
    """Pink noise and babble of the same power, (length,) at root mean square 1."""
    noise = unit(_pink(length, rng))
    if voices:
        noise = unit(noise + np.resize(_babble(voices, rng), length))
    return noise


def _babble(voices: Sequence[Recording], rng: np.random.Generator) -> Audio:
    length = round(BABBLE_S * SAMPLE_RATE)
    total = np.zeros(length, np.float32)
    for _ in range(VOICES):
        spoken: list[Audio] = []
        while sum(map(len, spoken)) < length:
            spoken.append(unit(read_audio(voices[int(rng.integers(len(voices)))])))
        total += np.concatenate(spoken)[:length]
    return unit(total)


def _pink(length: int, rng: np.random.Generator) -> Audio:
    """Noise whose power falls as 1/f from LOWEST_HZ on."""
    size = 1 << (length - 1).bit_length()
    spectrum = np.fft.rfft(rng.standard_normal(size, np.float32))
    hertz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    spectrum *= (hertz >= LOWEST_HZ) / np.sqrt(np.maximum(hertz, LOWEST_HZ))
    return np.fft.irfft(spectrum)[:length].astype(np.float32)


def direct(response: Audio) -> Audio:
    """An impulse response that starts with its direct sound, so that no word end moves, at unit energy."""
    response = response[int(np.argmax(np.abs(response))) :]
    return response / np.sqrt(np.sum(response**2))


def unit(audio: Audio) -> Audio:
    return audio / np.float32(max(_rms(audio), HISS))


def _rms(audio: Audio) -> float:
    return float(np.sqrt(np.mean(audio.astype(np.float64) ** 2))) if len(audio) else 0.0
