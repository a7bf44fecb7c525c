"""Who is named, on embeddings that are made so that it is known who is like whom."""

import numpy as np
import pytest

from daemon.naming import CAUTION, MARGIN, Cohort, Enrolled, Household, Hypothesis, likeness, mean_voice
from daemon.speaker import normed

SIZE, COHORT = 32, 200


def voices(count: int, seed: int) -> np.ndarray:
    """Embeddings of so many people, (count, SIZE)."""
    return normed(np.random.default_rng(seed).standard_normal((count, SIZE)).astype(np.float32))


def take(voice: np.ndarray, seed: int, *, apart: float = 0.08) -> np.ndarray:
    """What a person sounds like once."""
    return normed(voice + apart * np.random.default_rng(seed).standard_normal(SIZE).astype(np.float32))


COHORT_VOICES = Cohort(voices(COHORT, 0))
ANA, BEN, EVA = voices(3, 1)


def home(*people: tuple[str, np.ndarray], false_acceptance: float = 0.05) -> Household:
    return Household([Enrolled(*person) for person in people], COHORT_VOICES, false_acceptance=false_acceptance)


def test_people_are_named_and_strangers_are_not() -> None:
    household = home(("ana", ANA), ("ben", BEN))
    assert [household.name(take(ANA, seed)) for seed in range(5)] == ["ana"] * 5
    assert [household.name(take(BEN, seed)) for seed in range(5)] == ["ben"] * 5
    strangers = voices(400, 2)
    assert sum(household.name(one) is not None for one in strangers) <= 0.08 * len(strangers)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_so_many_of_the_cohort_are_taken_for_somebody_as_was_asked_for(share: float) -> None:
    household = home(("ana", ANA), ("ben", BEN), ("eva", EVA), false_acceptance=share)
    above = np.array([household.scores(one) - household.thresholds + CAUTION for one in voices(3000, 3)])
    assert (above > 0).any(axis=1).mean() == pytest.approx(share, abs=0.05)


def test_hypotheses_are_ranked_and_sum_to_one() -> None:
    found = home(("ana", ANA), ("ben", BEN)).hypotheses(take(ANA, 0))
    assert found[0].name == "ana"
    assert {one.name for one in found} == {"ana", "ben", None}
    assert sum(one.confidence for one in found) == pytest.approx(1, abs=1e-3)
    assert [one.confidence for one in found] == sorted((one.confidence for one in found), reverse=True)


def test_between_two_who_are_alike_nobody_is_named() -> None:
    between = mean_voice(np.stack([ANA, BEN]))
    household = home(("ana", ANA), ("ben", BEN))
    above = np.sort(household.scores(between) - household.thresholds)
    assert above[-1] > 0 and above[-1] - above[-2] < MARGIN
    assert household.name(between) is None


def test_without_anybody_it_is_nobody() -> None:
    assert home().hypotheses(ANA) == [Hypothesis(None, 1.0)]


def test_a_take_of_somebody_else_is_unlike_the_others() -> None:
    mine = np.stack([take(ANA, seed) for seed in range(4)])
    both = np.stack([*mine, take(BEN, 0)])
    assert likeness(mine, COHORT_VOICES).min() > likeness(both, COHORT_VOICES)[-1] + 1
