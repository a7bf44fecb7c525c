"""One path from samples to detections: how the sound is cut does not matter, and a gap starts it afresh."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.features import SAMPLE_RATE
from daemon.listener import Listener
from daemon.model import WakeModel
from tests.shipped import MODEL, listener, model, sound, whole, word_end


def test_the_first_word_of_the_demo_is_heard_where_it_ends() -> None:
    (heard,) = whole()
    assert heard.word == "computer"
    assert abs(heard.end_sample - word_end()) < 0.25 * SAMPLE_RATE


def test_the_network_in_integers_hears_the_same_word() -> None:
    whole_numbers = WakeModel.load(MODEL.with_suffix(".int8.plan"))
    assert {slot.kind for slot in whole_numbers.plan.slots} > {"int8", "int32"}
    assert (whole_numbers.words, whole_numbers.thresholds.keys()) == (model().words, model().thresholds.keys())
    (wanted,) = whole()
    for thresholds in (model().thresholds, whole_numbers.thresholds):  # those of the other network, and its own
        (heard,) = Listener(whole_numbers, thresholds, refractory_s=1.0).push(0, sound())
        assert heard.word == wanted.word
        assert abs(heard.sample - wanted.sample) < 0.05 * SAMPLE_RATE


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 9 * SAMPLE_RATE), max_size=200))
def test_chunking_does_not_matter(cuts: list[int]) -> None:
    one, edges = listener(), [0, *sorted(cuts), len(sound())]
    heard = []
    for first, last in itertools.pairwise(edges):
        heard += one.push(first, sound()[first:last])
    assert heard == whole()


def test_samples_are_those_of_the_stream() -> None:
    (moved,) = listener().push(1_000_000, sound())
    (heard,) = whole()
    assert (moved.sample, moved.end_sample) == (heard.sample + 1_000_000, heard.end_sample + 1_000_000)


def test_a_gap_starts_the_stream_afresh() -> None:
    one = listener()
    (heard,) = whole()
    cut = heard.end_sample - SAMPLE_RATE // 4
    assert one.push(0, sound()[:cut]) == []
    assert one.push(cut + 1, sound()[cut + 1 : heard.sample + SAMPLE_RATE]) == []  # the word was torn
    assert one.gaps == 1
    assert [d.word for d in one.push(10**9, sound())] == ["computer"]
    assert one.gaps == 2


def test_nothing_is_heard_in_silence_or_before_the_receptive_field_is_full() -> None:
    one = Listener(model(), dict.fromkeys(model().words, 1e-9), refractory_s=0.5)
    assert one.push(0, sound()[: one.warm_up - 1]) == []
    assert one.push(one.warm_up - 1, sound()[one.warm_up - 1 :])
    assert listener().push(0, np.zeros(20 * SAMPLE_RATE, np.int16)) == []


def test_words_without_a_threshold_are_not_detected() -> None:
    assert Listener(model(), {"alexa": 0.5}, refractory_s=1.0).push(0, sound()) == []


def test_the_end_of_a_recording_is_heard_out() -> None:
    (heard,) = whole()
    one = listener()
    assert one.push(0, sound()[: heard.sample - 1]) == []
    assert [d.word for d in one.finish()] == ["computer"]


@pytest.mark.parametrize("seed", range(3))
def test_noise_at_any_level_is_no_word(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=30 * SAMPLE_RATE) * np.repeat(10 ** rng.uniform(0, 4.3, 30), SAMPLE_RATE)
    assert listener().push(0, np.clip(noise, -32768, 32767).astype(np.int16)) == []
