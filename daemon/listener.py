"""Sound in, detections out: features, pulses, network and detector in one line, without I/O and without a clock.

`wakepulse run`, `wakepulse detect` and the tests all hear through this one path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import pulse
from daemon.aggregate import Aggregator
from daemon.detector import Detection, Detector, end_of
from daemon.features import CHUNK, FRAMES_PER_SECOND, HOP, MELS, SAMPLE_RATE, LogMel
from daemon.memory import Memory
from daemon.model import WakeModel

TAIL = SAMPLE_RATE // 2  # samples of quiet that end a recording


class Listener:
    """Hears one endless stream of samples; a jump in the sample number starts it afresh."""

    def __init__(
        self,
        model: WakeModel,
        thresholds: Mapping[str, float],
        *,
        refractory_s: float,
        memory: Memory | None = None,
    ) -> None:
        """`thresholds` for some of the model's words; the others are never detected. `memory` keeps its frames."""
        self._words = model.words
        self.pulse = model.plan.pulse  # frames
        self.gaps = 0
        self.warm_up = end_of(model.plan.delay[0])  # samples after which a word can be detected
        self._features = LogMel(model.window_function)
        self._state = pulse.State(model.plan)
        self._posteriors = self._state.outputs[0][0, :, 1:]  # (pulse, words), or (pulse, words * parts)
        self._detector = Detector(
            [(word, thresholds.get(word, np.inf)) for word in self._words],
            smoothing=model.smoothing,
            onset_to_end=model.onset_to_end,
            refractory=round(refractory_s * FRAMES_PER_SECOND),
            warm_up=model.plan.delay[0],
        )
        self._aggregator = None
        if model.parts is not None:
            self._aggregator = Aggregator(model.parts, len(model.words), warm_up=model.plan.delay[0])
        self._scores = np.zeros((self.pulse, len(model.words)), np.float32)  # of words that are heard part by part
        self._memory = memory
        self._frames = np.zeros((2 * self.pulse, MELS), np.float32)  # of the pulse that is being filled, and the next
        self._pulse, self._next = self._frames[: self.pulse], self._frames[self.pulse :]
        self._given = self._pulse[None]  # (1, pulse, MELS)
        self._start(0)

    def set_thresholds(self, thresholds: Mapping[str, float]) -> None:
        """Listen for these words from the next frame on, at these thresholds, without a break."""
        self._detector.set_thresholds([thresholds.get(word, np.inf) for word in self._words])

    def restart(self, first_sample: int) -> None:
        """Begin a new stream at a sample, where it is known that something was not heard."""
        self._start(first_sample)

    def _start(self, first_sample: int) -> None:
        self._features.reset()
        self._state.reset()
        self._detector.reset()
        if self._aggregator is not None:
            self._aggregator.reset()
        if self._memory is not None:
            self._memory.reset(first_sample)
        self._filled = 0
        self._first_sample = first_sample
        self._next_sample = first_sample

    def push(self, first_sample: int, block: NDArray[np.int16]) -> list[Detection]:
        """Take (n,) samples that start at `first_sample` of the stream; return what they complete."""
        if first_sample != self._next_sample:
            self.gaps += self._next_sample > self._first_sample
            self._start(first_sample)
        self._next_sample += len(block)
        detections: list[Detection] = []
        most = min(self.pulse * HOP, CHUNK)
        for start in range(0, len(block), most):
            self._filled += self._features.fill(block[start : start + most], self._frames, self._filled)
            if self._filled >= self.pulse:
                detections += self._run()
                self._filled -= self.pulse
                self._pulse[:] = self._next
        return detections

    def finish(self) -> list[Detection]:
        """The sound has ended: return what quiet after it completes, so that a word at its very end is not lost."""
        return self.push(self._next_sample, np.zeros(TAIL, np.int16))

    def _run(self) -> list[Detection]:
        if self._memory is not None:
            self._memory.push(self._pulse)
        self._state.run(self._given)
        found = self._posteriors
        if self._aggregator is not None:
            self._aggregator.push_all(found, self._scores)
            found = self._scores
        return [
            replace(d, sample=self._first_sample + d.sample, end_sample=self._first_sample + d.end_sample)
            for d in self._detector.push_all(found)
        ]
