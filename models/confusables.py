"""What is nearly a phrase, or part of it, and must not be taken for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice, permutations, product

import numpy as np
from numpy.typing import NDArray

from models.alphabets import Phones
from models.espeak import mnemonics
from models.phonemes import VOWELS, common, distances, numbers, pronunciations

# Found by ear.
CONFUSABLES = {
    "alexa": ("Alexander", "a lexicon", "election", "a Lexus", "elects her", "electric", "Alex", "relax", "a legs are"),
    "computer": ("commuter", "compute", "computing", "competitor", "commute her", "consumer", "come, Peter", "cute"),
    "jarvis": ("jar", "harvest", "service", "Travis", "jarring", "charge is", "carvings", "nervous", "Marvin"),
    "smart_mirror": (
        *("smart", "mirror", "smart phone", "smart meter"),
        *("start mirroring", "a mere error", "small mirror"),
    ),
    "snowboy": ("snow", "boy", "snowball", "so boy", "cowboy", "tomboy", "no boy", "snow plough", "snowed by", "buoy"),
    "view_glass": (
        *("view", "glass", "new glass", "view of grass"),
        *("you pass", "hour glass", "review class", "few glasses"),
    ),
}
ACCENTS = ("en-us", "en-gb")  # in which nothing may sound like the phrase itself
SAME = 0.4  # distance below which people take two sounds for the same: one phoneme of like manner and place
LEAST_PART = 2  # phonemes of a part that is a word
# At most so many of each way to be near.
PARTS, ORDERS, RHYMES, WORDS, PAIRS, REPLACED = 12, 6, 12, 22, 22, 22
NEIGHBOURS = 12  # words tried in place of each half of a phrase


def confusables(phrase: str) -> list[str]:
    """Phrases near to one, the best of each kind first, without what sounds like the phrase itself."""
    words = phrase.lower().split()
    by_hand = CONFUSABLES.get("_".join(words), ())
    kinds = (
        (_parts(words), PARTS),
        (_orders(words), ORDERS),
        (_replaced(words), REPLACED),
        (_near_words(phrase), WORDS),
        (_pairs(phrase), PAIRS),
        (_rhymes(words), RHYMES),
    )
    chosen: dict[Phones, str] = {pronunciations(text)[0]: text.lower() for text in by_hand}
    for texts, most in kinds:
        by_sound = ((pronunciations(text)[0], text.lower()) for text in texts if not sounds_like(phrase, text))
        fresh = ((sound, text) for sound, text in by_sound if sound not in chosen)
        chosen.update(islice(_once(fresh), most))
    return list(chosen.values())


def _once(items: Iterable[tuple[Phones, str]]) -> Iterator[tuple[Phones, str]]:
    seen: set[Phones] = set()
    for sound, text in items:
        if sound not in seen:
            seen.add(sound)
            yield sound, text


def sounds_like(phrase: str, text: str) -> bool:
    """Whether the phrase, or what nobody can tell from it, is heard when the text is said."""
    if any(_holds(said, goal) for goal in pronunciations(phrase) for said in pronunciations(text)):
        return True
    near = np.min([distances(goal, numbers(list(pronunciations(text)))) for goal in pronunciations(phrase)])
    return bool(near < SAME) or any(mnemonics(phrase, accent) in mnemonics(text, accent) for accent in ACCENTS)


def _holds(said: Phones, goal: Phones) -> bool:
    """Whether all of the goal is said in order, with one phoneme between at most, as in "viewed glass"."""
    longest = len(goal) + 1
    return any(_in_order(goal, said[at : at + longest]) for at in range(len(said) - len(goal) + 1))


def _in_order(goal: Phones, said: Phones) -> bool:
    rest = iter(said)
    return all(phone in rest for phone in goal)


@cache
def _lexicon() -> tuple[tuple[str, ...], NDArray[np.int8], NDArray[np.int8]]:
    """Common words, one for each pronunciation, with the phoneme numbers and how many they are."""
    pairs = [(word, way) for word, ways in common().items() for way in ways]
    ways = [way for _, way in pairs]
    return tuple(word for word, _ in pairs), numbers(ways), np.array([len(way) for way in ways], np.int8)


@cache
def near(goal: Phones, count: int) -> tuple[tuple[float, str], ...]:
    """The words nearest to a pronunciation, (distance, word), those that sound like it among them."""
    words, table, lengths = _lexicon()
    close = np.flatnonzero(np.abs(lengths.astype(int) - len(goal)) <= 1 + len(goal) // 4)
    width = int(lengths[close].max(initial=0))
    found = distances(goal, table[close, :width])
    best = np.lexsort((close, found))[: 4 * count]
    ranked: dict[str, float] = {}
    for index in best:
        ranked.setdefault(words[close[index]], float(found[index]))
    return tuple((apart, word) for word, apart in islice(ranked.items(), count))


def _parts(words: list[str]) -> Iterator[str]:
    """Each word by itself, then words that are a beginning or an end of the phrase, the longest first."""
    if len(words) > 1:
        yield from words
    whole = pronunciations(" ".join(words))[0]
    by_sound = _by_sound()
    for size in range(len(whole) - 1, LEAST_PART - 1, -1):
        for part in (whole[:size], whole[-size:]):
            yield from by_sound.get(part, ())[:2]


@cache
def _by_sound() -> dict[Phones, tuple[str, ...]]:
    found: dict[Phones, tuple[str, ...]] = {}
    for word, ways in common().items():
        for way in ways:
            found[way] = (*found.get(way, ()), word)
    return found


def _orders(words: list[str]) -> Iterator[str]:
    """Other orders of the words, and each of them twice."""
    if len(words) > 1:
        yield from (" ".join(order) for order in permutations(words) if list(order) != words)
        yield from (f"{word} {word}" for word in words)


def _replaced(words: list[str]) -> Iterator[str]:
    """One word of several, or each of them, by one that is near."""
    if len(words) == 1:
        return
    others = [near(pronunciations(word)[0], NEIGHBOURS) for word in words]
    single = [
        (apart, " ".join([*words[:at], other, *words[at + 1 :]]))
        for at, found in enumerate(others)
        for apart, other in found
    ]
    yield from (text for _, text in _ranked(single))


def _near_words(phrase: str) -> Iterator[str]:
    yield from (word for _, word in near(pronunciations(phrase)[0], 3 * WORDS))


def _pairs(phrase: str) -> Iterator[str]:
    """Two words that together are near to the phrase, wherever it is cut."""
    whole = pronunciations(phrase)[0]
    found = []
    for cut in range(LEAST_PART, len(whole) - LEAST_PART + 1):
        heads, tails = (near(part, NEIGHBOURS // 2) for part in (whole[:cut], whole[cut:]))
        found += [(one + two, f"{head} {tail}") for (one, head), (two, tail) in product(heads, tails)]
    yield from (text for _, text in _ranked(found))


def _ranked(found: Iterable[tuple[float, str]]) -> list[tuple[float, str]]:
    return sorted(item for item in found if item[0] > SAME)


def _rhymes(words: list[str]) -> Iterator[str]:
    """Words that end as the last word does from its last vowel but one on, those of like length first."""
    last = pronunciations(words[-1])[0]
    at = [index for index, phone in enumerate(last) if phone in VOWELS][-2:]
    if not at:
        return
    tail = last[at[0] :]
    rhymes = [
        (abs(len(way) - len(last)), word)
        for word, ways in common().items()
        for way in ways
        if way[-len(tail) :] == tail and way != last
    ]
    yield from (" ".join([*words[:-1], word]) for _, word in sorted(rhymes))
