"""Enrolment from afar: examples of the wake word that were recorded here because somebody on the broker asked for them.

Whoever asks names the person. Once there are enough good takes of one person in a row, they are known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.enroll import TAKES, Enrolment
from daemon.people import People, PeopleError
from daemon.speaker import SpeakerModel
from daemon.takes import Examiner


@dataclass(frozen=True)
class Booth:
    """What takes are made with, and where people are kept."""

    examiner: Examiner
    model: SpeakerModel
    people: People


class Afar:
    """Collects the takes of one person after the other."""

    def __init__(self, booth: Booth, *, known: Callable[[], None], say: Callable[[str], None]) -> None:
        """`known` is called when somebody was enrolled, `say` with what became of each example."""
        self._booth, self._known, self._say = booth, known, say
        self._enrolment: Enrolment | None = None

    def take(self, name: str, samples: NDArray[np.int16]) -> None:
        """An example (n,) of somebody."""
        if self._enrolment is None or self._enrolment.name != name:
            self._enrolment = Enrolment(name, self._booth.examiner, self._say)
        enrolment = self._enrolment
        enrolment.word(samples, f"take of {name}")
        if len(enrolment.takes) < TAKES:
            return
        self._enrolment = None
        try:
            self._booth.people.write(enrolment.person(), self._booth.model)
        except PeopleError as error:
            self._say(str(error))
            return
        self._known()
