"""A look at a network in training: how often it misses a word, and how often it fires where the word was not said.

Posteriors come from wherever the caller runs the network. Every recording is heard by itself, after the near-silence of
a quiet room and with some of it behind; a hit counts from the word's start to `HIT_S` after its end. It chooses the
thresholds that a model is exported with; what they are worth, `models.hearing` finds out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.detector import Detection, Detector, smooth
from daemon.features import HOP, SAMPLE_RATE, WINDOW, LogMel
from models.conditions import HIT_S, LEAD_S
from models.corpus import CorpusError, Recording, read_audio, to_int16
from models.hearing import firings

Posteriors = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # (frames, MELS) -> (frames, words), aligned

TAIL_S = 1.5  # of quiet after a recording
RECOMMENDED_ALARMS = 0.5  # per hour
RECOMMENDED_NEAR = 0.03  # of the recordings of what is nearly a word, which nobody says by the hour
NEAR_COST = 0.05  # of the words, that may be missed at most to refuse what is nearly one: never deaf
SMOOTHING = 20  # frames over which a posterior is averaged into a score, where a model does not say otherwise
QUIET = 3e-4  # root mean square of the quiet, of full scale: -70 dB
THRESHOLDS = np.concatenate([np.arange(0.05, 0.95, 0.025), np.arange(0.95, 1.0, 0.005)])


@dataclass(frozen=True)
class Scored:
    """The posteriors (frames, words) of one recording with quiet around it."""

    recording: Recording
    posteriors: NDArray[np.float32]

    def hit(self) -> tuple[float, float]:
        """The samples between which a detection is right."""
        start, end = self.recording.start_s, self.recording.end_s + HIT_S
        return (LEAD_S + start) * SAMPLE_RATE, (LEAD_S + end) * SAMPLE_RATE


@dataclass(frozen=True)
class Curve:
    """For one word by itself: misses and false alarms at each of THRESHOLDS."""

    word: str
    positives: int
    hours: float  # of recordings without the word, not counting the quiet around them
    misses: NDArray[np.float64]  # share of the positives
    alarms: NDArray[np.int64]  # events
    near: int  # recordings of what is nearly a word
    near_alarms: NDArray[np.int64]  # those of the events that happen in them

    def at_alarms(self, alarms_per_hour: float) -> int:
        """Index of the lowest threshold with at most so many false alarms per hour; the highest if there is none."""
        allowed = np.flatnonzero(self.alarms <= alarms_per_hour * self.hours)
        return int(allowed[0]) if len(allowed) else len(THRESHOLDS) - 1

    def recommended(self) -> float:
        """The threshold that a model is shipped with: amid those with few alarms that miss no more than the lowest.

        What is nearly a word raises it only while that costs few words.
        """
        few = _first(self.alarms - self.near_alarms <= RECOMMENDED_ALARMS * self.hours)
        distinct = _first(self.near_alarms <= RECOMMENDED_NEAR * self.near)
        bearable = int(np.flatnonzero(self.misses <= self.misses[few] + NEAR_COST)[-1])
        low = max(few, min(distinct, bearable))
        high = int(np.flatnonzero(self.misses <= self.misses[low])[-1])
        return round(float(THRESHOLDS[(low + high) // 2]), 3)


def _first(allowed: NDArray[np.bool_]) -> int:
    """Index of the lowest threshold that is allowed; the highest if there is none."""
    return int(np.argmax(allowed)) if allowed.any() else len(THRESHOLDS) - 1


def listen(recordings: Sequence[Recording], window_function: str) -> list[tuple[Recording, NDArray[np.float32]]]:
    """The frames of each recording with quiet around it."""
    rng = np.random.default_rng(0)
    heard = []
    for recording in recordings:
        audio = np.concatenate([_quiet(LEAD_S, rng), read_audio(recording), _quiet(TAIL_S, rng)])
        heard.append((recording, LogMel(window_function).push(to_int16(audio))))
    return heard


def _quiet(seconds: float, rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.standard_normal(int(seconds * SAMPLE_RATE), np.float32) * np.float32(QUIET)


def score(heard: list[tuple[Recording, NDArray[np.float32]]], posteriors: Posteriors) -> list[Scored]:
    """Run the network over each recording."""
    return [Scored(recording, posteriors(frames)) for recording, frames in heard]


def _detections(detector: Detector, stream: Scored) -> list[Detection]:
    detector.reset()
    return [detection for row in stream.posteriors if (detection := detector.push(row)) is not None]


def onset_to_end(scored: Sequence[Scored], thresholds: Mapping[str, float], *, smoothing: int = SMOOTHING) -> int:
    """Frames from the first one that is sure of a word to the word's end: the median over all words that are hit."""
    detector = Detector(list(thresholds.items()), smoothing=smoothing, onset_to_end=0, refractory=100, warm_up=0)
    offsets = []
    for stream in scored:
        first, last = stream.hit()
        for detection in _detections(detector, stream):
            if stream.recording.says(detection.word) and first <= detection.sample <= last:
                end = (LEAD_S + stream.recording.end_s) * SAMPLE_RATE
                offsets.append((end - detection.end_sample) / HOP)
    return max(1, round(float(np.median(offsets)))) if offsets else 1


def curves(scored: Sequence[Scored], words: Sequence[str], *, smoothing: int = SMOOTHING) -> list[Curve]:
    """One curve per word; `CorpusError` names a word that no recording says."""
    smoothed = [smooth(stream.posteriors, smoothing) for stream in scored]
    return [_curve(list(zip(scored, smoothed, strict=True)), word, column) for column, word in enumerate(words)]


def _curve(streams: list[tuple[Scored, NDArray[np.float32]]], word: str, column: int) -> Curve:
    peaks = []
    alarms, near_alarms = (np.zeros(len(THRESHOLDS), np.int64) for _ in range(2))
    hours, near = 0.0, 0
    for stream, smoothed in streams:
        scores = smoothed[:, column]
        if stream.recording.says(word):
            first, last = (round((sample - WINDOW) / HOP) for sample in stream.hit())
            peaks.append(scores[max(0, first) : last + 1].max(initial=0))
        elif not stream.recording.may_say(word):
            fired = np.array([len(firings(scores, threshold)) for threshold in THRESHOLDS])
            alarms += fired
            near_alarms += fired * stream.recording.near
            near += stream.recording.near
            hours += stream.recording.duration_s / 3600
    if not peaks:
        raise CorpusError(f"no recording of the dev split says {word!r}")
    misses = (np.array(peaks)[:, None] < THRESHOLDS).mean(axis=0)
    return Curve(word, len(peaks), hours, misses, alarms, near, near_alarms)
