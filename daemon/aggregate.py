"""Posteriors of word parts in, scores of words out: a word is said when its parts were, one after the other.

With p(i, t) the posterior of part i of a word's M parts, averaged over the frames t - smoothing < ... <= t, the word's
score at frame t is

    max over t1, t2, ..., tM = t of (p(1, t1) p(2, t2) ... p(M, tM)) ** (1 / M)
    where t - window < t1 and t(i) + smoothing <= t(i + 1),

the confidence of Chen, Parada and Heigold (Small-footprint keyword spotting using deep neural networks, ICASSP 2014)
with its parts in order, as Prabhavalkar et al. have it (Automatic gain control and multi-style training for robust
small-footprint keyword spotting with deep neural networks, ICASSP 2015). Unlike there, no frame counts for two parts,
and the last part is the one said now: a word that was said raises no score for the rest of the window.

The combination is found by dynamic programming over sums of logarithms: for each frame at which the window can start,
the best first i parts since then are kept, for i up to M - 1, and each new frame extends them all at once. That is
exact, and takes an addition and a maximum of vectors per part and frame. Part i enters (M - i) (smoothing - 1) frames
late, so that parts that follow each other there by at least one frame are as far apart as they must be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

FLOOR = 1e-6  # posterior below which all are the same
BLOCK = 8  # frames that are averaged at once


@dataclass(frozen=True)
class Parts:
    """How the posteriors of a network that knows word parts become scores; all but `count` in frames."""

    count: int  # of each word, at least 2
    smoothing: int  # over which a part's posterior is averaged
    window: int  # in which a word begins and ends

    @property
    def starts(self) -> int:
        """At how many frames the first part of a word that ends now can be; no word can be said where there is none."""
        return self.window - (self.count - 1) * self.smoothing


def aggregate(posteriors: NDArray[np.float32], parts: Parts) -> NDArray[np.float32]:
    """Scores (frames, words) of a stream's posteriors (frames, words * parts): what `Aggregator` gives."""
    words = posteriors.shape[1] // parts.count
    scores = np.empty((len(posteriors), words), np.float32)
    Aggregator(parts, words).push_all(posteriors, scores)
    return scores


class Aggregator:
    """Follows the parts of some words through a stream."""

    def __init__(self, parts: Parts, words: int, *, warm_up: int = 0) -> None:
        """`warm_up` frames at a stream's start are taken for silence, whatever their posteriors."""
        count, smoothing = parts.count, parts.smoothing
        self._parts = parts
        self._warm_up = warm_up
        self._past = count * (smoothing - 1)  # frames that the next one's averages need
        self._recent = np.zeros((self._past + BLOCK, words * count), np.float32)
        row, item = self._recent.strides
        self._averaged = as_strided(  # what is averaged, each part as late as it enters
            self._recent, (BLOCK, count, words, smoothing), (row, (smoothing - 1) * row + item, count * item, row)
        )
        self._means = np.zeros((BLOCK, count, words))
        self._logs = np.zeros((BLOCK, count, words, 1), np.float32)
        # Of the first 0 to M - 1 parts, by the frame at which the window starts, which is numbered modulo their number.
        self._best = np.zeros((count, words, parts.starts + count - 1), np.float32)
        self._extended = np.zeros((count - 1, *self._best.shape[1:]), np.float32)
        self.reset()

    def reset(self) -> None:
        """Start a new stream, before which nothing was said."""
        self._recent.fill(0)
        self._best[1:] = -np.inf
        self._frame = 0

    def push_all(self, posteriors: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
        """Take the next frames' posteriors, (frames, words * parts), and write their `scores`, (frames, words)."""
        for first in range(0, len(posteriors), BLOCK):
            self._take(posteriors[first : first + BLOCK], scores[first : first + BLOCK])

    def _take(self, posteriors: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
        count = len(posteriors)
        fresh = self._recent[self._past : self._past + count]
        fresh[:] = posteriors
        fresh[: max(0, self._warm_up - self._frame)] = 0
        self._average(count)
        for logs, row in zip(self._logs[:count], scores, strict=True):
            self._follow(logs, row)
        scores /= self._parts.count
        np.exp(scores, out=scores)
        self._recent[: self._past] = self._recent[count : count + self._past]

    def _average(self, count: int) -> None:
        """Set the first `count` rows of `_logs` to the logarithms of the averages of as many fresh frames."""
        means = self._means[:count]
        np.add.reduce(self._averaged[:count], axis=-1, dtype=np.float64, out=means)
        means /= self._parts.smoothing
        np.maximum(means, FLOOR, out=means)
        np.log(means, out=self._logs[:count, :, :, 0], casting="same_kind")

    def _follow(self, logs: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
        """Extend what was said before by one frame, (parts, words, 1), and write the words' sums, (words,)."""
        best, starts = self._best, self._best.shape[2]
        np.add(best[-1, :, (self._frame + 1) % starts], logs[-1, :, 0], out=scores)
        best[1:, :, self._frame % starts] = -np.inf
        np.add(best[:-1], logs[:-1], out=self._extended)
        np.maximum(best[1:], self._extended, out=best[1:])
        self._frame += 1
