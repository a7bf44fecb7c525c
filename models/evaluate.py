"""How often a network misses a word, and how often it fires where the word was not said.

Posteriors come from wherever the caller runs the network; the decision is the satellite's own detector. Words are
embedded in the near-silence of a quiet room; a hit counts from the word's start to `HIT_S` after its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import pulse
from daemon.detector import smooth
from daemon.features import FRAMES_PER_SECOND, HOP, SAMPLE_RATE, WINDOW, LogMel
from models.corpus import Recording, read_audio, to_int16

Posteriors = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # (frames, MELS) -> (frames, words), aligned

LEAD_S, TAIL_S = 2.5, 1.5  # of quiet before and after a word
GAP_S = 0.2  # of quiet between two negatives
HIT_S = 0.5
REFRACTORY_S = 1.0
RECOMMENDED_ALARMS = 0.5  # per hour
SMOOTHING = 20  # frames over which a posterior is averaged into a score
QUIET = 3e-4  # root mean square of the quiet, of full scale: -70 dB
THRESHOLDS = np.concatenate([np.arange(0.05, 0.95, 0.025), np.arange(0.95, 1.0, 0.005)])


@dataclass(frozen=True)
class Scored:
    """Scores (frames, words) of one stream, and the word said in it between two frames, if one was."""

    scores: NDArray[np.float32]
    hours: float  # of recordings in it, without the quiet around them
    label: str
    first_frame: int
    last_frame: int
    excluded: frozenset[str]  # words that may be said in it unlabelled


@dataclass(frozen=True)
class Curve:
    """For one word: misses and false alarms at each of THRESHOLDS."""

    word: str
    positives: int
    hours: float  # of sound without the word
    misses: NDArray[np.float64]  # share of the positives
    alarms: NDArray[np.int64]  # events

    def at_alarms(self, alarms_per_hour: float) -> int:
        """Index of the lowest threshold with at most so many false alarms per hour; the highest if there is none."""
        allowed = np.flatnonzero(self.alarms <= alarms_per_hour * self.hours)
        return int(allowed[0]) if len(allowed) else len(THRESHOLDS) - 1

    def recommended(self) -> float:
        """The threshold that a model is shipped with: amid those with few alarms that miss no more than the lowest."""
        low = self.at_alarms(RECOMMENDED_ALARMS)
        high = int(np.flatnonzero(self.misses <= self.misses[low])[-1])
        return round(float(THRESHOLDS[(low + high) // 2]), 3)


def listen(recordings: Sequence[Recording], window_function: str) -> list[tuple[Recording, NDArray[np.float32]]]:
    """Frames of each recording with quiet around it; negatives are cut from one running stream by the caller."""
    rng = np.random.default_rng(0)
    heard = []
    for recording in recordings:
        positive = recording.kind == "wakeword"
        lead, tail = (LEAD_S, TAIL_S) if positive else (GAP_S, 0.0)
        audio = np.concatenate([_quiet(lead, rng), read_audio(recording), _quiet(tail, rng)])
        heard.append((recording, LogMel(window_function).push(to_int16(audio))))
    return heard


def _quiet(seconds: float, rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.standard_normal(int(seconds * SAMPLE_RATE), np.float32) * np.float32(QUIET)


def run(plan: pulse.Plan) -> Posteriors:
    """The posteriors of a compiled network, pulse by pulse as on a satellite; 0 until its receptive field is full."""
    state = pulse.State(plan)

    def posteriors(frames: NDArray[np.float32]) -> NDArray[np.float32]:
        state.reset()
        whole = np.pad(frames, ((0, -len(frames) % plan.pulse), (0, 0)))[None]
        pulses = [state.run(whole[:, at : at + plan.pulse])[0].copy() for at in range(0, whole.shape[1], plan.pulse)]
        result = np.concatenate(pulses, axis=1)[0, : len(frames), 1:]
        result[: plan.delay[0]] = 0
        return result

    return posteriors


def score(heard: list[tuple[Recording, NDArray[np.float32]]], posteriors: Posteriors) -> list[Scored]:
    """Run the network over each positive by itself, and over all negatives of one source as one stream."""
    scored = []
    negatives: dict[tuple[str, bool], list[tuple[Recording, NDArray[np.float32]]]] = {}
    for recording, frames in heard:
        if recording.kind == "wakeword":
            scores = smooth(posteriors(frames), SMOOTHING)
            first = round(((LEAD_S + recording.start_s) * SAMPLE_RATE - WINDOW) / HOP)
            last = round(((LEAD_S + recording.end_s + HIT_S) * SAMPLE_RATE - WINDOW) / HOP)
            scored.append(Scored(scores, recording.duration_s / 3600, recording.label, first, last, frozenset()))
        else:
            key = recording.source, "has_computer=1" in recording.note
            negatives.setdefault(key, []).append((recording, frames))
    for (_, says_computer), pieces in negatives.items():
        excluded = frozenset({"computer"} if says_computer else ())
        scores = smooth(posteriors(np.concatenate([frames for _, frames in pieces])), SMOOTHING)
        hours = sum(recording.duration_s for recording, _ in pieces) / 3600
        scored.append(Scored(scores, hours, "", 0, 0, excluded))
    return scored


def curves(scored: list[Scored], words: Sequence[str]) -> list[Curve]:
    """One curve per word."""
    return [_curve(scored, word, column) for column, word in enumerate(words)]


def _curve(scored: list[Scored], word: str, column: int) -> Curve:
    peaks = []
    alarms = np.zeros(len(THRESHOLDS), np.int64)
    hours = 0.0
    for stream in scored:
        scores = stream.scores[:, column]
        if stream.label == word:
            peaks.append(scores[max(0, stream.first_frame) : stream.last_frame + 1].max(initial=0))
        elif word not in stream.excluded:
            alarms += [events(scores, threshold) for threshold in THRESHOLDS]
            hours += stream.hours
    misses = (np.array(peaks)[:, None] < THRESHOLDS).mean(axis=0)
    return Curve(word, len(peaks), hours, misses, alarms)


def events(scores: NDArray[np.float32], threshold: float) -> int:
    """Detections that a stream of scores gives at a threshold, with the refractory between them."""
    count, blocked_until = 0, -1
    for frame in np.flatnonzero(scores >= threshold):
        if frame >= blocked_until:
            count += 1
            blocked_until = frame + int(REFRACTORY_S * FRAMES_PER_SECOND)
    return count


def table(results: Sequence[Curve], thresholds: Mapping[str, float]) -> str:
    """A table in Markdown: recall and false alarms at given thresholds, and misses at one and no false alarm."""
    lines = [
        "| word | threshold | recall | false alarms | per hour | misses at <= 1 per hour | misses at none |",
        "|---|---|---|---|---|---|---|",
    ]
    for curve in results:
        at = int(np.argmin(np.abs(THRESHOLDS - thresholds[curve.word])))
        misses = [f"{curve.misses[curve.at_alarms(limit)]:.1%}" for limit in (1.0, 0.0)]
        alarms = f"{curve.alarms[at]} in {curve.hours:.2f} h | {curve.alarms[at] / curve.hours:.1f}"
        recall = f"{1 - curve.misses[at]:.1%} of {curve.positives}"
        lines.append(f"| {curve.word} | {thresholds[curve.word]:g} | {recall} | {alarms} | {' | '.join(misses)} |")
    return "\n".join(lines)
