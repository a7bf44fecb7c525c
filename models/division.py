"""Where the parts of a spoken word end: by its phonemes where they are timed, else as they mostly do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import numpy as np

from models.corpus import CorpusError

Timing = Sequence[tuple[str, float]]  # each phoneme and where it ends, in s; the first one starts where the word does
PAUSES = frozenset({"", "_", "_:", "#", "pau", "sil", "sp"})  # what synthesisers call silence


def read_timing(text: str) -> Timing | None:
    """The phonemes of one take from the manifest, a JSON list of [phoneme, end in s]; None where there are none."""
    if not text:
        return None
    try:
        timing = [(str(phoneme), float(end_s)) for phoneme, end_s in json.loads(text)]
    except (TypeError, ValueError, RecursionError) as error:
        raise CorpusError(f"no list of [phoneme, end in s]: {text[:60]!r}") from error
    ends = [end_s for _, end_s in timing]
    if not np.isfinite(ends).all() or ends != sorted(ends):
        raise CorpusError(f"phonemes that do not end one after the other: {text[:60]!r}")
    return timing or None


def parts_of(timing: Timing, start_s: float, count: int) -> tuple[float, ...]:
    """Where `count` parts of a word end, in s, in a take that starts at `start_s`: each has as many of its phonemes.

    A phoneme that belongs to several parts is divided evenly among them. Silence around the word is no part of it.
    """
    return _divided(_edges(timing, start_s), count)


def _divided(edges: Sequence[float], count: int) -> tuple[float, ...]:
    phonemes = np.linspace(0, len(edges) - 1, count + 1)[1:]
    return tuple(map(float, np.interp(phonemes, np.arange(len(edges)), edges)))


def _edges(timing: Timing, start_s: float) -> list[float]:
    """Where the word starts, and where each of its phonemes ends."""
    ends = [(phoneme, end_s) for phoneme, end_s in timing if end_s > start_s]
    while ends and ends[-1][0] in PAUSES:
        ends.pop()
    while ends and ends[0][0] in PAUSES:
        start_s = ends.pop(0)[1]
    if not ends:
        raise CorpusError(f"no phoneme ends after the word's start at {start_s:g} s")
    return [start_s, *(end_s for _, end_s in ends)]


def usual(takes: Iterable[tuple[Timing, float]], count: int) -> tuple[float, ...]:
    """Where the parts of a word end, from 0 at its start to 1: the median of its takes (timing, start in s).

    Parts of equal length where no take is timed.
    """
    shares = []
    for timing, start_s in takes:
        edges = _edges(timing, start_s)
        shares.append((np.array(_divided(edges, count)) - edges[0]) / (edges[-1] - edges[0]))
    if not shares:
        return tuple(map(float, np.linspace(0, 1, count + 1)[1:]))
    return tuple(map(float, np.median(shares, axis=0)))
