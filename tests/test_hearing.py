"""Thresholds are swept after the sound was heard once, and that gives what the satellite gives at each of them."""

import math
import os
import signal
from dataclasses import replace
from functools import cache
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from daemon.detector import Detector
from daemon.features import HOP, SAMPLE_RATE, WINDOW
from daemon.listener import Listener
from daemon.recording import read
from models import conditions, hearing
from models.conditions import CONDITIONS, Condition, Mark
from models.corpus import HEARD_KINDS, CorpusError, Recording, read_manifest
from tests.shipped import DEMO, MODEL, model
from tests.test_models import write_corpus
from tests.test_synthesize import children

THRESHOLDS = (0.02, 0.05, 0.1, 0.3, 0.5, 0.6)
CLEAN = CONDITIONS[0]


@cache
def demo() -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """The whole demo and its scores."""
    samples = read(DEMO)
    return samples, hearing.scores(model(), samples)


def heard_by_the_satellite(thresholds: dict[str, float]) -> list[tuple[int, str]]:
    listener = Listener(model(), thresholds, refractory_s=1.0)
    return [((d.sample - WINDOW) // HOP, d.word) for d in listener.push(0, demo()[0])]


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_sweeping_a_word_gives_what_the_satellite_gives(threshold: float) -> None:
    found = demo()[1]
    for column, word in enumerate(model().words):
        swept = [(frame, word) for frame in hearing.firings(found[:, column], threshold)]
        assert swept == heard_by_the_satellite({word: threshold})


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_all_words_together_are_decided_as_the_satellite_does(threshold: float) -> None:
    thresholds = {word: threshold + 0.01 * index for index, word in enumerate(model().words)}
    decided = hearing.decide(demo()[1], list(thresholds.values()))
    assert [(frame, model().words[word]) for frame, word in decided] == heard_by_the_satellite(thresholds)


def test_the_words_of_the_demo_are_heard() -> None:
    decided = hearing.decide(demo()[1], [model().thresholds[word] for word in model().words])
    assert [frame for frame, _ in decided] == [frame for frame, _ in heard_by_the_satellite(dict(model().thresholds))]
    assert len(decided) == len(model().words)


def test_random_scores_are_decided_as_the_detector_does() -> None:
    found = np.random.default_rng(4).random((5000, 3)).astype(np.float32)
    thresholds = (0.99, 0.95, 0.999)
    words = list(zip("abc", thresholds, strict=True))
    one = Detector(words, smoothing=1, onset_to_end=0, refractory=hearing.REFRACTORY, warm_up=0)
    fired = [(frame, d.word) for frame, row in enumerate(found) if (d := one.push(row)) is not None]
    assert [(frame, "abc"[word]) for frame, word in hearing.decide(found, thresholds)] == fired
    assert len(fired) > 10


def recording(label: str, *, kind: str = "wakeword", note: str = "") -> Recording:
    return Recording(
        Path(), kind, "dev", "made", label, "s", duration_s=2.0, start_s=0.5, end_s=1.0, licence="CC0", note=note
    )


MARKS = [
    Mark(recording("up"), 0, 3 * SAMPLE_RATE),
    Mark(recording("down"), 3 * SAMPLE_RATE, 6 * SAMPLE_RATE),
    Mark(recording("talk", kind="speech"), 6 * SAMPLE_RATE, 9 * SAMPLE_RATE),
]


@pytest.mark.parametrize(
    ("at_s", "late_s", "alarms"),
    [
        ([1.2], 0.2, 0),
        ([0.6, 1.3], -0.4, 0),  # the first one counts
        ([1.49], 0.49, 0),
        ([1.51], math.nan, 0),  # too late, and no false alarm: the word was said
        ([0.4], math.nan, 0),  # too early
        ([3.2, 7.0], math.nan, 2),  # in another word, and in speech
        ([5.9], math.nan, 1),  # the pause behind a recording is its own
        ([], math.nan, 0),
    ],
)
def test_hits_lie_near_the_word_and_alarms_elsewhere(at_s: list[float], late_s: float, alarms: int) -> None:
    found = hearing.outcome("up", MARKS, [round(at * SAMPLE_RATE) for at in at_s])
    np.testing.assert_allclose(found.late_s, [late_s], atol=1e-4)
    assert len(found.alarms) == alarms


def test_speech_that_mentions_the_word_is_neither() -> None:
    marks = [Mark(recording("sentence", kind="speech", note="has_computer=1"), 0, 9 * SAMPLE_RATE)]
    assert hearing.outcome("computer", marks, [SAMPLE_RATE]).alarms == ()
    assert len(hearing.outcome("jarvis", marks, [SAMPLE_RATE]).alarms) == 1


def test_the_satellite_acts_at_the_end_of_a_pulse() -> None:
    assert [hearing.acted(frame, 8) for frame in (8, 15, 16)] == [
        15 * HOP + WINDOW,
        15 * HOP + WINDOW,
        23 * HOP + WINDOW,
    ]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Recording]:
    folder = write_corpus(tmp_path_factory.mktemp("corpus"), model().words)
    return [r for r in read_manifest(folder) if r.split == "dev" and r.kind in HEARD_KINDS]


def test_a_session_holds_every_recording_once_and_is_the_same_every_time(corpus: list[Recording]) -> None:
    parts = conditions.sessions(corpus * 40, 3)
    assert len(parts) > 1
    assert sorted(r.path for part in parts for r in part.recordings) == sorted(r.path for r in corpus * 40)
    assert parts == conditions.sessions(corpus * 40, 3) != conditions.sessions(corpus * 40, 4)
    around = conditions.surroundings(corpus)
    first, again, clean = (conditions.heard_in(c, parts[0], around) for c in (CONDITIONS[1], CONDITIONS[1], CLEAN))
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == clean[1]
    assert all(after.first == before.past for before, after in zip(clean[1], clean[1][1:], strict=False))


def test_conditions_are_what_they_are_called(corpus: list[Recording]) -> None:
    (session,) = conditions.sessions(corpus, 1)
    around = conditions.surroundings(corpus)
    still = conditions.heard_in(Condition("still", snr_db=200.0), session, around)[0].astype(float)
    speech = np.concatenate([_speech(still, mark) for mark in conditions.heard_in(CLEAN, session, around)[1]])
    for condition in CONDITIONS[1:3]:
        noise = conditions.heard_in(condition, session, around)[0] - still
        snr_db = 20 * np.log10(_rms(speech) / _rms(noise))
        assert snr_db == pytest.approx(condition.snr_db, abs=0.2)
    loud, soft = (conditions.heard_in(c, session, around)[0] for c in (CLEAN, CONDITIONS[4]))
    assert _rms(loud) / _rms(soft) == pytest.approx(10, rel=0.02)


def test_a_room_keeps_the_word_where_it_was(corpus: list[Recording], tmp_path: Path) -> None:
    response = np.zeros(4000)
    response[1000], response[3000] = 1, 0.5
    soundfile.write(tmp_path / "room.wav", response, SAMPLE_RATE)
    room = replace(corpus[0], path=tmp_path / "room.wav", kind="rir", duration_s=0.25)
    (session,) = conditions.sessions(corpus, 1)
    around = conditions.surroundings([*corpus, room])
    dry, wet = (conditions.heard_in(c, session, around)[0].astype(float) for c in (CLEAN, CONDITIONS[3]))
    assert np.argmax([np.dot(dry[: len(dry) - lag], wet[lag:]) for lag in range(0, 2001, 250)]) == 0
    np.testing.assert_allclose(wet[2000:], (dry[2000:] + dry[:-2000] / 2) / np.sqrt(1.25), atol=2)


def test_a_corpus_must_hold_the_word_and_other_sound(corpus: list[Recording]) -> None:
    around, others = conditions.surroundings(corpus), [r for r in corpus if r.label != "computer"]
    with pytest.raises(CorpusError, match="says 'computer'"):
        hearing.listen(MODEL, conditions.sessions(others, 1), around, CONDITIONS[:1])
    mentioned = [replace(r, note="has_computer=1") for r in corpus]
    with pytest.raises(CorpusError, match="without 'computer'"):
        hearing.listen(MODEL, conditions.sessions(mentioned, 1), around, CONDITIONS[:1])


def test_more_processes_hear_the_same(corpus: list[Recording]) -> None:
    parts, around = conditions.sessions(corpus * 20, 1), conditions.surroundings(corpus)
    one, two = (hearing.listen(MODEL, parts[:2], around, CONDITIONS[:1], processes=n) for n in (1, 2))
    assert [(t.word, t.positives, t.hours) for t in one] == [(t.word, t.positives, t.hours) for t in two]
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first.late_s, second.late_s)
        np.testing.assert_array_equal(first.alarms, second.alarms)
        assert first.late_s.shape == (len(first.positives), len(hearing.THRESHOLDS))


def test_a_process_that_is_killed_is_an_error(corpus: list[Recording]) -> None:
    parts, around = conditions.sessions(corpus * 200, 1), conditions.surroundings(corpus)

    def kill() -> None:
        listening: list[int] = []
        while len(listening) < 2:  # children of the server of forks, which is a child; none is being started any more
            found = [process for server in children(os.getpid()) for process in children(server)]
            listening = [process for process in found if _has_worked(process)]
        os.kill(listening[0], signal.SIGKILL)

    killer = Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(CorpusError, match="one of 2 processes that listen was killed"):
        hearing.listen(MODEL, parts, around, CONDITIONS, processes=2)
    killer.join()


def _has_worked(process: int) -> bool:
    """For some hundredths of a second at least, and is still there; what the server starts to import torch is not."""
    try:
        user_time = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return int(user_time) >= 0.05 * os.sysconf("SC_CLK_TCK")


def _speech(sound: np.ndarray, mark: Mark) -> np.ndarray:
    start, end = mark.first + mark.recording.start_s * SAMPLE_RATE, mark.first + mark.recording.end_s * SAMPLE_RATE
    return sound[round(start) : round(end)]


def _rms(sound: np.ndarray) -> float:
    return float(np.sqrt(np.mean(sound.astype(float) ** 2)))
