"""The decision: smoothing, thresholds, refractory and warm-up, all counted in frames."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from daemon.detector import Detection, Detector, end_of, smooth

SMOOTHING, ONSET_TO_END, REFRACTORY, WARM_UP = 10, 16, 50, 20


def detector(*thresholds: float) -> Detector:
    words = [(f"word{i}", threshold) for i, threshold in enumerate(thresholds)]
    return Detector(words, smoothing=SMOOTHING, onset_to_end=ONSET_TO_END, refractory=REFRACTORY, warm_up=WARM_UP)


def run(detector: Detector, posteriors: np.ndarray) -> list[Detection]:
    return [d for d in map(detector.push, posteriors.astype(np.float32)) if d is not None]


def said(frames: int, *spans: tuple[int, int], words: int = 1, word: int = 0) -> np.ndarray:
    posteriors = np.zeros((frames, words))
    for first, last in spans:
        posteriors[first:last, word] = 1
    return posteriors


def test_fires_when_the_mean_reaches_the_threshold() -> None:
    (heard,) = run(detector(0.5), said(200, (100, 133)))
    assert heard == Detection("word0", 0.5, end_of(104), end_of(100 + ONSET_TO_END))


def test_the_end_of_the_word_does_not_depend_on_when_it_fires() -> None:
    slow = Detector([("w", 0.9)], smoothing=30, onset_to_end=ONSET_TO_END, refractory=REFRACTORY, warm_up=0)
    (heard,) = run(slow, said(200, (100, 133)))
    assert heard.sample == end_of(126)
    assert heard.end_sample == end_of(100 + ONSET_TO_END)


def test_nothing_is_heard_before_the_receptive_field_is_full() -> None:
    assert not run(detector(0.1), said(WARM_UP, (0, WARM_UP)))
    (heard,) = run(detector(0.1), said(WARM_UP + 1, (0, WARM_UP + 1)))
    assert heard.sample == end_of(WARM_UP)


def test_refractory_holds_every_word_back() -> None:
    posteriors = said(300, (100, 115), words=2) + said(300, (120, 140), (200, 220), words=2, word=1)
    assert [d.word for d in run(detector(0.5, 0.5), posteriors)] == ["word0", "word1"]
    assert [d.sample for d in run(detector(0.5, 0.5), posteriors)] == [end_of(104), end_of(204)]


def test_each_word_has_its_threshold_and_the_best_one_wins() -> None:
    posteriors = np.tile([0.6, 0.7], (100, 1))
    assert run(detector(0.5, 0.5), posteriors)[0].word == "word1"
    assert run(detector(0.5, 0.8), posteriors)[0].word == "word0"
    assert not run(detector(0.8, np.inf), posteriors)


def test_reset_starts_over() -> None:
    one = detector(0.5)
    run(one, said(110, (100, 110)))
    one.reset()
    assert run(one, said(200, (100, 133))) == run(detector(0.5), said(200, (100, 133)))


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 100))
def test_scores_are_the_smoothed_posteriors(seed: int, smoothing: int, frames: int) -> None:
    posteriors = np.random.default_rng(seed).random((frames, 3)).astype(np.float32)
    one = Detector([("a", 2), ("b", 2), ("c", 2)], smoothing=smoothing, onset_to_end=1, refractory=1, warm_up=0)
    scores = [one.push(row) or one.scores.copy() for row in posteriors]
    np.testing.assert_allclose(smooth(posteriors, smoothing), scores, atol=1e-5)


def test_score_is_never_below_the_threshold() -> None:
    posteriors = np.random.default_rng(1).random((2000, 1))
    heard = run(detector(0.6), posteriors)
    assert heard
    assert min(d.score for d in heard) >= 0.6


@given(
    st.integers(0, 2**32),
    st.lists(st.integers(1, 90), min_size=1, max_size=12),
    st.sampled_from([1, 10, 40]),
    st.sampled_from([0, 7, 200]),
)
def test_many_frames_at_once_are_each_of_them(seed: int, counts: list[int], smoothing: int, warm_up: int) -> None:
    rng = np.random.default_rng(seed)
    loud = np.repeat(rng.random((1 + sum(counts) // 30, 3)) ** 4, 30, axis=0)[: sum(counts)]
    posteriors = (loud * rng.random(loud.shape) ** 0.1).astype(np.float32)
    words = [("a", 0.4), ("b", 0.6), ("c", np.inf)]
    one, other = (
        Detector(words, smoothing=smoothing, onset_to_end=3, refractory=20, warm_up=warm_up) for _ in range(2)
    )
    for rows in np.split(posteriors, np.cumsum(counts)[:-1]):
        assert other.push_all(rows) == run(one, rows)
        np.testing.assert_array_equal(other.scores, one.scores)
