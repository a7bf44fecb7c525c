"""A speaker model as the satellite sees it: a plan that makes items of frames, and how items become an embedding.

The network runs on frames that are kept anyway, around a detection only. Each of its items carries the logarithm of a
weight for each head, and a value for each number of the embedding; the numbers are divided evenly among the heads. This
module knows nobody's name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import pulse
from daemon.features import HOP, MELS, SAMPLE_RATE, WINDOW, FeatureMismatch, window_function_of

Floats = NDArray[np.float32]

HEADS = 4
COHORT = "cohort"  # metadata: embeddings of people nobody knows, in base64, as int8
MAX_EMBEDDING = 1024
COHORT_SIZE = (20, 5000)
INT8 = 127


WORD_S = 1.2  # of sound before a wake word's end, in which it is looked for


class SpeakerError(ValueError):
    """A speaker model cannot be used; the text says which and why."""


@dataclass(frozen=True)
class SpeakerModel:
    """One network that places voices, and a cohort of voices it is measured by."""

    plan: pulse.Plan
    path: Path
    version: str
    window_function: str  # of its features
    cohort: Floats  # (people, embedding), each of norm 1

    @property
    def embedding(self) -> int:
        """Numbers in an embedding."""
        return int(self.cohort.shape[1])

    @cached_property
    def space(self) -> str:
        """A name for what its embeddings mean; those of two models cannot be compared."""
        return hashlib.sha256(self.plan.weights.tobytes()).hexdigest()[:16]

    @property
    def lead(self) -> int:
        """Frames before a span that its first item needs."""
        return self.plan.receptive_field - 1

    @staticmethod
    def load(path: Path) -> SpeakerModel:
        """Read and check a `.plan`, and run its golden vector; `SpeakerError` says what is wrong with it."""
        try:
            return _interpret(pulse.Plan.load(path), path)
        except (pulse.PulseError, FeatureMismatch, _Wrong) as error:
            raise SpeakerError(f"cannot use the speaker model {path}: {error}") from error


class _Wrong(Exception):
    """What is wrong, without the name."""


def _interpret(plan: pulse.Plan, path: Path) -> SpeakerModel:
    window_function = window_function_of(plan.metadata)
    cohort = decoded(plan.metadata)
    items = plan.pulse // int(plan.stride[0])
    shapes = [tuple(port.shape) for port in (*plan.inputs.values(), *plan.outputs.values())]
    wanted = [(1, plan.pulse, MELS), (1, items, HEADS + cohort.shape[1])]
    if shapes != wanted or {*plan.input_dtypes, *plan.output_dtypes} != {"float32"}:
        raise _Wrong(f"it maps {shapes[0]} to {shapes[1:]}, where {wanted[0]} to {wanted[1]} was expected, in float32")
    return SpeakerModel(plan, path, plan.metadata.get("version", ""), window_function, cohort)


def word_start(model: SpeakerModel, end_sample: int) -> int:
    """The first sample that naming needs of whoever says a wake word that ends at this one."""
    return end_sample - round(WORD_S * SAMPLE_RATE) - model.lead * HOP - WINDOW


def encoded(cohort: Floats) -> dict[str, str]:
    """The metadata of a cohort (people, embedding), each of norm 1."""
    people, size = cohort.shape
    numbers = np.rint(cohort * INT8).astype(np.int8).tobytes()
    return {COHORT: f"{people}x{size}:{base64.b64encode(numbers).decode()}"}


def decoded(metadata: Mapping[str, str]) -> Floats:
    """The cohort that `encoded` made metadata of."""
    shape, _, text = metadata.get(COHORT, "").partition(":")
    people, _, size = shape.partition("x")
    if not (people.isdecimal() and size.isdecimal() and len(shape) < 20):
        raise _Wrong(f"it has no {COHORT!r} metadata: it is no speaker model")
    rows, columns = int(people), int(size)
    if not COHORT_SIZE[0] <= rows <= COHORT_SIZE[1] or not 0 < columns <= MAX_EMBEDDING or columns % HEADS:
        raise _Wrong(f"its cohort of {shape} numbers is not of {COHORT_SIZE[0]} to {COHORT_SIZE[1]} voices")
    try:
        numbers = np.frombuffer(base64.b64decode(text, validate=True), np.int8)
    except binascii.Error:
        raise _Wrong(f"its {COHORT!r} metadata is not base64") from None
    if numbers.size != rows * columns:
        raise _Wrong(f"its cohort holds {numbers.size} numbers, not {shape}")
    return normed(numbers.reshape(rows, columns).astype(np.float32))


class Voice:
    """Makes embeddings of frames; the memory for that is allocated once."""

    def __init__(self, model: SpeakerModel) -> None:
        self._plan = model.plan
        self._state = pulse.State(model.plan)
        self.least = model.plan.receptive_field + model.plan.pulse  # frames that make an item at least

    def items(self, frames: Floats) -> Floats:
        """(items, HEADS + embedding) of (n, MELS) frames, n >= `least`; what fills no pulse is left out in front."""
        length = self._plan.pulse
        self._state.reset()
        whole = frames[len(frames) % length :].reshape(-1, 1, length, MELS)
        found = [self._state.run(np.ascontiguousarray(pulse_of_frames))[0][0].copy() for pulse_of_frames in whole]
        return np.concatenate(found)[self._plan.delay[0] :]

    def embed(self, frames: Floats) -> Floats:
        """The embedding, of norm 1, of whoever speaks in (n, MELS) frames."""
        return pooled(self.items(frames))


def pooled(items: Floats) -> Floats:
    """The mean of the items' values (items, HEADS + embedding) as the heads weigh them, at norm 1."""
    weights = np.exp(items[:, :HEADS] - items[:, :HEADS].max(axis=0))  # (items, HEADS)
    weights /= weights.sum(axis=0)
    values = items[:, HEADS:].reshape(len(items), HEADS, -1)
    return normed((weights[:, :, None] * values).sum(axis=0).reshape(-1))


def normed(embeddings: Floats) -> Floats:
    """At norm 1 along the last axis."""
    sizes = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    found: Floats = (embeddings / np.maximum(sizes, np.finfo(np.float32).tiny)).astype(np.float32)
    return found
