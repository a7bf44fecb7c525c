"""How often a network misses a word, and how often it fires where the word was not said.

Posteriors come from wherever the caller runs the network. Every recording is heard by itself, after the near-silence of
a quiet room and with some of it behind; a hit counts from the word's start to `HIT_S` after its end. `judge` decides
with the satellite's own detector; `curves` looks at each word by itself, at many thresholds at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import pulse
from daemon.detector import REFRACTORY_S, Detection, Detector, smooth
from daemon.features import FRAMES_PER_SECOND, HOP, SAMPLE_RATE, WINDOW, LogMel
from models.corpus import CorpusError, Recording, read_audio, to_int16

Posteriors = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # (frames, MELS) -> (frames, words), aligned

LEAD_S, TAIL_S = 2.5, 1.5  # of quiet before and after a recording
HIT_S = 0.5
RECOMMENDED_ALARMS = 0.5  # per hour
SMOOTHING = 20  # frames over which a posterior is averaged into a score, where a model does not say otherwise
QUIET = 3e-4  # root mean square of the quiet, of full scale: -70 dB
THRESHOLDS = np.concatenate([np.arange(0.05, 0.95, 0.025), np.arange(0.95, 1.0, 0.005)])


@dataclass(frozen=True)
class Scored:
    """The posteriors (frames, words) of one recording with quiet around it."""

    recording: Recording
    posteriors: NDArray[np.float32]

    def says(self, word: str) -> bool:
        """Whether the word is said in it."""
        return self.recording.kind == "wakeword" and self.recording.label == word

    def may_say(self, word: str) -> bool:
        """Whether the word may be said in it, so that it is no place to look for false alarms."""
        return self.says(word) or (word == "computer" and "has_computer=1" in self.recording.note)

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

    def at_alarms(self, alarms_per_hour: float) -> int:
        """Index of the lowest threshold with at most so many false alarms per hour; the highest if there is none."""
        allowed = np.flatnonzero(self.alarms <= alarms_per_hour * self.hours)
        return int(allowed[0]) if len(allowed) else len(THRESHOLDS) - 1

    def recommended(self) -> float:
        """The threshold that a model is shipped with: amid those with few alarms that miss no more than the lowest."""
        low = self.at_alarms(RECOMMENDED_ALARMS)
        high = int(np.flatnonzero(self.misses <= self.misses[low])[-1])
        return round(float(THRESHOLDS[(low + high) // 2]), 3)


@dataclass(frozen=True)
class Verdict:
    """What the satellite's detector makes of one word."""

    word: str
    positives: int
    late_s: tuple[float, ...]  # of each hit: from the word's end to the detection
    alarms: int
    hours: float


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
    """Run the network over each recording."""
    return [Scored(recording, posteriors(frames)) for recording, frames in heard]


def judge(
    scored: Sequence[Scored], thresholds: Mapping[str, float], *, smoothing: int = SMOOTHING, onset_to_end: int = 0
) -> list[Verdict]:
    """Decide as the satellite does; `thresholds` are in the order of the posteriors."""
    detector = Detector(
        list(thresholds.items()),
        smoothing=smoothing,
        onset_to_end=onset_to_end,
        refractory=round(REFRACTORY_S * FRAMES_PER_SECOND),
        warm_up=0,
    )
    found = [(stream, _detections(detector, stream)) for stream in scored]
    return [_verdict(word, found) for word in thresholds]


def _detections(detector: Detector, stream: Scored) -> list[Detection]:
    detector.reset()
    return [detection for row in stream.posteriors if (detection := detector.push(row)) is not None]


def _verdict(word: str, found: list[tuple[Scored, list[Detection]]]) -> Verdict:
    late, alarms, positives, hours = [], 0, 0, 0.0
    for stream, detections in found:
        samples = [detection.sample for detection in detections if detection.word == word]
        if stream.says(word):
            first, last = stream.hit()
            positives += 1
            right = [sample / SAMPLE_RATE - LEAD_S for sample in samples if first <= sample <= last]
            late += [at - stream.recording.end_s for at in right[:1]]
        elif not stream.may_say(word):
            alarms += len(samples)
            hours += stream.recording.duration_s / 3600
    return Verdict(word, positives, tuple(late), alarms, hours)


def onset_to_end(scored: Sequence[Scored], thresholds: Mapping[str, float]) -> int:
    """Frames from the first one that is sure of a word to the word's end: the median over all words that are hit."""
    detector = Detector(list(thresholds.items()), smoothing=SMOOTHING, onset_to_end=0, refractory=100, warm_up=0)
    offsets = []
    for stream in scored:
        first, last = stream.hit()
        for detection in _detections(detector, stream):
            if stream.says(detection.word) and first <= detection.sample <= last:
                end = (LEAD_S + stream.recording.end_s) * SAMPLE_RATE
                offsets.append((end - detection.end_sample) / HOP)
    return max(1, round(float(np.median(offsets)))) if offsets else 1


def curves(scored: Sequence[Scored], words: Sequence[str], *, smoothing: int = SMOOTHING) -> list[Curve]:
    """One curve per word; `CorpusError` names a word that no recording says."""
    smoothed = [smooth(stream.posteriors, smoothing) for stream in scored]
    return [_curve(list(zip(scored, smoothed, strict=True)), word, column) for column, word in enumerate(words)]


def _curve(streams: list[tuple[Scored, NDArray[np.float32]]], word: str, column: int) -> Curve:
    peaks = []
    alarms = np.zeros(len(THRESHOLDS), np.int64)
    hours = 0.0
    for stream, smoothed in streams:
        scores = smoothed[:, column]
        if stream.says(word):
            first, last = (round((sample - WINDOW) / HOP) for sample in stream.hit())
            peaks.append(scores[max(0, first) : last + 1].max(initial=0))
        elif not stream.may_say(word):
            alarms += [events(scores, threshold) for threshold in THRESHOLDS]
            hours += stream.recording.duration_s / 3600
    if not peaks:
        raise CorpusError(f"no recording of the dev split says {word!r}")
    misses = (np.array(peaks)[:, None] < THRESHOLDS).mean(axis=0)
    return Curve(word, len(peaks), hours, misses, alarms)


def events(scores: NDArray[np.float32], threshold: float) -> int:
    """Detections that one word's scores give at a threshold, with the refractory between them."""
    count, blocked_until = 0, -1
    for frame in np.flatnonzero(scores >= threshold):
        if frame >= blocked_until:
            count += 1
            blocked_until = frame + round(REFRACTORY_S * FRAMES_PER_SECOND)
    return count


def table(verdicts: Sequence[Verdict], results: Sequence[Curve], thresholds: Mapping[str, float]) -> str:
    """A table in Markdown: what the satellite makes of each word, and the misses at one and no false alarm per hour."""
    lines = [
        "| word | threshold | recall | false alarms | per hour | fires after end | misses at 1 per hour | at none |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for verdict, curve in zip(verdicts, results, strict=True):
        hits = len(verdict.late_s)
        late = f"{np.median(verdict.late_s) * 1000:.0f} ms" if hits else "-"
        cells = [
            verdict.word,
            f"{thresholds[verdict.word]:g}",
            f"{hits / verdict.positives:.1%} of {verdict.positives}",
            f"{verdict.alarms} in {verdict.hours:.2f} h",
            f"{verdict.alarms / verdict.hours:.1f}",
            late,
            *(f"{curve.misses[curve.at_alarms(limit)]:.1%}" for limit in (1.0, 0.0)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
