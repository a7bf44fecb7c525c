"""Who is compared with whom, in which conditions: what a speaker network is judged on.

Text-dependent: five takes of a wake word are enrolled, the person's other takes and other people's takes of the same
word are compared with them. Text-independent: the first half of what somebody says is enrolled, pieces of the other
half are compared, with people of the same source only, whom no microphone tells apart. Enrolment is clean.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from scipy.signal import oaconvolve
from tqdm import tqdm

from daemon.features import SAMPLE_RATE
from daemon.naming import mean_voice
from models import conditions
from models.conditions import HISS, Condition, Surroundings
from models.corpus import Recording, read_audio, to_int16
from models.encoders import Encoder, Samples
from models.talkers import speech
from models.verification import Trials

Audio = NDArray[np.float32]
Embeddings = NDArray[np.float32]

CONDITIONS = (Condition("clean"), Condition("noise 10 dB", snr_db=10.0), Condition("reverberant", in_room=True))
ENROLLED_TAKES = 5
LEAST_TAKES = 2 * ENROLLED_TAKES  # of a word, by somebody who takes part
DRAWS = 4  # of the takes that are enrolled
ENROLLED_S = 8.0  # of free speech, at most
PIECES_S = (0.8, 2.0, 4.0)
MOST_PIECES = 6  # of one person
LEAD_S = 0.7  # of the room before somebody speaks
TAIL_S = 0.15
NOISE_S = 60


@dataclass(frozen=True)
class Sayings:
    """What one person says of one kind: of a wake word, or of a source of free speech."""

    who: str
    kind: str
    pieces: tuple[Audio, ...]


def words(recordings: Iterable[Recording]) -> list[Sayings]:
    """Takes of wake words, by those who have enough of one; of words that two such people say."""
    found = [r for r in recordings if r.kind == "wakeword"]
    sayings = [
        Sayings(who, word, tuple(speech(r) for r in takes))
        for (word, who), takes in _grouped(found, lambda r: (r.label, r.speaker))
        if len(takes) >= LEAST_TAKES
    ]
    return [s for s in sayings if sum(s.kind == other.kind for other in sayings) > 1]


def free(recordings: Iterable[Recording]) -> list[Sayings]:
    """All else that people say, one sound each, by source; of sources with two people at least."""
    found = [r for r in recordings if r.kind in {"speech", "speaker"} and not r.share_alike and r.speaker]
    sayings = [
        Sayings(who, source, (np.concatenate([speech(r) for r in said]),))
        for (source, who), said in _grouped(found, lambda r: (r.source, r.speaker))
    ]
    long = [s for s in sayings if len(s.pieces[0]) >= 2 * min(PIECES_S[-1], ENROLLED_S) * SAMPLE_RATE]
    return [s for s in long if sum(s.kind == other.kind for other in long) > 1]


def _grouped(
    recordings: Iterable[Recording], key: Callable[[Recording], tuple[str, str]]
) -> list[tuple[tuple[str, str], list[Recording]]]:
    return [(name, list(group)) for name, group in groupby(sorted(recordings, key=key), key=key)]


class Place:
    """Where people speak, in a condition: the same sounds, put there in the same order, always give the same."""

    def __init__(self, condition: Condition, around: Surroundings, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._rooms = [conditions.direct(read_audio(room)) for room in around.rooms] if condition.in_room else []
        self._noise = np.zeros(0, np.float32)
        if condition.snr_db is not None:
            loudness = np.float32(conditions.SPEECH * 10 ** (-condition.snr_db / 20))
            self._noise = loudness * conditions.noise(NOISE_S * SAMPLE_RATE, around.voices, self._rng)

    def __call__(self, said: Audio) -> Samples:
        """The samples of a microphone before which it is said."""
        rng = self._rng
        sound = np.pad(conditions.unit(said) * np.float32(conditions.SPEECH), _edges())
        sound += rng.standard_normal(len(sound), np.float32) * np.float32(HISS)
        if self._rooms:
            response = self._rooms[int(rng.integers(len(self._rooms)))]
            sound = oaconvolve(sound, response)[: len(sound)].astype(np.float32)
        if len(self._noise):
            start = int(rng.integers(len(self._noise) - len(sound)))
            sound = sound + self._noise[start : start + len(sound)]
        return to_int16(sound)


def _edges() -> tuple[int, int]:
    return round(LEAD_S * SAMPLE_RATE), round(TAIL_S * SAMPLE_RATE)


@dataclass(frozen=True)
class Heard:
    """One person's embeddings: `clean` ones that can be enrolled, and `tried` ones by condition."""

    who: str
    kind: str
    clean: Embeddings
    tried: Mapping[str, Embeddings]


def hear_words(sayings: Sequence[Sayings], encoder: Encoder, around: Surroundings, seed: int) -> list[Heard]:
    """Every take in every condition."""
    places = {c.name: Place(c, around, seed) for c in CONDITIONS}
    found = []
    for said in tqdm(sayings, unit="person and word", desc=encoder.name):
        tried = {name: _embedded(said.pieces, encoder, place) for name, place in places.items()}
        found.append(Heard(said.who, said.kind, tried[CONDITIONS[0].name], tried))
    return found


def hear_free(
    sayings: Sequence[Sayings], encoder: Encoder, around: Surroundings, seed: int
) -> dict[float, list[Heard]]:
    """The first half of what each person says, and pieces of so many seconds of the other, by that length."""
    places = {c.name: Place(c, around, seed) for c in CONDITIONS}
    found: dict[float, list[Heard]] = defaultdict(list)
    for said in tqdm(sayings, unit="person", desc=encoder.name):
        sound = said.pieces[0]
        half = len(sound) // 2
        first = sound[: min(half, round(ENROLLED_S * SAMPLE_RATE))]
        enrolled = _embedded([first], encoder, places[CONDITIONS[0].name])
        for seconds in PIECES_S:
            length = round(seconds * SAMPLE_RATE)
            starts = range(half, len(sound) - length + 1, length)[:MOST_PIECES]
            pieces = [sound[start : start + length] for start in starts]
            if pieces:
                tried = {name: _embedded(pieces, encoder, place) for name, place in places.items()}
                found[seconds].append(Heard(said.who, said.kind, enrolled, tried))
    return found


def _embedded(pieces: Sequence[Audio], encoder: Encoder, place: Place) -> Embeddings:
    return np.stack([encoder.embed(place(piece)) for piece in pieces])


def text_dependent(heard: Sequence[Heard], condition: str, seed: int) -> Trials:
    """All people's takes of a word that are not enrolled against everybody's enrolled ones, in several draws."""
    numbers = _numbers(heard)
    scores: list[float] = []
    claimed: list[int] = []
    spoke: list[int] = []
    for person in heard:
        for draw in range(DRAWS):
            enrolled = drawn(person, draw, seed)
            voice = mean_voice(person.clean[enrolled])
            for other in heard:
                if other.kind != person.kind:
                    continue
                tried = other.tried[condition]
                if other.who == person.who:
                    tried = np.delete(tried, enrolled, axis=0)
                scores += (tried @ voice).tolist()
                claimed += [numbers[person.who]] * len(tried)
                spoke += [numbers[other.who]] * len(tried)
    return Trials(np.array(scores), np.array(claimed), np.array(spoke))


def drawn(person: Heard, draw: int, seed: int) -> NDArray[np.int64]:
    """Which of a person's takes are enrolled."""
    return np.random.default_rng((seed, draw)).permutation(len(person.clean))[:ENROLLED_TAKES]


def text_independent(heard: Sequence[Heard], condition: str) -> Trials:
    """All people's pieces against the enrolled speech of everybody of their source."""
    numbers = _numbers(heard)
    rows = [
        (float(score), numbers[person.who], numbers[other.who])
        for person in heard
        for other in heard
        if other.kind == person.kind
        for score in other.tried[condition] @ person.clean[0]
    ]
    scores, claimed, spoke = (np.array(column) for column in zip(*rows, strict=True))
    return Trials(scores, claimed, spoke)


def _numbers(heard: Sequence[Heard]) -> dict[str, int]:
    return {who: number for number, who in enumerate(dict.fromkeys(person.who for person in heard))}
