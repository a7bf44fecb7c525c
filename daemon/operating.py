"""What a word's threshold is expected to cost, as the model's own evaluation measured it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import msgspec

RULE_OF_THREE = 3.0  # none in T hours means fewer than 3/T per hour (95 %)

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


@dataclass(frozen=True)
class OperatingPoint:
    """What one threshold gave."""

    threshold: Share
    alarms_per_hour: Annotated[float, msgspec.Meta(ge=0)]
    misses: Share
    hours: Annotated[float, msgspec.Meta(gt=0)]  # over which false alarms were counted
    corpus: str  # on what


Points = Mapping[str, Sequence[OperatingPoint]]


def read(text: str) -> Points:
    """The points of each word, by rising threshold, from a model's metadata; `ValueError` says what is wrong."""
    try:
        given = msgspec.json.decode(text, type=dict[str, list[OperatingPoint]])
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return {word: tuple(sorted(points, key=lambda point: point.threshold)) for word, points in given.items()}


def at(points: Sequence[OperatingPoint], threshold: float) -> OperatingPoint | None:
    """What a threshold gives, between the two measured ones around it; None outside of what was measured."""
    for point in points:
        if point.threshold == threshold:
            return point
    for low, high in pairwise(points):
        if low.threshold < threshold < high.threshold:
            part = (threshold - low.threshold) / (high.threshold - low.threshold)
            alarms = low.alarms_per_hour + part * (high.alarms_per_hour - low.alarms_per_hour)
            misses = low.misses + part * (high.misses - low.misses)
            return OperatingPoint(threshold, alarms, misses, high.hours, high.corpus)
    return None


def expected(points: Sequence[OperatingPoint], threshold: float) -> str | None:
    """One sentence on what a threshold is expected to cost; None where that was not measured."""
    point = at(points, threshold)
    if point is None:
        return None
    if point.alarms_per_hour:
        alarms = f"about {_brief(point.alarms_per_hour)} false wakes per hour"
    else:
        alarms = f"fewer than {_brief(RULE_OF_THREE / point.hours)} false wakes per hour"
    return f"{alarms}, {_brief(100 * point.misses)} % misses, measured on {point.hours:.1f} h of {point.corpus}"


def _brief(number: float) -> str:
    """A number to as many digits as it deserves."""
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}".removesuffix(".0")
