"""Where in a recording something is said: sections that stand out from what lies behind them.

It knows loudness alone, and nothing of words.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.features import SAMPLE_RATE

Audio = NDArray[np.float32]

BLOCK = SAMPLE_RATE // 100
SMOOTHED = 5  # blocks over which loudness is averaged
LEAST_DB = -90.0  # of full scale: what is softer is silence
BACKGROUND_PERCENT = 5  # of the blocks are softer than what a recording is made to the background of
STANDS_OUT_DB = 10.0  # over the background, of the loudest block, or nothing is said
ABOVE_DB = 8.0  # over the background, of all that is said
RANGE_DB = (12.0, 35.0)  # below the loudest block, where a section may end: at least, at most
JOINED_S = 0.4  # of silence that may lie within a section
SHORTEST_S = 0.1  # what is shorter, with silence around it, is a click


@dataclass(frozen=True)
class Section:
    """By samples of the recording."""

    start: int
    end: int
    level_db: float  # of its loud half, of full scale


def loudness_db(audio: Audio) -> NDArray[np.float64]:
    """Of each BLOCK and its neighbours, in dB of full scale; a sound shorter than a block has none."""
    blocks = audio[: len(audio) // BLOCK * BLOCK].reshape(-1, BLOCK).astype(np.float64)
    if not len(blocks):
        return np.full(0, LEAST_DB)
    power = np.convolve(np.mean(blocks**2, axis=1), np.full(SMOOTHED, 1 / SMOOTHED))[SMOOTHED // 2 :][: len(blocks)]
    return 10 * np.log10(np.maximum(power, 10 ** (LEAST_DB / 10)))


def background_db(audio: Audio) -> float:
    """How loud it is where nothing is said."""
    found = loudness_db(audio)
    return float(np.percentile(found, BACKGROUND_PERCENT)) if len(found) else LEAST_DB


def sections(audio: Audio) -> list[Section]:
    """All that stands out from the background, in order; what lies close together is one."""
    found, behind = loudness_db(audio), background_db(audio)
    loudest = float(found.max(initial=LEAST_DB))
    if loudest < behind + STANDS_OUT_DB:
        return []
    nearest, farthest = RANGE_DB
    heard = found > max(loudest - farthest, min(behind + ABOVE_DB, loudest - nearest))
    runs = (run for run in _joined(_runs(heard)) if (run[1] - run[0]) * BLOCK >= SHORTEST_S * SAMPLE_RATE)
    return [Section(first * BLOCK, past * BLOCK, _level(found[first:past])) for first, past in runs]


def _runs(heard: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.pad(heard.astype(np.int8), 1)))
    return [(int(first), int(past)) for first, past in edges.reshape(-1, 2)]


def _joined(runs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    result: list[tuple[int, int]] = []
    for first, past in runs:
        if result and (first - result[-1][1]) * BLOCK < JOINED_S * SAMPLE_RATE:
            result[-1] = (result[-1][0], past)
        else:
            result.append((first, past))
    return result


def _level(found: NDArray[np.float64]) -> float:
    loud = found[found >= np.median(found)]
    return float(10 * np.log10(np.mean(10 ** (loud / 10))))
