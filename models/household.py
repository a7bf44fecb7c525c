"""Who is named in homes: four people are enrolled, they and strangers speak, the satellite's own decision is taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from daemon.naming import FALSE_ACCEPTANCE, Cohort, Enrolled, Household, mean_voice
from models.trials import DRAWS, Heard, drawn

Embeddings = NDArray[np.float32]

MEMBERS = 4
HOMES = 60  # of a source of free speech


@dataclass(frozen=True)
class Named:
    """What became of the voices in some homes."""

    members: int = 0  # of voices of people who live there
    right: int = 0
    wrong: int = 0  # another member's name; what is left of them is unknown
    strangers: int = 0
    taken: int = 0  # of them, for a member

    def __add__(self, other: Named) -> Named:
        return Named(*(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)))

    def summary(self) -> dict[str, float | int]:
        """As shares and counts."""
        members, strangers = max(1, self.members), max(1, self.strangers)
        shares = {
            "right": self.right / members,
            "wrong": self.wrong / members,
            "stranger_named": self.taken / strangers,
        }
        return {**shares, "members": self.members, "strangers": self.strangers}


def by_word(heard: Sequence[Heard], cohort: Cohort, condition: str, seed: int) -> Named:
    """Homes in which a wake word is enrolled and said; everybody is a stranger to some."""
    total = Named()
    for people in _by_kind(heard):
        for draw in range(DRAWS):
            for members in _homes(people, draw, seed):
                kept = {person.who: drawn(person, draw, seed) for person in members}
                home = _home([(person.who, person.clean[kept[person.who]]) for person in members], cohort)
                for person in people:
                    tried = np.delete(person.tried[condition], kept.get(person.who, []), axis=0)
                    total += _visit(home, person.who, tried)
    return total


def _by_kind(heard: Sequence[Heard]) -> list[list[Heard]]:
    """Those who say the same, of kinds that more people say than live in a home."""
    groups = groupby(sorted(heard, key=lambda one: one.kind), key=lambda one: one.kind)
    return [people for _, group in groups if len(people := list(group)) > MEMBERS]


def _homes(people: Sequence[Heard], draw: int, seed: int) -> Iterator[list[Heard]]:
    """As many as there are people, each with others."""
    order = [people[int(i)] for i in np.random.default_rng((seed, draw)).permutation(len(people))]
    for start in range(len(order)):
        yield [order[(start + offset) % len(order)] for offset in range(MEMBERS)]


def by_speech(heard: Sequence[Heard], cohort: Cohort, condition: str, seed: int) -> Named:
    """Homes in which free speech is enrolled and said, of people of one source; all others are strangers."""
    total = Named()
    for people in _by_kind(heard):
        for number in range(HOMES):
            rng = np.random.default_rng((seed, number))
            members = [people[int(i)] for i in rng.permutation(len(people))[:MEMBERS]]
            home = _home([(p.who, p.clean) for p in members], cohort)
            for person in people:
                total += _visit(home, person.who, person.tried[condition])
    return total


def _home(members: Sequence[tuple[str, Embeddings]], cohort: Cohort) -> Household:
    people = [Enrolled(who, mean_voice(clean)) for who, clean in members]
    return Household(people, cohort, false_acceptance=FALSE_ACCEPTANCE)


def _visit(home: Household, who: str, tried: Embeddings) -> Named:
    names = [home.name(one) for one in tried]
    if who not in [person.name for person in home.people]:
        return Named(strangers=len(names), taken=sum(name is not None for name in names))
    right = sum(name == who for name in names)
    return Named(members=len(names), right=right, wrong=sum(name not in (who, None) for name in names))
