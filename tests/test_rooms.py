"""A simulated room decays as it was asked to, and no room moves a word."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroomacoustics.experimental import measure_rt60

from daemon.features import SAMPLE_RATE
from models import rooms
from models.rooms import DISTANCE_M, LONGEST_S, MEASURED_SHARE, RT60_S, Place, Room, Rooms, gather_rooms, simulate

MICROPHONE = np.array([1.0, 1.2, 1.0])


def room(size: tuple[float, float, float], rt60: float, *, distance: float = 1.0, darker: float = 0.0) -> Room:
    talker = MICROPHONE + np.array([0, distance, 0])
    where = Place(np.array(size), rt60, MICROPHONE, talker, np.array([0.3, 0.4, 1.7]))
    return simulate(where, darker, np.random.default_rng(0))


@pytest.mark.parametrize("size", [(2.4, 2.6, 2.4), (4, 5, 2.5), (8, 10, 3)])
@pytest.mark.parametrize("rt60", [0.3, 0.6, 1.0])
def test_a_room_decays_as_asked(size: tuple[float, float, float], rt60: float) -> None:
    made = room(size, rt60)
    for response in (made.talker, made.elsewhere):
        assert measure_rt60(response, SAMPLE_RATE, decay_db=30) == pytest.approx(rt60, rel=0.1)
        assert np.linalg.norm(response) == pytest.approx(1, rel=1e-4)
        assert response.dtype == np.float32
        assert len(response) <= LONGEST_S * SAMPLE_RATE


def test_a_talker_far_away_is_heard_through_more_of_the_room() -> None:
    shares = [np.sum(room((6, 7, 2.6), 0.5, distance=d).talker[:40] ** 2) for d in (0.3, 1.0, 3.0, 5.0)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.7
    assert shares[-1] < 0.3


@pytest.mark.parametrize("distance", [0.3, 1.0, 2.7, 5.0])
def test_a_simulated_room_starts_with_its_direct_sound(distance: float) -> None:
    assert np.argmax(np.abs(room((6, 7, 2.6), 0.5, distance=distance).talker[:16])) == 0


def test_high_sound_decays_faster_in_a_darker_room() -> None:
    high = [np.abs(np.fft.rfft(room((4, 5, 2.5), 0.5, darker=d).talker[3200:])) for d in (0.0, 0.35)]
    assert [h[len(h) // 2 :].mean() < 0.25 * h[: len(h) // 32].mean() for h in high] == [False, True]


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_rooms_are_within_their_limits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    where = rooms.place(rng)
    for point in (where.microphone, where.talker, where.elsewhere):
        assert (point > 0).all()
        assert (point < where.size).all()
    assert DISTANCE_M[0] <= np.linalg.norm(where.talker - where.microphone) <= DISTANCE_M[1]
    assert RT60_S[0] <= where.rt60 <= RT60_S[1]
    for response in vars(simulate(where, 0.2, rng)).values():
        assert np.linalg.norm(response) == pytest.approx(1, rel=1e-4)
        assert where.rt60 * SAMPLE_RATE <= len(response) + 1


def test_a_measured_room_starts_with_its_direct_sound() -> None:
    response = np.zeros(2 * SAMPLE_RATE, np.float32)
    response[[700, 800, 900]] = 0.1, -0.8, 0.4
    (measured,) = gather_rooms([response], 1, 0).measured
    assert np.argmax(np.abs(measured.talker)) == 0
    np.testing.assert_allclose(measured.talker[100] / measured.talker[0], -0.5)
    assert len(measured.talker) == LONGEST_S * SAMPLE_RATE


def test_the_same_seed_makes_the_same_rooms() -> None:
    first, second, other = (gather_rooms([], 3, seed).simulated for seed in (1, 1, 2))
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.talker, two.talker)
        np.testing.assert_array_equal(one.elsewhere, two.elsewhere)
    assert len({len(r.talker) for r in first + other}) > 3


def test_measured_rooms_are_picked_in_their_share() -> None:
    measured, simulated = (Room(np.full(1, value, np.float32), np.ones(1, np.float32)) for value in (0, 1))
    rng = np.random.default_rng(0)
    both = [Rooms((measured,), (simulated,) * 300).pick(rng) is measured for _ in range(2000)]
    assert np.mean(both) == pytest.approx(MEASURED_SHARE, abs=0.05)
    assert Rooms((measured,), ()).pick(rng) is measured
    assert Rooms((), (simulated,)).pick(rng) is simulated
