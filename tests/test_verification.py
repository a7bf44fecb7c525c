"""Error rates of scores of which they are known."""

from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.stats import norm

from models.verification import Trials, equal_error_rate, interval, joined, least_cost, picture, rates, summary


def trials(same: list[float], different: list[float], people: int = 4) -> Trials:
    count = len(same) + len(different)
    claimed = np.arange(count) % people
    other = np.arange(count) >= len(same)
    return Trials(np.array(same + different), claimed, (claimed + other) % people)


def test_scores_that_do_not_overlap_are_told_apart() -> None:
    apart = trials([0.8, 0.9, 1.0], [0.1, 0.2, 0.3])
    assert equal_error_rate(apart) == 0
    assert least_cost(apart) == 0


def test_scores_that_say_nothing() -> None:
    same = [0.5] * 10
    assert equal_error_rate(trials(same, same)) == pytest.approx(0.5)
    assert least_cost(trials(same, same)) == 1


def test_one_in_ten() -> None:
    one = trials([0.05, *np.linspace(0.6, 1, 9)], [0.95, *np.linspace(0, 0.5, 9)])
    assert equal_error_rate(one) == pytest.approx(0.1)
    assert least_cost(one) == pytest.approx(0.9)  # one false acceptance in ten is too many, so that one hit is left


@pytest.mark.parametrize("distance", [1.0, 2.0, 3.0])
def test_normal_scores_have_the_rate_that_theory_says(distance: float) -> None:
    rng = np.random.default_rng(0)
    found = trials((rng.standard_normal(20_000) + distance).tolist(), rng.standard_normal(20_000).tolist())
    assert equal_error_rate(found) == pytest.approx(norm.sf(distance / 2), abs=0.01)


def test_misses_rise_and_false_acceptances_fall() -> None:
    rng = np.random.default_rng(1)
    misses, accepted = rates(trials(rng.standard_normal(50).tolist(), rng.standard_normal(70).tolist()))
    assert (np.diff(misses) >= 0).all() and (np.diff(accepted) <= 0).all()
    assert (misses[0], accepted[0], misses[-1], accepted[-1]) == (0, 1, 1, 0)


def test_few_people_make_a_wide_interval() -> None:
    rng = np.random.default_rng(2)
    same, different = (rng.standard_normal(200) + 2).tolist(), rng.standard_normal(200).tolist()
    low, high = interval(trials(same, different, 20))
    assert low <= equal_error_rate(trials(same, different, 20)) <= high


def test_joined_trials_are_all_of_them() -> None:
    one = trials([1.0], [0.0])
    told = summary(joined([one, one]))
    assert (told["same"], told["different"]) == (2, 2)


def test_the_picture_is_drawn_for_every_curve() -> None:
    root = ElementTree.fromstring(picture({"a & b": trials([0.9, 0.4], [0.1, 0.5]), "c": trials([1], [0])}, "said"))
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 2
