"""A wake-word model as the satellite sees it: a plan, and what the plan's metadata says of its words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pulse
from daemon import operating
from daemon.aggregate import Parts
from daemon.config import TOPIC_LEVEL
from daemon.features import MELS, FeatureMismatch, window_function_of

T = TypeVar("T")

OPERATING_POINTS = "operating_points"
MAX_WORDS = 100
MAX_FRAMES = 1000  # bound on smoothing, onset_to_end and the window of word parts
MAX_PARTS = 10  # of a word


class ModelError(ValueError):
    """A model file cannot be used; the text says which and why."""


@dataclass(frozen=True)
class WakeModel:
    """One network that tells several words from anything else."""

    plan: pulse.Plan
    path: Path
    version: str
    language: str | None
    window_function: str  # of its features
    words: tuple[str, ...]  # ids, in the order of the network's outputs after "none"
    parts: Parts | None  # of each word, where the network's outputs are those
    thresholds: Mapping[str, float]  # recommended, per word
    smoothing: int  # frames over which its thresholds hold
    onset_to_end: int  # frames from the first one that says a word to the word's end
    operating_points: operating.Points  # what thresholds cost, where it says so

    def expected(self, word: str, threshold: float) -> str | None:
        """What a word's threshold is expected to cost, in one sentence; None where the model does not say."""
        return operating.expected(self.operating_points.get(word, ()), threshold)

    @staticmethod
    def load(path: Path) -> WakeModel:
        """Read and check a `.plan`, and run its golden vector; `ModelError` says what is wrong with it."""
        try:
            plan = pulse.Plan.load(path)
            return _interpret(plan, path)
        except OSError as error:
            raise ModelError(f"cannot read the model {path}: {error.strerror or error}") from error
        except (pulse.PulseError, FeatureMismatch) as error:
            raise ModelError(f"cannot use the model {path}: {error}") from error


def _interpret(plan: pulse.Plan, path: Path) -> WakeModel:
    metadata = plan.metadata
    window_function = window_function_of(metadata)
    words = tuple(map(str, _json(metadata, "words", list, path)))
    if not 0 < len(words) <= MAX_WORDS or len(set(words)) < len(words) or not all(map(TOPIC_LEVEL.fullmatch, words)):
        raise ModelError(f"cannot use the model {path}: it does not name 1 to {MAX_WORDS} different words")
    thresholds = _thresholds(_json(metadata, "thresholds", dict, path), words, path)
    detector = _json(metadata, "detector", dict, path)
    smoothing, onset_to_end = (_frames(detector, key, path) for key in ("smoothing", "onset_to_end"))
    parts = _parts(detector, path)
    classes = 1 + len(words) * (1 if parts is None else parts.count)
    shapes = [tuple(port.shape) for port in (*plan.inputs.values(), *plan.outputs.values())]
    if shapes != [(1, plan.pulse, MELS), (1, plan.pulse, classes)]:
        raise ModelError(
            f"cannot use the model {path}: it maps {shapes[0]} to {shapes[1:]}, where (1, {plan.pulse}, {MELS}) frames "
            f"to (1, {plan.pulse}, {classes}) posteriors were expected"
        )
    dtypes = (*plan.input_dtypes, *plan.output_dtypes)
    if set(dtypes) != {"float32"}:
        raise ModelError(f"cannot use the model {path}: it maps {dtypes[0]} to {dtypes[1]}, where both must be float32")
    language, version = metadata.get("language"), metadata.get("version", "")
    points = _operating_points(metadata, path)
    return WakeModel(
        plan=plan,
        path=path,
        version=version,
        language=language,
        window_function=window_function,
        words=words,
        parts=parts,
        thresholds=thresholds,
        smoothing=smoothing,
        onset_to_end=onset_to_end,
        operating_points=points,
    )


def _operating_points(metadata: Mapping[str, str], path: Path) -> operating.Points:
    text = metadata.get(OPERATING_POINTS)
    if text is None:
        return {}
    try:
        return operating.read(text)
    except ValueError as error:
        raise ModelError(f"cannot use the model {path}: its {OPERATING_POINTS!r} metadata: {error}") from error


def _json(metadata: Mapping[str, str], key: str, kind: type[T], path: Path) -> T:
    try:
        value = json.loads(metadata[key])
    except (KeyError, ValueError, RecursionError):
        raise ModelError(f"cannot use the model {path}: its {key!r} metadata is missing or not JSON") from None
    if not isinstance(value, kind):
        raise ModelError(f"cannot use the model {path}: its {key!r} metadata is no JSON {kind.__name__}")
    return value


def _thresholds(given: Mapping[str, object], words: tuple[str, ...], path: Path) -> dict[str, float]:
    numbers = {word: value for word, value in given.items() if isinstance(value, float | int)}
    if set(numbers) != set(words) or not all(0 < value <= 1 for value in numbers.values()):
        raise ModelError(f"cannot use the model {path}: its thresholds do not give a number in (0, 1] for each word")
    return {word: float(numbers[word]) for word in words}


def _parts(detector: Mapping[str, object], path: Path) -> Parts | None:
    if "parts" not in detector:
        return None
    stated = detector["parts"]
    if not isinstance(stated, dict):
        raise ModelError(f"cannot use the model {path}: its parts of words are {stated!r}, where a dict was expected")
    count, smoothing, window = (_frames(stated, key, path) for key in ("count", "smoothing", "window"))
    parts = Parts(count, smoothing, window)
    if not 2 <= count <= MAX_PARTS or parts.starts < 1:
        raise ModelError(
            f"cannot use the model {path}: {count} parts of {smoothing} frames in a window of {window}, where 2 to "
            f"{MAX_PARTS} that fit into it were expected"
        )
    return parts


def _frames(detector: Mapping[str, object], key: str, path: Path) -> int:
    value = detector.get(key)
    if not isinstance(value, int) or not 0 < value <= MAX_FRAMES:
        raise ModelError(f"cannot use the model {path}: its {key} of {value!r} is not 1 to {MAX_FRAMES} frames")
    return value
