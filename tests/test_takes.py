"""Takes of the shipped word in the shipped recording: good ones are cut out, bad ones refused by reason."""

import numpy as np
import pytest

from daemon.features import SAMPLE_RATE
from daemon.takes import TAIL_S, Examiner, Refused, WordCatcher, said_next, spoken
from models.corpus import to_float, to_int16
from models.demo import HISS
from models.variety import Change, apply
from tests.shipped import model, sound, speaker_model, word_end

WORD = "computer"
LEAD = word_end() - 2 * SAMPLE_RATE


def examiner() -> Examiner:
    return Examiner(speaker_model(), model(), model().thresholds, WORD)


def take(gain: float = 1.0, seed: int = 0) -> np.ndarray:
    """The word with some sound before it, at another level and in other noise."""
    cut = sound()[LEAD : word_end() + SAMPLE_RATE].astype(np.float64)
    noise = np.random.default_rng(seed).normal(0, HISS, len(cut))
    return np.clip(gain * cut + noise, -32768, 32767).astype(np.int16)


def another(samples: np.ndarray) -> np.ndarray:
    """The same words by somebody else."""
    return to_int16(apply(to_float(samples), Change(tract=1.22, pitch=1.6)))


def test_the_word_is_cut_out_where_it_ends() -> None:
    found = examiner().word_in(take())
    assert found.embeddings.shape == (1, speaker_model().embedding)
    assert np.linalg.norm(found.embeddings) == pytest.approx(1, abs=1e-4)
    end = 2 * SAMPLE_RATE + round(TAIL_S * SAMPLE_RATE)
    assert abs(len(found.samples) - end) < 0.35 * SAMPLE_RATE or len(found.samples) < end


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (take(0.005), "too quiet: come nearer"),
        (np.zeros(SAMPLE_RATE, np.int16), "too quiet"),
        (np.zeros(0, np.int16), "too quiet"),
        (take(60), "clipped: step back"),
        (np.pad(take()[2 * SAMPLE_RATE - 9000 : 2 * SAMPLE_RATE - 6000], SAMPLE_RATE), "too short: 0.1 s of speech"),
        (sound()[: 3 * SAMPLE_RATE], "not the word: 'computer' was not heard"),
    ],
)
def test_bad_takes_are_refused_by_reason(samples: np.ndarray, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        examiner().word_in(samples)


def test_the_same_voice_agrees_and_another_one_does_not() -> None:
    judge = examiner()
    mine = [judge.word_in(take(0.5 + 0.2 * seed, seed)) for seed in range(3)]
    judge.agree(mine[:2], mine[2])
    with pytest.raises(Refused, match="two voices"):
        judge.agree(mine, judge.word_in(another(take())))


def test_free_speech_is_cut_into_pieces() -> None:
    judge = examiner()
    words = sound()[: 7 * SAMPLE_RATE]
    found = judge.sentence_in(words)
    assert len(found.embeddings) >= 2
    with pytest.raises(Refused, match="too short"):
        judge.sentence_in(take())
    half = len(words) // 2
    with pytest.raises(Refused, match="two voices"):
        judge.sentence_in(np.concatenate([words[:half], another(words[:half]), words[half:], another(words[half:])]))


def test_silence_around_speech_is_cut_off() -> None:
    quiet = np.random.default_rng(0).normal(0, HISS, 2 * SAMPLE_RATE).astype(np.int16)
    speech = sound()[LEAD : word_end()]
    assert len(spoken(np.concatenate([quiet, speech, quiet]))) <= len(speech) + SAMPLE_RATE // 50


@pytest.mark.parametrize("cut", [1280, 700, 4000])
def test_the_next_word_is_waited_for(cut: int) -> None:
    stream = np.concatenate([np.zeros(3 * SAMPLE_RATE, np.int16), take()])
    blocks = [(first, stream[first : first + cut]) for first in range(0, len(stream), cut)]
    catcher = WordCatcher(examiner())
    found = said_next(iter(blocks), catcher, 30)
    assert found is not None
    examiner().word_in(found)
    assert said_next(iter(blocks[: 3 * SAMPLE_RATE // cut]), WordCatcher(examiner()), 30) is None
    assert said_next(iter(blocks), WordCatcher(examiner()), 1) is None


def test_a_word_at_the_very_beginning_is_caught_and_so_is_the_next() -> None:
    stream = np.concatenate([take()[SAMPLE_RATE:], take(), take()])
    blocks = iter([(first, stream[first : first + 1280]) for first in range(0, len(stream), 1280)])
    catcher = WordCatcher(examiner())
    assert all(said_next(blocks, catcher, 30) is not None for _ in range(3))
