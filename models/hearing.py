"""A model listens to sessions, and every word is tried at many thresholds after the sound was heard once.

Features, plan, smoothing, refractory and decision are the satellite's own: `decide` over scores is what its detector
does frame by frame, which the tests prove. A word's curve is that of the word by itself; `together` is what the
satellite does with all words at the model's thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import pulse
from daemon.aggregate import aggregate
from daemon.detector import REFRACTORY_S, end_of, smooth
from daemon.features import FRAMES_PER_SECOND, MELS, SAMPLE_RATE, LogMel
from daemon.model import WakeModel
from models import workers
from models.conditions import Condition, Mark, Session, Surroundings, heard_in
from models.corpus import CorpusError, Recording

Floats = NDArray[np.float32]

THRESHOLDS = np.round(np.concatenate([np.arange(0.05, 0.95, 0.005), np.arange(0.95, 1.0005, 0.001)]), 3)
REFRACTORY = round(REFRACTORY_S * FRAMES_PER_SECOND)


@dataclass(frozen=True)
class Outcome:
    """What became of one word: how late it fired for each recording that says it, and where it fired wrongly."""

    late_s: tuple[float, ...]  # from the word's end to the moment the satellite acts; NaN for a miss
    alarms: tuple[Recording, ...]  # one for each false alarm


@dataclass(frozen=True)
class Tried:
    """One word in one condition."""

    word: str
    condition: str
    positives: tuple[Recording, ...]
    hours: float  # of recordings without the word, not counting the pauses between them
    late_s: NDArray[np.float32]  # (positives, THRESHOLDS) as in `Outcome`, of the word by itself
    alarms: NDArray[np.int64]  # (THRESHOLDS,), of the word by itself
    together: Outcome  # with all words at the model's thresholds

    @property
    def misses(self) -> NDArray[np.int64]:
        """How many of the positives are missed at each of THRESHOLDS."""
        missed: NDArray[np.int64] = np.isnan(self.late_s).sum(axis=0)
        return missed

    def at_alarms(self, allowed: float) -> int:
        """Index of the lowest threshold from which on there are at most so many false alarms; at the last are none."""
        too_many = np.flatnonzero(self.alarms > allowed)
        return min(int(too_many[-1]) + 1, len(THRESHOLDS) - 1) if len(too_many) else 0

    def near(self, threshold: float) -> int:
        """Index of the nearest of THRESHOLDS."""
        return int(np.argmin(np.abs(THRESHOLDS - threshold)))


@dataclass(frozen=True)
class _Task:
    model: Path
    session: Session
    around: Surroundings
    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class _Part:
    """One word in one session and condition: by itself at each threshold, then together with the others."""

    positives: tuple[Recording, ...]
    hours: float
    alone: tuple[Outcome, ...]
    together: Outcome


def posteriors(plan: pulse.Plan, frames: Floats) -> Floats:
    """Of all but "none", (frames, classes), pulse by pulse as on a satellite; 0 while the satellite is deaf."""
    state, length = pulse.State(plan), plan.pulse
    given = frames[: len(frames) // length * length].reshape(-1, 1, length, MELS)
    found = [state.run(pulse_of_frames)[0][0, :, 1:].copy() for pulse_of_frames in given]
    result = np.concatenate(found)
    result[: plan.delay[0]] = 0
    return result


def scores(model: WakeModel, samples: NDArray[np.int16]) -> Floats:
    """What the satellite compares with its thresholds, (frames, words), of a stream from its first sample on."""
    found = posteriors(model.plan, LogMel(model.window_function).push(samples))
    if model.parts is not None:
        found = aggregate(found, model.parts)
    return smooth(found, model.smoothing)


def decide(found: Floats, thresholds: Sequence[float]) -> list[tuple[int, int]]:
    """(frame, word) of each detection that the satellite's detector makes of these scores (frames, words)."""
    reached = found >= np.asarray(thresholds, np.float32)
    candidates = np.flatnonzero(reached.any(axis=1))
    detections, at = [], 0
    while at < len(candidates):
        frame = int(candidates[at])
        detections.append((frame, int(np.argmax(np.where(reached[frame], found[frame], -1)))))
        at = int(np.searchsorted(candidates, frame + REFRACTORY))
    return detections


def firings(found: Floats, threshold: float) -> list[int]:
    """The frames at which one word's scores (frames,) make the satellite's detector fire, no other word being there."""
    return [frame for frame, _ in decide(found[:, None], [threshold])]


def acted(frame: int, length: int) -> int:
    """The sample at which a detection in a frame is known: at the end of its pulse of so many frames."""
    return end_of(frame // length * length + length - 1)


def outcome(word: str, marks: Sequence[Mark], samples: Sequence[int]) -> Outcome:
    """Which of the samples at which a word fired are hits, and which are false alarms."""
    starts = np.array([mark.first for mark in marks])
    late = {index: float("nan") for index, mark in enumerate(marks) if mark.recording.says(word)}
    alarms = []
    for sample in samples:
        index = max(0, int(np.searchsorted(starts, sample, side="right")) - 1)
        mark = marks[index]
        if index in late:
            first, last = mark.hit()
            if first <= sample <= last and np.isnan(late[index]):
                late[index] = (sample - mark.first) / SAMPLE_RATE - mark.recording.end_s
        elif not mark.recording.may_say(word):
            alarms.append(mark.recording)
    return Outcome(tuple(late.values()), tuple(alarms))


def _listen(task: _Task) -> list[list[_Part]]:
    """Hear one session in each condition; parts by condition and word."""
    model = WakeModel.load(task.model)
    return [_hear(model, *heard_in(condition, task.session, task.around)) for condition in task.conditions]


def _hear(model: WakeModel, samples: NDArray[np.int16], marks: list[Mark]) -> list[_Part]:
    found, length = scores(model, samples), model.plan.pulse
    fired = decide(found, [model.thresholds[word] for word in model.words])
    parts = []
    for column, word in enumerate(model.words):
        others = [mark.recording for mark in marks if not mark.recording.may_say(word)]
        swept = (firings(found[:, column], threshold) for threshold in THRESHOLDS)
        alone = [outcome(word, marks, [acted(at, length) for at in frames]) for frames in swept]
        together = outcome(word, marks, [acted(at, length) for at, which in fired if which == column])
        positives = tuple(mark.recording for mark in marks if mark.recording.says(word))
        parts.append(_Part(positives, sum(r.duration_s for r in others) / 3600, tuple(alone), together))
    return parts


def listen(
    path: Path,
    heard: Sequence[Session],
    around: Surroundings,
    conditions: Sequence[Condition],
    *,
    processes: int = 1,
) -> list[Tried]:
    """The model at `path` hears all sessions in all conditions: one result per condition and word.

    `CorpusError` names a word that no recording says, or that every one may say.
    """
    words = WakeModel.load(path).words
    _check(words, heard)
    tasks = [_Task(path, session, around, tuple(conditions)) for session in heard]
    with tqdm(total=len(tasks), unit="session", desc=path.stem) as bar:
        found = list(_watched(_each(tasks, processes), bar))
    return [
        _joined(word, condition.name, [session[row][column] for session in found])
        for row, condition in enumerate(conditions)
        for column, word in enumerate(words)
    ]


def _check(words: Sequence[str], heard: Sequence[Session]) -> None:
    recordings = [recording for session in heard for recording in session.recordings]
    for word in words:
        if not any(recording.says(word) for recording in recordings):
            raise CorpusError(f"no recording of the dev split says {word!r}")
        if all(recording.may_say(word) for recording in recordings):
            raise CorpusError(f"no recording of the dev split is without {word!r}")


def _each(tasks: list[_Task], processes: int) -> Iterator[list[list[_Part]]]:
    if processes == 1:
        yield from map(_listen, tasks)
        return
    try:
        with workers.processes(processes) as pool:
            yield from pool.map(_listen, tasks)
    except BrokenProcessPool as error:
        raise CorpusError(
            f"one of {processes} processes that listen was killed, maybe for want of memory; start again "
            "(evaluate takes fewer --processes)"
        ) from error


def _watched(results: Iterator[list[list[_Part]]], bar: tqdm) -> Iterator[list[list[_Part]]]:
    for result in results:
        bar.update()
        yield result


def _joined(word: str, condition: str, parts: list[_Part]) -> Tried:
    late = np.concatenate([np.array([o.late_s for o in part.alone], np.float32).T for part in parts])
    return Tried(
        word,
        condition,
        tuple(recording for part in parts for recording in part.positives),
        sum(part.hours for part in parts),
        late,
        np.sum([[len(o.alarms) for o in part.alone] for part in parts], axis=0),
        Outcome(
            tuple(late_s for part in parts for late_s in part.together.late_s),
            tuple(recording for part in parts for recording in part.together.alarms),
        ),
    )
