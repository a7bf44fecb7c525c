"""A take: somebody says the wake word, or a sentence, to be known by it. Bad ones are refused, by reason.

A take is heard as the satellite will hear the word later: through its own detector, over the same span of frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.capture import Block
from daemon.detector import REFRACTORY_S, Detection
from daemon.features import HOP, SAMPLE_RATE, LogMel
from daemon.listener import Listener
from daemon.model import WakeModel
from daemon.naming import Cohort, likeness, mean_voice
from daemon.speaker import SpeakerModel, Voice, word_start

Floats = NDArray[np.float32]
Samples = NDArray[np.int16]

QUIET_DB = -48.0  # of full scale: speech that is softer drowns in what the microphone itself does
CLIPPED, CLIPPED_SHARE = 32_600, 0.002  # of the samples in speech
SPEECH_RANGE_DB = 25.0  # below the loudest block of a take is no speech
ABOVE_FLOOR_DB = 6.0  # above its quietest ones
WORD_S, SENTENCE_S = 0.25, 2.0  # least speech in a take
PIECE_S = 2.0  # of a sentence, that is an embedding
ONE_VOICE = 1.0  # least likeness of a piece to the others that are said by one person
TAIL_S = 0.3  # of sound after the word that is kept
KEPT_S = 3.0  # of sound in which a word is looked for
BLOCK = HOP


class Refused(Exception):
    """Why a take cannot be used, and what to do."""


@dataclass(frozen=True)
class Take:
    """What somebody said, as samples and as embeddings (pieces, embedding): one of a wake word."""

    samples: Samples
    embeddings: Floats


class Examiner:
    """Makes takes of sounds, for one wake word, or refuses them."""

    def __init__(self, model: SpeakerModel, wake: WakeModel, thresholds: dict[str, float], word: str) -> None:
        self.word = word
        self._model, self._wake, self._thresholds = model, wake, thresholds
        self._voice, self._cohort = Voice(model), Cohort(model.cohort)

    def listener(self) -> Listener:
        """One that hears the wake word."""
        return Listener(self._wake, self._thresholds, refractory_s=REFRACTORY_S)

    def word_in(self, samples: Samples) -> Take:
        """A take of the wake word, cut out of a sound (n,)."""
        check(samples, WORD_S)  # before it is listened to: what is clipped may sound like no word
        sound, heard = self._cut(samples)
        both = [embed(part, self._model, self._voice) for part in (sound, sound[:heard])]
        return Take(sound, mean_voice(np.stack(both))[None])

    def sentence_in(self, samples: Samples) -> Take:
        """A take of free speech; by one voice."""
        check(samples, SENTENCE_S)
        sound = spoken(samples)
        length = round(PIECE_S * SAMPLE_RATE)
        starts = range(0, max(1, len(sound) - length // 2), length)
        pieces = [sound[start : start + length + self._model.lead * HOP] for start in starts]
        found = np.stack([embed(piece, self._model, self._voice) for piece in pieces])
        self._agree(found, "in this sentence")
        return Take(sound, found)

    def _cut(self, samples: Samples) -> tuple[Samples, int]:
        """From as early as naming needs it to just after the word, and how much of that was heard when it was detected.

        A word is named as soon as it is detected, mostly before it is over, and once more with what follows.
        `Refused` where it is not said.
        """
        listener = self.listener()
        found = lead_in(listener, 0) + listener.push(0, samples) + listener.finish()
        said = [detection for detection in found if detection.word == self.word]
        if not said:
            raise Refused(f"not the word: {self.word!r} was not heard")
        end = said[0].end_sample
        first = max(0, word_start(self._model, end))
        return samples[first : end + round(TAIL_S * SAMPLE_RATE)], said[0].sample - first

    def agree(self, takes: Sequence[Take], fresh: Take) -> None:
        """`Refused` where a take is by somebody other than the takes before it."""
        if takes:
            self._agree(np.concatenate([*(take.embeddings for take in takes), fresh.embeddings]), "in these takes")

    def _agree(self, embeddings: Floats, where: str) -> None:
        if len(embeddings) > 1 and likeness(embeddings, self._cohort).min() < ONE_VOICE:
            raise Refused(f"two voices {where}; let one person alone say it")


def embed(samples: Samples, model: SpeakerModel, voice: Voice) -> Floats:
    """The embedding of whoever speaks in a sound (n,), which may be short."""
    frames = LogMel(model.window_function).push(samples)
    missing = max(0, voice.least - len(frames))
    return voice.embed(np.pad(frames, ((missing, 0), (0, 0)), mode="edge"))


def free_speech(samples: Samples, model: SpeakerModel, voice: Voice) -> Floats:
    """The embedding of whoever speaks in a recording; `Refused` where hardly anybody does."""
    check(samples, WORD_S)
    return embed(spoken(samples), model, voice)


def check(samples: Samples, least_s: float) -> None:
    """`Refused` where a sound is too quiet, clipped, or holds less speech than that."""
    levels = _levels(samples)
    if not len(levels) or levels.max() < QUIET_DB:
        raise Refused("too quiet: come nearer, or turn the microphone up")
    loud = speech_blocks(levels)
    inside = samples[: len(loud) * BLOCK].reshape(-1, BLOCK)[loud].astype(np.int32)
    if np.mean(np.abs(inside) >= CLIPPED) > CLIPPED_SHARE:
        raise Refused("clipped: step back, or turn the microphone down")
    seconds = inside.size / SAMPLE_RATE
    if seconds < least_s:
        raise Refused(f"too short: {seconds:.1f} s of speech, where {least_s:g} s are needed")


def spoken(samples: Samples) -> Samples:
    """A sound without the silence before and after what is said."""
    blocks = np.flatnonzero(speech_blocks(_levels(samples)))
    return samples[int(blocks[0]) * BLOCK : (int(blocks[-1]) + 1) * BLOCK]


def speech_blocks(levels: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which blocks hold speech, by their levels in dB: near the loudest, and above what is there all the time."""
    least = max(float(levels.max()) - SPEECH_RANGE_DB, float(np.quantile(levels, 0.1)) + ABOVE_FLOOR_DB)
    found: NDArray[np.bool_] = levels > least
    return found


def _levels(samples: Samples) -> NDArray[np.float64]:
    """Of each block, in dB of full scale."""
    blocks = samples[: len(samples) // BLOCK * BLOCK].reshape(-1, BLOCK).astype(np.float64)
    power: NDArray[np.float64] = 10 * np.log10(np.mean(blocks**2, axis=1) / 32768**2 + 1e-12)
    return power


class WordCatcher:
    """Waits for the wake word among blocks, over and over, and keeps the sound around it."""

    def __init__(self, examiner: Examiner) -> None:
        self._listener, self._word = examiner.listener(), examiner.word
        self._fresh = True
        self._kept: deque[Samples] = deque()
        self._length = 0  # samples that are kept
        self._rest: int | None = None  # samples still to come behind the word

    def push(self, first: int, block: Samples) -> Samples | None:
        """Take the next block; the sound around the word (n,), once it is complete."""
        if self._fresh:
            lead_in(self._listener, first)
            self._fresh = False
        self._kept.append(block)
        self._length += len(block)
        while self._length - len(self._kept[0]) >= KEPT_S * SAMPLE_RATE:
            self._length -= len(self._kept.popleft())
        heard = any(found.word == self._word for found in self._listener.push(first, block))
        if self._rest is None:
            self._rest = round(TAIL_S * SAMPLE_RATE) if heard else None
            return None
        self._rest -= len(block)
        if self._rest > 0:
            return None
        self._rest = None
        return np.concatenate(self._kept)


def lead_in(listener: Listener, first: int) -> list[Detection]:
    """Let silence go before the sample `first`, as if it had been listening, so that no word comes too early."""
    lead = np.zeros(-(-listener.warm_up // HOP) * HOP, np.int16)  # whole hops, so that frames begin where they would
    return listener.push(first - len(lead), lead)


def said_next(blocks: Iterable[Block], catcher: WordCatcher, timeout_s: float) -> Samples | None:
    """The sound around the wake word when it is next heard among blocks; None if it is not, or they end."""
    waited = 0
    for first, block in blocks:
        found = catcher.push(first, block)
        waited += len(block)
        if found is not None or waited > timeout_s * SAMPLE_RATE:
            return found
    return None
