"""Enrolment: takes of a person become what the satellite knows them by.

A person says the wake word several times and then a sentence; from the microphone, or from recordings. Each take is
accepted, or refused by its reason and asked for again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.capture import Block, Source
from daemon.features import SAMPLE_RATE
from daemon.naming import Cohort, Household
from daemon.people import People, Person
from daemon.recording import RecordingError, read
from daemon.speaker import SpeakerModel
from daemon.takes import Examiner, Refused, Take, WordCatcher, said_next

TAKES = 5
LEAST_TAKES = 3  # from recordings, of which there may be fewer
TRIES = 3 * TAKES
WAIT_S = 20.0  # for a take
SENTENCE_S = 6.0  # of free speech

Say = Callable[[str], None]


class EnrolError(Exception):
    """Somebody cannot be enrolled; the text is one line."""


class Enrolment:
    """The takes of one person, as they come in."""

    def __init__(self, name: str, examiner: Examiner, say: Say) -> None:
        self.name, self._examiner, self.say = name, examiner, say
        self.takes: list[Take] = []
        self.sentence: Take | None = None

    def word(self, samples: NDArray[np.int16], what: str) -> bool:
        """Whether a take of the wake word is accepted; says so, or why not."""
        try:
            take = self._examiner.word_in(samples)
            self._examiner.agree(self.takes, take)
        except Refused as refused:
            self.say(f"{what}: refused, {refused}")
            return False
        self.takes.append(take)
        self.say(f"{what}: good, {len(self.takes)} of {TAKES}")
        return True

    def free(self, samples: NDArray[np.int16], what: str) -> bool:
        """Whether a sentence is accepted; says so, or why not."""
        try:
            take = self._examiner.sentence_in(samples)
            self._examiner.agree(self.takes, take)
        except Refused as refused:
            self.say(f"{what}: refused, {refused}")
            return False
        self.sentence = take
        self.say(f"{what}: good")
        return True

    def person(self) -> Person:
        """Who they are; `EnrolError` where there are too few takes."""
        if len(self.takes) < LEAST_TAKES:
            raise EnrolError(
                f"{self.name} is not enrolled: {len(self.takes)} good takes, at least {LEAST_TAKES} needed"
            )
        words = np.concatenate([take.embeddings for take in self.takes])
        free = self.sentence.embeddings if self.sentence else words[:0]
        return Person(self.name, self._examiner.word, words, free)

    def sounds(self) -> list[NDArray[np.int16]]:
        """What was said."""
        return [take.samples for take in (*self.takes, *([self.sentence] if self.sentence else []))]


def from_files(enrolment: Enrolment, files: Sequence[Path], sentence: Path | None) -> None:
    """Take recordings: each holds one take of the wake word; `sentence` holds free speech."""
    takers = [(path, enrolment.word) for path in files] + [(path, enrolment.free) for path in [sentence] if path]
    for path, take in takers:
        try:
            take(read(path), str(path))
        except RecordingError as error:
            enrolment.say(f"refused, {error}")


def from_source(enrolment: Enrolment, source: Source, examiner: Examiner) -> None:
    """Take what is said into a microphone; `EnrolError` where too little of it can be used."""
    blocks, catcher = source.blocks(), WordCatcher(examiner)
    for number in range(TRIES):
        if len(enrolment.takes) == TAKES:
            break
        enrolment.say(f"say {examiner.word!r} as you would say it")
        samples = said_next(blocks, catcher, WAIT_S)
        if samples is None:
            enrolment.say(f"refused, not the word: {examiner.word!r} was not heard for {WAIT_S:g} s")
            continue
        enrolment.word(samples, f"take {number + 1}")
    if len(enrolment.takes) == TAKES:
        enrolment.say(f"now say whatever you like, for {SENTENCE_S:g} s")
        enrolment.free(_next_seconds(blocks, SENTENCE_S), "sentence")


def _next_seconds(blocks: Iterator[Block], seconds: float) -> NDArray[np.int16]:
    found: list[NDArray[np.int16]] = [np.zeros(0, np.int16)]
    for _, block in blocks:
        found.append(block)
        if sum(map(len, found)) >= seconds * SAMPLE_RATE:
            break
    return np.concatenate(found)


def keep(people: People, enrolment: Enrolment, model: SpeakerModel, *, sounds: bool) -> Path:
    """Store a person in place of who had that name before; with what they said, where that is wanted."""
    person = enrolment.person()
    path = people.write(person, model)
    people.keep_sounds(person.name, enrolment.sounds() if sounds else [])
    return path


def verdict(person: Person, others: Sequence[Person], cohort: Cohort, false_acceptance: float) -> list[str]:
    """What the takes are worth, in sentences: each compared with the others, and the people who sound alike."""
    kept = [other.enrolled for other in others if other.name != person.name]
    scores = []
    for index in range(len(person.takes)):
        rest = replace(person, takes=np.delete(person.takes, index, axis=0))
        home = Household([*kept, rest.enrolled], cohort, false_acceptance=false_acceptance)
        scores.append(home.scores(person.takes[index])[-1] - home.thresholds[-1])
    good = sum(score >= 0 for score in scores)
    told = [
        f"leave-one-out: {good} of {len(scores)} takes are recognised by the others, by {min(scores):+.1f} at least"
    ]
    if good < len(scores):
        told.append("they differ much: enrol again in a quiet room, speaking as usual, to be recognised more often")
    home = Household(kept, cohort, false_acceptance=false_acceptance)
    voice = person.enrolled.voice
    alike = [
        one.name for one, score, least in zip(kept, home.scores(voice), home.thresholds, strict=True) if score >= least
    ]
    return [*told, *(f"sounds much like {name}: both will often be unknown" for name in alike)]
