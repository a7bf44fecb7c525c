"""Where each phoneme of a text ends, by the dictionary's phonemes whatever an engine calls and counts as its own."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher

import numpy as np

from models.alphabets import Phones, arpabet
from models.voices import Parts


def timed(phones: Phones, told: Parts, edges_s: tuple[float, float], engine: str) -> Parts:
    """The phonemes of a text that lies between two edges, each with the second at which it ends.

    What the engine tells stands where it says the same phonemes or others in their place; between that, and where it
    tells nothing, all take the same time. The last one ends where the text does.
    """
    start, end = edges_s
    known = [(0, start)]
    for count, at in _agreed(phones, _named(told, engine)):
        if known[-1][1] < at < end and count < len(phones):
            known.append((count, at))
    counts, times = zip(*known, (len(phones), end), strict=True)
    ends = np.interp(range(1, len(phones) + 1), counts, times)
    return tuple(zip(phones, map(float, ends), strict=True))


def _named(told: Parts, engine: str) -> list[tuple[str, float]]:
    """By the dictionary's names; the time of a part that is none belongs to the one before it."""
    found: list[tuple[str, float]] = []
    start = 0.0
    for name, end in told:
        names = arpabet(engine, name)
        if found and not names:
            found[-1] = found[-1][0], end
        found += [(phone, start + (end - start) * nth / len(names)) for nth, phone in enumerate(names, 1)]
        start = end
    return found


def _agreed(phones: Phones, said: list[tuple[str, float]]) -> Iterator[tuple[int, float]]:
    """After how many of the phonemes the time is known, and it."""
    matcher = SequenceMatcher(None, [name for name, _ in said], phones, autojunk=False)
    for _, first, past, into, beyond in matcher.get_opcodes():
        if past - first == beyond - into:
            yield from ((into + nth + 1, said[first + nth][1]) for nth in range(past - first))
