"""espeak-ng from within this process, which tells when each phoneme ends and takes under a millisecond a word.

What it says depends a little on what it said before, as a voice's flutter goes on; a fresh process makes the same sound
of the same utterances in the same order.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from models.voices import SILENCES, Spoken, SynthesisError, Utterance, Voice, at_16_khz

LIBRARY = "libespeak-ng.so.1"
MISSING = "espeak-ng is not installed: apt-get install espeak-ng"
# English of America, New York, Britain, its upper class, Scotland, Lancashire, the West Midlands, the Caribbean.
ACCENTS = {
    "en-us": "gmw/en-US",
    "en-us-nyc": "gmw/en-US-nyc",
    "en-gb": "gmw/en",
    "en-gb-x-rp": "gmw/en-GB-x-rp",
    "en-gb-scotland": "gmw/en-GB-scotland",
    "en-gb-x-gbclan": "gmw/en-GB-x-gbclan",
    "en-gb-x-gbcwmd": "gmw/en-GB-x-gbcwmd",
    "en-029": "gmw/en-029",
}
# Variants that sound like no human being, or like one who whispers.
INHUMAN = (
    "AnxiousAndy",
    "Demonic",
    "Storm",
    "Tweaky",
    "UniRobot",
    "anikaRobot",
    "croak",
    "fast",
    "robosoft",
    "whisper",
)
PACE, LEAST_PACE, MOST_PACE = 140, 80, 260  # words per minute
VOLUME = 35  # percent: at full volume some voices are clipped
PITCH, PITCH_SPAN = 50, 30  # of espeak-ng's scale from 0 to 99
UNHEARD = "',%=_| \n"  # marks between phonemes

# From speak_lib.h
SYNCHRONOUS, PHONEME_EVENTS = 2, 1
RATE_PARAMETER, VOLUME_PARAMETER, PITCH_PARAMETER = 1, 2, 3
CHARACTERS, UTF8, END_PAUSE = 1, 1, 0x1000
LIST_TERMINATED, PHONEME = 0, 7
MNEMONICS, IPA = 0, 2


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        *(("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int)),
        *(("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int)),
        *(("user_data", ctypes.c_void_p), ("id", _Id)),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Library:
    """The library, which has one state for the whole process."""

    def __init__(self) -> None:
        try:
            self.espeak = ctypes.CDLL(LIBRARY)
        except OSError:
            raise SynthesisError(MISSING) from None
        self.rate = self.espeak.espeak_Initialize(SYNCHRONOUS, 0, None, PHONEME_EVENTS)
        if self.rate <= 0:
            raise SynthesisError("espeak-ng does not find its data: apt-get install espeak-ng-data")
        self.sound: list[bytes] = []
        self.starts: list[tuple[str, int]] = []
        self.callback = _CALLBACK(self._take)  # kept, or it would be collected
        self.espeak.espeak_SetSynthCallback(self.callback)

    def _take(self, sound: ctypes.POINTER, length: int, events: ctypes.POINTER) -> int:
        if length > 0:
            self.sound.append(ctypes.string_at(sound, length * ctypes.sizeof(ctypes.c_short)))
        at = 0
        while events[at].type != LIST_TERMINATED:
            if events[at].type == PHONEME:
                self.starts.append((events[at].id.string.decode("utf-8", "replace"), events[at].sample))
            at += 1
        return 0

    def folder(self) -> Path:
        """Where its data are."""
        path = ctypes.c_char_p()
        self.espeak.espeak_Info.restype = ctypes.c_char_p
        self.espeak.espeak_Info(ctypes.byref(path))
        return Path((path.value or b"").decode())

    def choose(self, voice: str) -> None:
        """Speak as a voice of ours from here on."""
        accent, _, variant = voice.partition("+")
        name = f"{ACCENTS[accent]}+{variant}" if variant else ACCENTS[accent]
        if self.espeak.espeak_SetVoiceByName(name.encode()):
            raise SynthesisError(f"espeak-ng has no voice {voice}")

    def transcribe(self, text: str, alphabet: int = MNEMONICS) -> str:
        """Its phonemes of a text, all clauses joined."""
        translate = self.espeak.espeak_TextToPhonemes
        translate.restype = ctypes.c_char_p
        left = ctypes.c_char_p(text.encode())
        clauses = []
        while left.value is not None:
            clauses.append(translate(ctypes.byref(left), UTF8, alphabet) or b"")
        return b" ".join(clauses).decode("utf-8", "replace")

    def settle(self) -> None:
        """Finish changes of voice in which nothing was said: many of them leave no room for phonemes."""
        self._synthesise(b"", UTF8)

    def _synthesise(self, text: bytes, flags: int) -> None:
        self.sound, self.starts = [], []
        self.espeak.espeak_Synth(text, len(text) + 1, 0, CHARACTERS, 0, flags, None, None)

    def say(self, utterance: Utterance) -> Spoken:
        self.choose(utterance.voice.name)
        pace = min(MOST_PACE, max(LEAST_PACE, round(PACE * utterance.rate)))
        self.espeak.espeak_SetParameter(RATE_PARAMETER, pace, 0)
        self.espeak.espeak_SetParameter(VOLUME_PARAMETER, VOLUME, 0)
        self.espeak.espeak_SetParameter(PITCH_PARAMETER, round(PITCH + PITCH_SPAN * utterance.pitch), 0)
        self._synthesise(utterance.text.encode(), UTF8 | END_PAUSE)
        samples = np.frombuffer(b"".join(self.sound), np.int16).astype(np.float32) / 32768
        ends = [start for _, start in self.starts[1:]] + [len(samples)]
        named = zip(self.starts, ends, strict=True)
        parts = ((name, round(end / self.rate, 4)) for (name, _), end in named if name not in SILENCES)
        return Spoken(at_16_khz(samples, self.rate), tuple(parts))


@cache
def _library() -> Library:
    return Library()


@cache
def mnemonics(text: str, accent: str) -> str:
    """How it says a text, without stress and gaps."""
    _library().choose(accent)
    said = _library().transcribe(text)
    _library().settle()
    return "".join(c for c in said if c not in UNHEARD)


def ipa(text: str, accent: str) -> str:
    """How it says a text, in letters of the international alphabet, with stress and gaps between words."""
    _library().choose(accent)
    return _library().transcribe(text, IPA)


def espeak_voices() -> tuple[Voice, ...]:
    """Each accent with each variant; whoever has the same variant is one person."""
    there = sorted(path.name for path in (_library().folder() / "voices" / "!v").iterdir())
    variants = ["", *(name for name in there if not name.startswith(INHUMAN) and " " not in name)]
    return tuple(
        Voice("espeak-ng", f"{accent}+{variant}" if variant else accent, f"espeak+{variant}")
        for accent in ACCENTS
        for variant in variants
    )


def espeak(utterances: Sequence[Utterance]) -> list[Spoken]:
    """Say each by espeak-ng."""
    return [_library().say(utterance) for utterance in utterances]
