"""What a typed phrase is worth as a wake word, before anything is computed: is it long, rare and speakable enough?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import permutations

from wordfreq import zipf_frequency

from models.confusables import sounds_like
from models.phonemes import VOWELS, dictionary, pronunciations
from models.script import MOST_LETTERS, MOST_WORDS, label

PHRASE = re.compile(r"[a-z]+( [a-z]+)*")
LEAST_PHONEMES, LEAST_SYLLABLES, MOST_SYLLABLES = 6, 2, 8
WORDS_AN_HOUR = 9_000  # of talk
OFTEN = 0.1  # times that a wake word may be said by chance in an hour of talk
EVERYDAY = 5.0  # zipf frequency: one word in ten thousand, from which on words meet by chance all the time


class PhraseError(ValueError):
    """What was typed cannot be a wake word."""


def check(phrases: tuple[str, ...]) -> tuple[str, ...]:
    """The phrases in small letters with single spaces; `PhraseError` names one that cannot be used."""
    plain = tuple(" ".join(phrase.lower().split()) for phrase in phrases)
    for phrase in plain:
        if not PHRASE.fullmatch(phrase):
            raise PhraseError(f"{phrase!r} is no phrase: write it as English words of the letters a to z")
        if len(phrase) > MOST_LETTERS or len(phrase.split()) > MOST_WORDS:
            raise PhraseError(f"{phrase!r} is too long: at most {MOST_WORDS} words, {MOST_LETTERS} letters")
        if plain.count(phrase) > 1:
            raise PhraseError(f"{phrase!r} is given twice")
        if not any(phone in VOWELS for phone in pronunciations(phrase)[0]):
            raise PhraseError(f"{phrase!r} cannot be pronounced: there is no vowel in it")
    for one, other in permutations(plain, 2):
        if sounds_like(one, other):
            raise PhraseError(f"{one!r} is heard where {other!r} is said: choose phrases that do not sound alike")
    return plain


def slug(phrase: str) -> str:
    """The phrase as manifests, recipes, models and messages have it."""
    return label(phrase)


def warnings(phrase: str) -> list[str]:
    """A line for each thing that speaks against a checked phrase."""
    return [f"warning: {phrase!r} {reason}" for reason in (*_length(phrase), *_rarity(phrase), *_spelling(phrase))]


def _length(phrase: str) -> Iterator[str]:
    phones = pronunciations(phrase)[0]
    syllables = sum(phone in VOWELS for phone in phones)
    if len(phones) < LEAST_PHONEMES or syllables < LEAST_SYLLABLES:
        sounds, parts = _count(len(phones), "sound"), _count(syllables, "syllable")
        yield f"is short ({sounds}, {parts}): it will be missed or taken for other words more often than a longer one"
    if syllables > MOST_SYLLABLES:
        yield f"is long ({syllables} syllables): nobody will say it the same way twice"


def _rarity(phrase: str) -> Iterator[str]:
    words = phrase.split()
    rarest = min(zipf_frequency(word, "en") for word in words)
    if len(words) == 1:
        an_hour = 10 ** (rarest - 9) * WORDS_AN_HOUR
        if an_hour >= OFTEN:
            yield f"is common: in an hour of talk it is said {an_hour:.1f} times by chance; put another word before it"
    elif rarest >= EVERYDAY:
        yield "is made of everyday words alone: it will be said by chance; take a rarer word into it"


def _spelling(phrase: str) -> Iterator[str]:
    for word in dict.fromkeys(phrase.split()):
        if word not in dictionary():
            said = "-".join(pronunciations(word)[0]).lower()
            yield f"holds {word!r}, which is in no dictionary: it will be said {said}; spell it so that this is right"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + "s" * (number != 1)
