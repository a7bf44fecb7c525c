"""Posteriors in, detections out. Time is counted in frames: no clock, no thread, no log, no sound.

A word's score is the mean of its posterior over the last frames. A network begins to say a word some frames before the
word's end; how many, `onset_to_end`, was measured when it was exported, and places the end. Where a network knows only
parts of words, what comes in here are the words' scores from `daemon.aggregate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.features import HOP, WINDOW

SURE = 0.5  # posterior from which on a frame says the word
REFRACTORY_S = 1.0  # after a detection no new one is made, so that one utterance counts once


@dataclass(frozen=True)
class Detection:
    """A word was heard; samples are counted as the stream counts them."""

    word: str
    score: float  # 0 to 1, at least the word's threshold
    sample: int  # just after the last one that the detection needed
    end_sample: int  # at which the word ends, as far as the posteriors tell; that may be a little after `sample`


def smooth(posteriors: NDArray[np.float32], smoothing: int) -> NDArray[np.float32]:
    """Scores (frames, words) of posteriors (frames, words): what `Detector` compares with its thresholds."""
    sums = np.cumsum(np.pad(posteriors, ((smoothing, 0), (0, 0))), axis=0, dtype=np.float64)
    return ((sums[smoothing:] - sums[:-smoothing]) / smoothing).astype(np.float32)


def end_of(frame: int) -> int:
    """The sample just after the last one of a frame."""
    return frame * HOP + WINDOW


class Detector:
    """Compares smoothed posteriors with a threshold per word, from the first frame of a stream on."""

    def __init__(
        self,
        thresholds: Sequence[tuple[str, float]],
        *,
        smoothing: int,
        onset_to_end: int,
        refractory: int,
        warm_up: int,
    ) -> None:
        """`thresholds` of each word in the order of the posteriors; all else in frames."""
        self._words = [word for word, _ in thresholds]
        self._thresholds = np.array([threshold for _, threshold in thresholds])
        self._least = float(self._thresholds.min())
        self._smoothing = smoothing
        self._onset_to_end = onset_to_end
        self._refractory = refractory
        self._warm_up = warm_up
        self._recent = np.zeros((smoothing, len(thresholds)), np.float32)
        self.reset()

    def reset(self) -> None:
        """Start a new stream: nothing is detected before the network has heard its whole receptive field again."""
        self._recent.fill(0)
        self._frame = -1
        self._quiet_until = self._warm_up
        self._near_until = -1  # the last frame whose scores have to do with a posterior that reached its threshold

    def set_thresholds(self, thresholds: Sequence[float]) -> None:
        """Detect at other scores from the next frame on; in the order of the words."""
        self._thresholds[:] = thresholds
        self._least = min(thresholds)
        self._near_until = self._frame + self._smoothing - 1

    @property
    def scores(self) -> NDArray[np.float64]:
        """Of the last frame, (words,); 0 before the first that counts."""
        scores: NDArray[np.float64] = np.add.reduce(self._recent, axis=0, dtype=np.float64)
        scores /= self._smoothing
        return scores

    def push_all(self, posteriors: NDArray[np.float32]) -> list[Detection]:
        """Take the next frames' posteriors, (frames, words), as `push` takes each; return all that it would return."""
        first, count = self._frame + 1, len(posteriors)
        # While no posterior that counts reaches a threshold, no mean of them can; lists tell that sooner than arrays.
        near = first <= self._near_until or not all(max(row) < self._least for row in posteriors.tolist())
        if near or first < self._warm_up or count > self._smoothing:
            return [detection for row in posteriors if (detection := self.push(row)) is not None]
        self._frame += count
        start = first % self._smoothing
        fits = min(count, self._smoothing - start)
        self._recent[start : start + fits] = posteriors[:fits]
        if fits < count:
            self._recent[: count - fits] = posteriors[fits:]
        return []

    def push(self, posteriors: NDArray[np.float32]) -> Detection | None:
        """Take the next frame's posteriors, (words,); return the best word at or above its threshold, if there is one.

        The detection's samples are counted from the start of the stream.
        """
        self._frame += 1
        if self._frame < self._warm_up:
            return None
        self._recent[self._frame % self._smoothing] = posteriors
        if (posteriors >= self._thresholds).any():
            self._near_until = self._frame + self._smoothing - 1
        if self._frame < self._quiet_until:
            return None
        scores = self.scores
        margins = np.where(scores >= self._thresholds, scores, -1)
        best = int(np.argmax(margins))
        if margins[best] < 0:
            return None
        self._quiet_until = self._frame + self._refractory
        return Detection(self._words[best], float(scores[best]), end_of(self._frame), self._word_end(best))

    def _word_end(self, word: int) -> int:
        oldest_first = np.roll(self._recent[:, word], -(self._frame + 1) % self._smoothing)
        onset = int(np.argmax(oldest_first >= min(SURE, float(oldest_first.max()))))
        return end_of(self._frame - self._smoothing + 1 + onset + self._onset_to_end)
