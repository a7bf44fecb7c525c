"""Training scenes: words, cut words and other speech in rooms and noise, heard through the satellite's front end.

A scene is a stretch of running sound, never an isolated clip: what precedes a word is as varied as it is in a home.
Scene `index` of a seed is always the same sound, whichever process makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.signal import oaconvolve, resample_poly

from daemon.features import HOP, SAMPLE_RATE, WINDOW, LogMel
from models import noise
from models.channels import transmit
from models.corpus import CorpusError, Recording, read_audio, read_manifest, select, to_int16
from models.division import Timing, parts_of, read_timing, usual
from models.recorder import record
from models.rooms import Rooms

Audio = NDArray[np.float32]
T = TypeVar("T")

SCENE_FRAMES = 1180
SCENE_SAMPLES = (SCENE_FRAMES - 1) * HOP + WINDOW
TOLERANCE_FRAMES = 16  # frames to either side of the word's end that count as the word (delta t of 160 ms)
IGNORED = -1  # target of frames that train nothing
ALARM = -2  # target of frames that are no word, and train only if they are taken for one
BLUR_FRAMES = 12  # frames after the target interval where the end is too uncertain to say "none"
SETTLED_SHARE = 0.5  # of the word, from which on "none" is no longer demanded
MARGIN_S = 0.1  # kept around the word

WORD_SHARE, FRAGMENT_SHARE, NEAR_SHARE = 0.40, 0.12, 0.08  # of the items in a scene; the rest is other speech
MADE_SHARE = 0.25  # of the other speech, where there is any from synthesisers
SPEEDS = tuple(Fraction(n, d) for n, d in ((4, 5), (6, 7), (10, 11), (1, 1), (1, 1), (11, 10), (7, 6), (5, 4)))
LEVEL_DB = -26.0  # of an item's root mean square before the scene's own gain
ROOM_SHARE, NOISE_SHARE = 0.6, 0.85
NOISE_IN_ROOM_SHARE = 0.5  # where there is a room: noise from elsewhere in it
SNR_DB = (0.0, 30.0)
STRESS_S = 0.2  # after which another part of a word is loud


@dataclass(frozen=True)
class Clip:
    """Sound with the sample at which a word in it starts and ends."""

    audio: Audio
    start: int
    end: int
    shares: tuple[float, ...] = (1.0,)  # of the way from start to end at which the word's parts end

    def placed(self, position: int) -> tuple[int, list[int]]:
        """Where the word starts and its parts end, when the sound starts at `position`."""
        length = self.end - self.start
        return position + self.start, [position + self.start + round(share * length) for share in self.shares]


Mark = tuple[int, int, Sequence[int]]  # a word's class, its first sample, and the samples at which its parts end


class Voices(Protocol):
    """What recordings are in the voices of further people."""

    def __call__(self, recordings: Sequence[Recording], /) -> Sequence[Sequence[Clip]]:
        """Takes of a word, some clips for each."""

    def others(self, recordings: Sequence[Recording], /) -> Sequence[Audio]:
        """Other speech."""


Housing = Callable[[Sequence[Audio]], Rooms]


@dataclass(frozen=True)
class Takes:
    """All clips of one word."""

    recorded: tuple[tuple[Clip, ...], ...]  # each take, as it is and in other voices
    made: tuple[Clip, ...]  # by synthesisers

    def pick(self, made_share: float, rng: np.random.Generator) -> Clip:
        """Any clip of the word."""
        if self.made and (not self.recorded or rng.random() < made_share):
            return _pick(self.made, rng)
        return _pick(_pick(self.recorded, rng), rng)


@dataclass(frozen=True)
class Material:
    """All sound that scenes are made of."""

    words: tuple[Takes, ...]  # in the order of the network's outputs after "none"
    speech: tuple[Audio, ...]
    near: tuple[Audio, ...]  # what is nearly a word
    made: tuple[Audio, ...]  # other speech from synthesisers
    noise: tuple[Audio, ...]
    rooms: Rooms


def gather(corpora: Sequence[Path], words: tuple[str, ...], voices: Voices, rooms: Housing, parts: int = 1) -> Material:
    """The train splits of some corpora without share-alike recordings; other wake words count as speech.

    `voices` adds further voices to what people said; `rooms` adds to measured responses.
    `CorpusError` names a word that nobody says.
    """
    found = [recording for folder in corpora for recording in read_manifest(folder)]
    spoken = select(found, "train", {"wakeword", "speech", "speaker"}, shippable=True)
    takes = [[r for r in spoken if r.says(word)] for word in words]
    for word, said in zip(words, takes, strict=True):
        if not said:
            raise CorpusError(f"no recording of the train split says {word!r}")
    other = [r for r in spoken if not any(r.may_say(word) for word in words)]
    speech, near, made = ([r for r in other if _kind(r) == kind] for kind in ("speech", "near", "made"))
    noises, responses = (
        [read_audio(r) for r in select(found, "train", {kind}, shippable=True)] for kind in ("noise", "rir")
    )
    said = tuple(_takes(recordings, voices, parts) for recordings in takes)
    people = (*map(read_audio, speech), *voices.others(speech))
    return Material(
        said, people, *(tuple(map(read_audio, some)) for some in (near, made)), tuple(noises), rooms(responses)
    )


def _takes(said: Sequence[Recording], voices: Voices, parts: int) -> Takes:
    """The clips of one word, each divided in so many parts: as its synthesiser told, else as they mostly are."""
    timed = {r.path: timing for r in said if (timing := read_timing(r.timing))}
    mostly = usual(((timed[r.path], r.start_s) for r in said if r.path in timed), parts)
    recorded = [recording for recording in said if not recording.made]
    others = voices(recorded)
    clips = (
        tuple(replace(clip, shares=mostly) for clip in (take(recording), *more))
        for recording, more in zip(recorded, others, strict=True)
    )
    made = (replace(take(r), shares=_shares(r, timed.get(r.path), mostly)) for r in said if r.made)
    return Takes(tuple(clips), tuple(made))


def _shares(recording: Recording, timing: Timing | None, mostly: tuple[float, ...]) -> tuple[float, ...]:
    if timing is None:
        return mostly
    ends = parts_of(timing, recording.start_s, len(mostly))
    return tuple((end - recording.start_s) / (recording.end_s - recording.start_s) for end in ends)


def _kind(recording: Recording) -> str:
    """Where in `Material` a recording belongs that says none of the words."""
    if recording.near or (recording.made and recording.kind == "wakeword"):
        return "near"
    return "made" if recording.made else "speech"


def take(recording: Recording) -> Clip:
    """The word in a recording with little around it; all of what a synthesiser said, which may be a whole sentence."""
    start, end = (round(s * SAMPLE_RATE) for s in (recording.start_s, recording.end_s))
    clip = Clip(read_audio(recording), start, end)
    return clip if recording.made else _trim(clip)


def _trim(clip: Clip) -> Clip:
    margin = round(MARGIN_S * SAMPLE_RATE)
    first, last = max(0, clip.start - margin), min(len(clip.audio), clip.end + margin)
    return replace(clip, audio=clip.audio[first:last], start=clip.start - first, end=clip.end - first)


@dataclass(frozen=True)
class Hearing:
    """How scenes are heard, and of what they are made."""

    window_function: str
    made_share: float = 0.35  # of the words, from synthesisers, where there are recordings too
    words: bool = True  # whether any are said
    people: bool = False  # whether nothing but people's other speech and noise is heard
    noises: float = 0.0  # share of the items that are noise, as loud as speech
    stress_db: float = 0.0  # by which an item is louder or softer from one moment to the next
    snr_db: tuple[float, float] = SNR_DB
    part_targets: Callable[[Sequence[Mark]], NDArray[np.int8]] | None = None  # in place of `targets`


class Scenes:
    """Scene number `index` of a seed: (SCENE_FRAMES, MELS) float16 frames and (SCENE_FRAMES,) int8 targets."""

    def __init__(self, material: Material, hearing: Hearing, seed: int) -> None:
        if not material.speech and not material.made:
            raise CorpusError("no recording of the train split is speech without the words; scenes need that too")
        self.material = material
        self.hearing = hearing
        self.seed = seed

    def __getitem__(self, index: int) -> tuple[NDArray[np.float16], NDArray[np.int8]]:
        rng = np.random.default_rng((self.seed, index))
        sound, marks = self._speak(rng)
        sound = self._surround(sound, rng)
        frames = LogMel(self.hearing.window_function).push(to_int16(sound))
        return frames.astype(np.float16), (self.hearing.part_targets or targets)(marks)

    def _speak(self, rng: np.random.Generator) -> tuple[Audio, list[Mark]]:
        """Dry speech and where each word is in it; as class `IGNORED` each piece of a word, and what is nearly one."""
        sound = np.zeros(SCENE_SAMPLES, np.float32)
        marks = []
        position = int(rng.uniform(0, 0.5) * SAMPLE_RATE)
        while position < SCENE_SAMPLES:
            label, clip = self._item(rng)
            clip = _voice(clip, rng, self.hearing.stress_db)
            room = SCENE_SAMPLES - position
            sound[position : position + len(clip.audio)] += clip.audio[:room]
            if label:
                marks.append((label, *clip.placed(position)))
            pause = rng.uniform(0, 0.15) if rng.random() < 0.5 else rng.uniform(0.15, 1.2)
            position += len(clip.audio) + int(pause * SAMPLE_RATE)
        return sound, marks

    def _item(self, rng: np.random.Generator) -> tuple[int, Clip]:
        """A word with its class, as `IGNORED` parts of one and what is nearly one, and with class 0 other speech."""
        material = self.material
        if self.hearing.noises and material.noise and rng.random() < self.hearing.noises:
            return 0, self._piece(material.noise, rng)
        if self.hearing.people:
            return 0, self._piece(material.speech, rng)
        kind = rng.random() * (1 if self.hearing.words else 1 - WORD_SHARE)
        if kind < FRAGMENT_SHARE:
            return IGNORED, self._fragment(rng)
        if kind < FRAGMENT_SHARE + NEAR_SHARE and material.near:
            near = _pick(material.near, rng)
            return IGNORED, Clip(near, 0, len(near))
        if kind >= 1 - WORD_SHARE:
            which = int(rng.integers(len(material.words)))
            return which + 1, self._take(which, rng)
        made = material.made and (not material.speech or rng.random() < MADE_SHARE)
        return 0, self._piece(material.made if made else material.speech, rng)

    def _piece(self, sounds: tuple[Audio, ...], rng: np.random.Generator) -> Clip:
        """Some of one of the sounds."""
        sound = _pick(sounds, rng)
        length = int(rng.uniform(0.8, 4.0) * SAMPLE_RATE)
        start = int(rng.integers(max(1, len(sound) - length)))
        return Clip(_fade(sound[start : start + length]), 0, 0)

    def _take(self, word: int, rng: np.random.Generator) -> Clip:
        return self.material.words[word].pick(self.hearing.made_share, rng)

    def _fragment(self, rng: np.random.Generator) -> Clip:
        """Part of a word, or parts of two different ones: what sounds like a word and is none."""
        words = self.material.words
        first, second = rng.choice(len(words), 2, replace=len(words) < 2)
        head, tail = self._take(first, rng), self._take(second, rng)
        head_cut = head.start + int(rng.uniform(0.3, 0.65) * (head.end - head.start))
        tail_cut = tail.start + int(rng.uniform(0.4, 0.7) * (tail.end - tail.start))
        start, end = _fade(head.audio[:head_cut]), _fade(tail.audio[tail_cut:])
        parts = ([start], [end], [start, end], [start, start])[rng.integers(4 if len(words) > 1 else 2)]
        sound = np.concatenate(parts)
        return Clip(sound, 0, len(sound))

    def _surround(self, sound: Audio, rng: np.random.Generator) -> Audio:
        material = self.material
        sources = noise.Sources(material.noise, material.speech or material.made)
        return surround(sound, material.rooms, sources, rng, self.hearing.snr_db)


def surround(
    sound: Audio,
    rooms: Rooms,
    sources: noise.Sources,
    rng: np.random.Generator,
    snr_db: tuple[float, float] = SNR_DB,
) -> Audio:
    """Put dry speech into a room and beside noise, and record it."""
    room = rooms.pick(rng) if rng.random() < ROOM_SHARE else None
    if room:
        sound = _reverberate(sound, room.talker)
    if rng.random() < NOISE_SHARE:
        other = noise.draw(sources, len(sound), rng)
        if room and rng.random() < NOISE_IN_ROOM_SHARE:
            other = noise.unit(_reverberate(other, room.elsewhere))
        sound = noise.beside(sound, noise.pace(other, rng), rng.uniform(*snr_db))
    return transmit(record(sound, rng), rng)


def targets(marks: Sequence[Mark]) -> NDArray[np.int8]:
    """Per frame: the class around the end of a word, 0 elsewhere, `IGNORED` where neither can be demanded.

    Pieces of words, and what is nearly one, are no words: there, 0 is demanded.
    """
    result = np.zeros(SCENE_FRAMES, np.int8)
    for label, start, (*_, end) in marks:
        if label == IGNORED:
            continue
        settled = (start + SETTLED_SHARE * (end - start) - WINDOW) / HOP
        middle = (end - WINDOW) / HOP  # the frame whose last sample is the word's end
        first, last = round(middle) - TOLERANCE_FRAMES, round(middle) + TOLERANCE_FRAMES
        result[max(0, min(round(settled), first)) : max(0, last + 1 + BLUR_FRAMES)] = IGNORED
        result[max(0, first) : max(0, last + 1)] = label
    return result


def _voice(clip: Clip, rng: np.random.Generator, stress_db: float) -> Clip:
    """Another speed, pitch and level, and other parts that are stressed."""
    speed = SPEEDS[rng.integers(len(SPEEDS))]
    audio = clip.audio
    if speed != 1:
        audio = resample_poly(audio, speed.denominator, speed.numerator).astype(np.float32)
    gain = 10 ** (rng.uniform(-6, 6) / 20)
    if stress_db:
        audio = audio * _stress(len(audio), stress_db, rng)
    return replace(
        clip, audio=level(audio) * np.float32(gain), start=int(clip.start / speed), end=int(clip.end / speed)
    )


def _stress(length: int, stress_db: float, rng: np.random.Generator) -> Audio:
    """A gain that comes and goes."""
    knots = rng.uniform(-stress_db, stress_db, 2 + round(length / SAMPLE_RATE / STRESS_S))
    decibels = np.interp(np.arange(length), np.linspace(0, length, len(knots)), knots)
    return (10 ** (decibels / 20)).astype(np.float32)


def _pick(items: tuple[T, ...], rng: np.random.Generator) -> T:
    return items[int(rng.integers(len(items)))]


def level(audio: Audio) -> Audio:
    """The same sound at LEVEL_DB, measured where it is not silent."""
    power = audio**2
    loud = power[power > power.max(initial=0) * 1e-4]
    level = np.sqrt(loud.mean()) if len(loud) else 1.0
    return audio * np.float32(10 ** (LEVEL_DB / 20) / level)


def _fade(audio: Audio) -> Audio:
    """Cut ends without a click."""
    audio = audio.copy()
    ramp = np.linspace(0, 1, min(160, len(audio) // 2), dtype=np.float32)
    if len(ramp):
        audio[: len(ramp)] *= ramp
        audio[-len(ramp) :] *= ramp[::-1]
    return audio


def _reverberate(sound: Audio, response: Audio) -> Audio:
    return oaconvolve(sound, response)[: len(sound)]
