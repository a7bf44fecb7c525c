"""Figures say what was counted, and how sure that is."""

import math
from pathlib import Path

import numpy as np
import pytest

from models import figures
from models.corpus import Recording
from models.hearing import THRESHOLDS, Outcome, Tried


def test_intervals_are_the_known_ones() -> None:
    assert figures.share_interval(0, 60) == pytest.approx((0, 0.0596), abs=1e-3)
    assert figures.share_interval(3, 60) == pytest.approx((0.0104, 0.1392), abs=1e-3)
    assert figures.share_interval(60, 60) == pytest.approx((0.9404, 1), abs=1e-3)
    assert figures.rate_interval(0, 2.5) == (0, 1.2)
    assert figures.rate_interval(1, 1) == pytest.approx((0.0253, 5.572), abs=1e-3)
    assert figures.rate_interval(10, 2) == pytest.approx((4.795 / 2, 18.39 / 2), abs=1e-2)


def take(speaker: str, note: str = "") -> Recording:
    return Recording(Path(), "wakeword", "dev", "made", "up", speaker, 2.0, 0.5, 1.0, "CC0", note)


def tried(condition: str = "clean", *, missed_from: float = 0.5) -> Tried:
    """Ten takes, of which one is missed from a threshold on; in ten hours 20 false alarms, one fewer per 0.045."""
    late_s = np.full((10, len(THRESHOLDS)), 0.1, np.float32)
    late_s[0, missed_from <= THRESHOLDS] = np.nan
    alarms = np.maximum(0, 20 - ((THRESHOLDS - 0.05) / 0.045).astype(int))
    takes = (take("ann"), *(take("bob", "gender=male") for _ in range(9)))
    together = Outcome((math.nan, *[0.1] * 9), (take("bob", "gender=male"),) * 2)
    return Tried("up", condition, takes, 10.0, late_s, alarms, together)


def test_misses_are_told_at_few_false_alarms() -> None:
    one = tried()
    lowest = one.at_alarms(10)
    assert (one.alarms[lowest], one.alarms[lowest - 1]) == (10, 11)
    assert one.at_alarms(100) == 0
    row = figures.table([one]).splitlines()[2]
    assert row == "| up | clean | 10 | 10.00 | 10.0 % (0-45) | 10.0 % (0-45) | 10.0 % (0-45) | 100, 100 ms |"
    assert figures.table([one]).splitlines()[3] == "| mean | clean |  |  | 10.0 % | 10.0 % | 10.0 % |  |"
    (point, *_) = figures.as_json([one], {"up": 0.5})[0]["points"]
    assert (point["alarms"], point["misses"]) == (1, 1)


def test_a_threshold_below_more_alarms_does_not_count() -> None:
    one = tried()
    one.alarms[-1] = 5
    assert one.at_alarms(4) == len(THRESHOLDS) - 1


def test_one_threshold_is_kept_in_every_condition() -> None:
    noisy = tried("noise", missed_from=0.2)
    noisy.alarms[:] = 99
    (_, _, row, mean) = figures.kept([tried(missed_from=0.99), noisy]).splitlines()
    assert row == "| up | 0.905 | 10.00 | 0.0 %, 1 | 10.0 %, 99 |"
    assert mean == "| mean |  |  | 0.0 % | 10.0 % |"


def test_groups_are_counted_apart() -> None:
    assert figures.grouped([tried()]) == {
        ("speaker", "ann"): (1, 1, 0),
        ("speaker", "bob"): (9, 0, 2),
        ("sex", "male"): (9, 0, 2),
        ("source", "made"): (10, 1, 2),
    }
    assert "| speaker | ann | 1 | 100.0 %, 0 |" in figures.groups([tried()])


def test_two_models_stand_side_by_side() -> None:
    text = figures.compared([tried()], [tried(missed_from=0.99)], ("a", "b"))
    assert "| up | clean | 10.0 % | 0.0 % | 10.0 % | 0.0 % | 10.0 % | 0.0 % |" in text
    assert figures.compared([tried()], [tried("other")], ("a", "b")).count("\n") == 1


def test_operating_points_hold_the_model_own_threshold() -> None:
    points = figures.operating_points([tried()], {"up": 0.635}, "a corpus")["up"]
    assert [point["threshold"] for point in points] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.635, 0.7, 0.8, 0.9]
    assert points[6] == {"threshold": 0.635, "alarms_per_hour": 0.7, "misses": 0.1, "hours": 10.0, "corpus": "a corpus"}
