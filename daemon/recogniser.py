"""Names who said a wake word, at once, and once more when what they went on to say has been heard.

Nothing is loaded before somebody is enrolled, and nothing computed before a word is detected; then the speaker network
hears the frames that were kept. A second of speech tells little of a voice, so the first answer is often that it is
nobody known.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.config import SpeakersConfig
from daemon.detector import Detection
from daemon.features import FRAMES_PER_SECOND, SAMPLE_RATE
from daemon.memory import Memory
from daemon.naming import Cohort, Enrolled, Household
from daemon.people import People, names
from daemon.speaker import WORD_S, SpeakerError, SpeakerModel, Voice, word_start

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]

MOST_S, LEAST_S = 4.0, 1.0  # after a word, that are heard
SILENCE_S = 0.8  # that ends what somebody says
KEPT_S = MOST_S + WORD_S + 1.5  # of frames: what is heard, what the network needs before, and the pulse at hand
ABOVE_FLOOR = 1.4  # natural logarithm of power, 6 dB: of a frame that holds speech, above those that hold the least
NOBODY = "nobody will be named, and anybody is listened to: %s"

Known = tuple[Household, Voice]  # who can be named, and what hears them
Speakers = Sequence[tuple[str | None, float]]  # names, None for somebody unknown, and confidences; the likeliest first


@dataclass(frozen=True)
class Named:
    """Who may have said a word, after so many seconds from its start on were heard."""

    detection: Detection
    speakers: Speakers
    seconds: float


class Recogniser:
    """Follows one listener, whose frames go into `memory`."""

    def __init__(self, load: Callable[[], SpeakerModel], *, false_acceptance: float) -> None:
        """`load` is called when somebody is to be known."""
        self.memory = Memory(KEPT_S)
        self._load, self._false_acceptance = load, false_acceptance
        self._known: Known | None = None  # where somebody is enrolled
        self._followed: Detection | None = None

    @cached_property
    def model(self) -> SpeakerModel:
        """`SpeakerError` if it cannot be used."""
        return self._load()

    @cached_property
    def _voice(self) -> Voice:
        return Voice(self.model)

    @cached_property
    def _cohort(self) -> Cohort:
        return Cohort(self.model.cohort)

    @property
    def names(self) -> set[str]:
        """Of those who can be named."""
        return {person.name for person in self._known[0].people} if self._known else set()

    def know(self, people: People) -> None:
        """From now on, those who are enrolled can be named; from any thread. `SpeakerError` if the model is no use."""
        known = people.read(self.model) if people.any() else []
        enrolled = [person.enrolled for person in known]
        if {one.name for one in enrolled} != self.names:
            log.info("knows the voices of %s", names(known))
        self._known = self._home(enrolled) if enrolled else None

    def _home(self, enrolled: Sequence[Enrolled]) -> Known:
        # What hears a voice is allocated here, and not when somebody speaks.
        return Household(enrolled, self._cohort, false_acceptance=self._false_acceptance), self._voice

    def wake(self, detection: Detection) -> Speakers:
        """Who said a word that was detected just now; empty where nobody is enrolled. What follows is listened to."""
        known = self._known
        if known is None:
            return ()
        self._followed = detection
        return self._named(detection, known).speakers

    def attend(self) -> Named | None:
        """Who said the latest word, once what followed it has been heard; else None."""
        known = self._known
        if self._followed is None or known is None or not self._over(self._followed):
            return None
        detection, self._followed = self._followed, None
        return self._named(detection, known)

    def _over(self, detection: Detection) -> bool:
        heard_s = (self.memory.past_sample - detection.end_sample) / SAMPLE_RATE
        if heard_s < LEAST_S:
            return False
        if not 0 <= heard_s < MOST_S:  # the stream began anew, or it is enough
            return True
        loudness = self.memory.since(word_start(self.model, detection.end_sample)).mean(axis=1)
        latest = loudness[-round(SILENCE_S * FRAMES_PER_SECOND) :]
        return bool(latest.max() < np.quantile(loudness, 0.1) + ABOVE_FLOOR)

    def _named(self, detection: Detection, known: Known) -> Named:
        home, voice = known
        frames = self.memory.since(word_start(self.model, detection.end_sample))
        seconds = WORD_S + (self.memory.past_sample - detection.end_sample) / SAMPLE_RATE
        if len(frames) < voice.least:
            return Named(detection, [(None, 1.0)], max(0.0, seconds))
        found = home.hypotheses(voice.embed(frames))
        return Named(detection, [(one.name, one.confidence) for one in found], seconds)


def recogniser(config: SpeakersConfig, window_function: str) -> Recogniser | None:
    """One that knows everybody who is enrolled; None where it is not wanted, or cannot be: then it is said why."""
    return of_everybody(config, window_function)()


def of_everybody(config: SpeakersConfig, window_function: str) -> Callable[[], Recogniser | None]:
    """Makes as many of them as there are listeners, of a model that is read once, when somebody is enrolled."""
    if config.model is None:
        return lambda: None
    load = cache(partial(_load, config.model, window_function))

    def make() -> Recogniser | None:
        made = Recogniser(load, false_acceptance=config.false_acceptance)
        try:
            made.know(People(config.folder))
        except SpeakerError as error:
            log.warning(NOBODY, error)
            return None
        return made

    return make


def check(config: SpeakersConfig, window_function: str) -> None:
    """Say who is known, or why nobody can be, whether somebody is enrolled or not."""
    try:
        if config.model is not None:
            _load(config.model, window_function)
    except SpeakerError as error:
        log.warning(NOBODY, error)
        return
    recogniser(config, window_function)


def _load(path: Path, window_function: str) -> SpeakerModel:
    model = SpeakerModel.load(path)
    if model.window_function != window_function:
        raise SpeakerError(f"{path} hears other features than the wake word's model; train them alike")
    return model
