"""Whose voice it is: an embedding is compared with the enrolled people, or with nobody where there is any doubt.

A similarity means little by itself: voices, microphones and rooms differ in how alike they make people. So it is
measured by the most similar voices of a cohort, from both sides (adaptive symmetric normalisation, Matejka et al.,
Interspeech 2017). A person's threshold lies above what a stated share of the cohort would reach in their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.speaker import normed

Floats = NDArray[np.float32]
Measure = tuple[Any, Any]  # numbers, or arrays of them

NEIGHBOURS = 60  # of the cohort, by which a similarity is measured
FALSE_ACCEPTANCE = 0.01  # share of strangers that may be named, where nothing else is asked for
CAUTION = 1.0  # normalised: strangers who say the same in the same room are so much more alike than the cohort
MARGIN = 1.0  # normalised: so much more like them than like the next one must a voice be
STEEPNESS = 2.0  # of confidences: per unit above or below the threshold
STEADY = 1e-3  # least deviation of similarities


@dataclass(frozen=True)
class Enrolled:
    """A person as they are compared with: the mean of their embeddings, at norm 1."""

    name: str
    voice: Floats  # (embedding,)


@dataclass(frozen=True)
class Hypothesis:
    """Who may have spoken; nobody who is known, where the name is None."""

    name: str | None
    confidence: float  # 0 to 1; those of one voice sum to 1


class Cohort:
    """Voices of people nobody knows, by which similarities are measured."""

    def __init__(self, voices: Floats) -> None:
        """(people, embedding), each of norm 1."""
        self.voices = voices
        between = voices @ voices.T
        np.fill_diagonal(between, -np.inf)  # nobody is measured by themselves
        self.near = _neighbours(between)  # of each of them

    def measure(self, embedding: Floats) -> Measure:
        """Mean and deviation of the similarities of a voice to the most similar ones."""
        return _neighbours(self.voices @ embedding)


def mean_voice(embeddings: Floats) -> Floats:
    """One embedding (embedding,) of norm 1 for several (takes, embedding)."""
    return normed(embeddings.mean(axis=0))


class Household:
    """The people who can be named, each with a threshold of their own."""

    def __init__(self, people: Sequence[Enrolled], cohort: Cohort, *, false_acceptance: float) -> None:
        """`false_acceptance` is the share of strangers that may be named at all, whoever is enrolled."""
        self.people = tuple(people)
        self._cohort = cohort
        self._near = [cohort.measure(person.voice) for person in people]
        share = 1 - false_acceptance / max(1, len(people))
        self.thresholds = np.array([self._threshold(index, share) for index in range(len(people))])

    def _threshold(self, index: int, share: float) -> float:
        """CAUTION above what a share of the cohort does not reach in the place of a person."""
        similar = self._cohort.voices @ self.people[index].voice
        reached = _normalised(similar, self._near[index], self._cohort.near)
        return float(np.quantile(reached, share, method="higher")) + CAUTION

    def scores(self, embedding: Floats) -> NDArray[np.float64]:
        """How like each person a voice is, (people,), in deviations of the cohort from its mean."""
        mine = self._cohort.measure(embedding)
        people = zip(self.people, self._near, strict=True)
        return np.array([_normalised(person.voice @ embedding, near, mine) for person, near in people], np.float64)

    def hypotheses(self, embedding: Floats) -> list[Hypothesis]:
        """Everybody enrolled and nobody, the likeliest first; nobody also where two are about as likely."""
        above = self.scores(embedding) - self.thresholds
        odds = np.exp(STEEPNESS * np.append(above, 0.0).clip(-20, 20))
        shares = odds / odds.sum()
        names = [person.name for person in self.people]
        ranked = [Hypothesis(name, round(float(share), 4)) for name, share in zip([*names, None], shares, strict=True)]
        ranked.sort(key=lambda one: (-one.confidence, one.name is not None))
        return _cautious(ranked, above)

    def name(self, embedding: Floats) -> str | None:
        """Who spoke, or None where that is unknown."""
        return self.hypotheses(embedding)[0].name


def _cautious(ranked: list[Hypothesis], above: NDArray[np.float64]) -> list[Hypothesis]:
    """The same, with nobody in front where the best person's lead is less than MARGIN."""
    best = np.sort(above)[::-1]
    if len(best) > 1 and best[0] - best[1] < MARGIN:
        ranked.sort(key=lambda one: one.name is not None)
    return ranked


def _neighbours(similarities: Floats) -> Measure:
    """Mean and deviation of the largest similarities to a cohort, along the last axis."""
    many = min(NEIGHBOURS, similarities.shape[-1] - 1)  # one of them may be oneself
    nearest = np.partition(similarities, -many)[..., -many:]
    return nearest.mean(axis=-1), np.maximum(nearest.std(axis=-1), STEADY)


def _normalised(similarity: Any, one: Measure, other: Measure) -> NDArray[np.float64]:
    """Similarities in deviations of two cohorts from their means, those of the one side and those of the other."""
    found: NDArray[np.float64] = ((similarity - one[0]) / one[1] + (similarity - other[0]) / other[1]) / 2
    return found


def likeness(embeddings: Floats, cohort: Cohort) -> NDArray[np.float64]:
    """How like the mean of the others each of several embeddings (takes, embedding) is, as scores are, (takes,)."""
    found = []
    for index, one in enumerate(embeddings):
        others = mean_voice(np.delete(embeddings, index, axis=0))
        found.append(_normalised(one @ others, cohort.measure(one), cohort.measure(others)))
    return np.array(found, np.float64)
