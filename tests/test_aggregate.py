"""Word parts become words: the best combination in order within the window, however the stream is cut."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.aggregate import FLOOR, Aggregator, Parts, aggregate
from daemon.detector import Detector, end_of, smooth

PARTS = Parts(count=3, smoothing=5, window=60)


def by_definition(posteriors: np.ndarray, parts: Parts) -> np.ndarray:
    """The formula, one combination of frames after the other, behind as much silence as an average can need."""
    quiet = (parts.count - 1) * (parts.smoothing - 1)
    means = np.maximum(smooth(np.pad(posteriors, ((quiet, 0), (0, 0))), parts.smoothing), FLOOR)
    frames, words = len(means), means.shape[1] // parts.count
    by_word = means.reshape(frames, words, parts.count)
    scores = np.zeros((frames, words))
    for frame, word in itertools.product(range(quiet, frames), range(words)):
        before = range(max(0, frame - parts.window + 1), frame)
        for at in itertools.combinations(before, parts.count - 1):
            if (np.diff((*at, frame)) >= parts.smoothing).all():
                product = np.prod([by_word[t, word, part] for part, t in enumerate((*at, frame))])
                scores[frame, word] = max(scores[frame, word], product ** (1 / parts.count))
    return scores[quiet:]


def said(frames: int, *parts: tuple[int, int, int], classes: int = 3) -> np.ndarray:
    """Posteriors (frames, classes) of parts, each said from one frame on up to another."""
    posteriors = np.zeros((frames, classes), np.float32)
    for part, first, past in parts:
        posteriors[first:past, part] = 1
    return posteriors


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 24), st.integers(2, 4), st.integers(1, 4), st.integers(1, 9))
def test_scores_are_the_best_in_order(seed: int, frames: int, count: int, smoothing: int, starts: int) -> None:
    parts = Parts(count, smoothing, (count - 1) * smoothing + starts)
    assert parts.starts == starts
    posteriors = np.random.default_rng(seed).random((frames, 2 * count)).astype(np.float32) ** 4
    np.testing.assert_allclose(aggregate(posteriors, parts), by_definition(posteriors, parts), rtol=1e-4)


@given(st.integers(0, 2**32), st.lists(st.integers(0, 40), min_size=1, max_size=12), st.sampled_from([0, 7, 200]))
def test_chunking_does_not_matter(seed: int, counts: list[int], warm_up: int) -> None:
    posteriors = np.random.default_rng(seed).random((sum(counts), 6)).astype(np.float32)
    one = Aggregator(PARTS, 2, warm_up=warm_up)
    cut = [np.empty((count, 2), np.float32) for count in counts]
    for rows, scores in zip(np.split(posteriors, np.cumsum(counts)[:-1]), cut, strict=True):
        one.push_all(rows, scores)
    posteriors[:warm_up] = 0
    np.testing.assert_array_equal(np.concatenate(cut), aggregate(posteriors, PARTS))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_only_one_order_is_the_word(order: tuple[int, ...]) -> None:
    posteriors = said(200, *((part, 50 + 15 * at, 65 + 15 * at) for at, part in enumerate(order)))
    highest = aggregate(posteriors, PARTS).max()
    if order == (0, 1, 2):
        assert highest == pytest.approx(1)
    else:
        assert highest < 0.05


@pytest.mark.parametrize(("pause", "heard"), [(0, True), (15, True), (60, False)])
def test_the_word_lies_within_the_window(pause: int, heard: bool) -> None:
    posteriors = said(300, (0, 50, 60), (1, 60 + pause, 70 + pause), (2, 70 + pause, 80 + pause))
    assert (aggregate(posteriors, PARTS).max() > 0.9) == heard


def test_a_part_that_is_missing_is_missed() -> None:
    for missing in range(3):
        posteriors = said(200, *((part, 50 + 15 * part, 65 + 15 * part) for part in range(3) if part != missing))
        assert aggregate(posteriors, PARTS).max() < 0.05


def test_a_word_that_was_said_fires_once() -> None:
    posteriors = said(200, (0, 50, 60), (1, 60, 70), (2, 70, 80))
    scores = aggregate(posteriors, PARTS)
    assert scores[90:].max() < 0.05
    one = Detector([("w", 0.7)], smoothing=1, onset_to_end=1, refractory=20, warm_up=0)
    (heard,) = one.push_all(scores)
    assert end_of(70) < heard.sample < end_of(80)


def test_words_do_not_lend_each_other_their_parts() -> None:
    halves = said(200, (0, 50, 60), (1, 60, 70), (5, 70, 80), classes=6)
    assert aggregate(halves, PARTS).max() < 0.05
    both = aggregate(halves + said(200, (2, 70, 80), classes=6), PARTS)
    assert both[:, 0].max() == pytest.approx(1)
    assert both[:, 1].max() < 0.05


def test_a_stream_takes_no_more_memory_as_it_goes_on() -> None:
    one, posteriors, scores = Aggregator(PARTS, 2), np.ones((8, 6), np.float32), np.empty((8, 2), np.float32)
    held = []
    tracemalloc.start()
    for _ in range(4):
        for _ in range(50):
            one.push_all(posteriors, scores)
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[3] - held[1] < 100


def test_reset_starts_over() -> None:
    posteriors = said(100, (0, 50, 60), (1, 60, 70), (2, 70, 80))
    one, scores = Aggregator(PARTS, 1), np.empty((100, 1), np.float32)
    one.push_all(posteriors[:70], scores[:70])
    one.reset()
    one.push_all(posteriors[70:], scores[70:])
    assert scores.max() < 0.05
    one.reset()
    one.push_all(posteriors, scores)
    np.testing.assert_array_equal(scores, aggregate(posteriors, PARTS))
