"""The script of a synthetic corpus: every take of it, who says it and how, from a seed and before anything is said."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.alphabets import Phones
from models.confusables import confusables, sounds_like
from models.phonemes import usual
from models.sentences import alone, command, sentences
from models.voices import SynthesisError, Utterance, Voice

# Of the takes, by how many people an engine has; and of an engine's takes, those that are changed by vocoder.
SHARES = {"piper": 6, "kokoro": 6, "espeak-ng": 3, "flite": 2, "festival": 2}
VARIED = {"piper": 0.4, "kokoro": 0.4, "espeak-ng": 0.5, "flite": 0.9, "festival": 0.9}
CONFUSABLE_SHARE = 40  # takes of the phrase for one of each confusable
CARRIED_SHARE = 0.15  # of the takes of a phrase, with a command before or after it
RATES = (0.6, 1.1)  # of an engine's own pace, which is too fast for a word said by itself
CHUNK = 24  # takes that one fresh process says
PHRASE = re.compile(r"[a-z][a-z']*( [a-z][a-z']*)*", re.IGNORECASE)
MOST_WORDS, MOST_LETTERS = 6, 40


@dataclass(frozen=True)
class Wanted:
    """What a corpus is to hold."""

    phrases: tuple[str, ...]
    takes: int = 400  # of each phrase
    near: int = 100  # phrases near to each, at most
    seed: int = 1

    def __post_init__(self) -> None:
        for name, least in (("takes", 1), ("near", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise SynthesisError(f"--{name} {getattr(self, name)} is too little: at least {least}")
        for number, phrase in enumerate(self.phrases):
            _check(phrase)
            if label(phrase) in map(label, self.phrases[:number]):
                raise SynthesisError(f"the phrase {phrase!r} is given twice")


@dataclass(frozen=True)
class Take:
    """What is said once: the phrase or a text that is not one, between two other texts or none."""

    number: int  # and seed of what is random about it
    kind: str  # wakeword or speech
    label: str
    phrase: str  # to which it belongs; empty for ordinary speech
    before: str
    text: str
    after: str
    voice: Voice
    rate: float
    pitch: float
    varied: bool
    phones: Phones  # of the text

    def utterances(self) -> list[Utterance]:
        """What the engine is to say, one after the other."""
        texts = (self.before, self.text, self.after)
        return [Utterance(text, self.voice, self.rate, self.pitch) for text in texts if text]


def label(phrase: str) -> str:
    """The phrase as a manifest and a recipe have it."""
    return "_".join(phrase.lower().replace("'", "").split())


def _check(phrase: str) -> None:
    if not phrase:
        raise SynthesisError("a phrase is empty; give the words that are to be recognised")
    if not PHRASE.fullmatch(phrase):
        raise SynthesisError(f"the phrase {phrase!r} is not letters with single spaces; spell out all else as words")
    if len(phrase) > MOST_LETTERS or len(phrase.split()) > MOST_WORDS:
        raise SynthesisError(f"the phrase {phrase!r} is too long; at most {MOST_WORDS} words, {MOST_LETTERS} letters")


def write(wanted: Wanted, voices: Mapping[str, Sequence[Voice]]) -> list[Take]:
    """The takes of each phrase, as many sentences and words by themselves, and fewer of each confusable."""
    rng = np.random.default_rng(wanted.seed)
    takes: list[Take] = []
    for kind, name, phrase, text, times in _lines(wanted, rng):
        phones = usual(text)
        for voice in _cast(voices, times, rng):
            before, after = _around(rng) if kind == "wakeword" else ("", "")
            rate, pitch = float(np.exp(rng.uniform(*np.log(RATES)))), float(rng.uniform(-1, 1))
            varied = bool(rng.random() < VARIED[voice.engine])
            number = len(takes)
            takes.append(Take(number, kind, name, phrase, before, text, after, voice, rate, pitch, varied, phones))
    return takes


def chunks(takes: Sequence[Take]) -> list[tuple[Take, ...]]:
    """All takes in the portions of one engine that a process says one after the other."""
    by_engine: dict[str, list[Take]] = {}
    for take in takes:
        by_engine.setdefault(take.voice.engine, []).append(take)
    return [tuple(some[at : at + CHUNK]) for some in by_engine.values() for at in range(0, len(some), CHUNK)]


def _lines(wanted: Wanted, rng: np.random.Generator) -> Iterator[tuple[str, str, str, str, int]]:
    """Kind, label, phrase, text and how many takes of it."""
    phrases, count = wanted.phrases, wanted.takes
    for phrase in phrases:
        yield "wakeword", label(phrase), phrase, phrase, count
    for phrase in phrases:
        for text in _spread(confusables(phrase), wanted.near):
            if not any(sounds_like(other, text) for other in phrases if other != phrase):
                yield "speech", f"confusable:{text}", phrase, text, max(1, count // CONFUSABLE_SHARE)
    for sentence in sentences(count, phrases, rng):
        yield "speech", "sentence", "", sentence, 1
    for word in alone(count, phrases, rng):
        yield "speech", "word", "", word, 1


def _spread(texts: Sequence[str], most: int) -> list[str]:
    """At most so many, from the first to the last."""
    chosen = np.linspace(0, len(texts) - 1, min(most, len(texts)))
    return [texts[round(index)] for index in chosen]


def _cast(voices: Mapping[str, Sequence[Voice]], count: int, rng: np.random.Generator) -> Iterator[Voice]:
    """Voices for so many takes: engines by their shares, and each voice of one before any comes again."""
    names = sorted(voices)
    shares = np.array([SHARES[name] for name in names], float)
    for at, times in enumerate(rng.multinomial(count, shares / shares.sum())):
        ours = voices[names[at]]
        rounds = -(-int(times) // len(ours))
        order = np.concatenate([rng.permutation(len(ours)) for _ in range(rounds)]) if rounds else ()
        yield from (ours[int(index)] for index in order[: int(times)])


def _around(rng: np.random.Generator) -> tuple[str, str]:
    if rng.random() >= CARRIED_SHARE:
        return "", ""
    return ("", command(rng)) if rng.random() < 0.7 else (command(rng), "")
