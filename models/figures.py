"""What was heard becomes figures: tables in Markdown, JSON, and the operating points that a model carries.

Intervals are exact and hold for 95 %. None in T hours means fewer than 3/T per hour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from scipy.stats import beta, chi2

from models.corpus import Recording
from models.hearing import THRESHOLDS, Outcome, Tried

RATES = (0.1, 0.5, 1.0)  # false alarms per hour at which misses are told
TOLD = 0.5  # the one of them at which latency is told
ALLOWED = 1  # false alarms of a word in all hours, at the one threshold that is then kept in every condition
RULE_OF_THREE = 3.0
CONFIDENCE = 0.95
POINTS = tuple(round(0.1 * tenth, 1) for tenth in range(1, 10))  # thresholds of the operating points of each word
GROUPS: Mapping[str, Callable[[Recording], str]] = {
    "speaker": lambda recording: recording.speaker,
    "sex": lambda recording: recording.sex,
    "source": lambda recording: recording.source,
}

Results = Sequence[Tried]


def share_interval(count: int, of: int) -> tuple[float, float]:
    """Between which shares the true one lies when `count` of so many were seen (Clopper and Pearson)."""
    if not of:
        return 0.0, 1.0
    tail = (1 - CONFIDENCE) / 2
    low = float(beta.ppf(tail, count, of - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - tail, count + 1, of - count)) if count < of else 1.0
    return low, high


def rate_interval(count: int, hours: float) -> tuple[float, float]:
    """Between which rates per hour the true one lies when `count` events were seen in so many hours (Garwood)."""
    if not hours:
        return 0.0, math.inf
    if not count:
        return 0.0, RULE_OF_THREE / hours
    tail = (1 - CONFIDENCE) / 2
    return float(chi2.ppf(tail, 2 * count)) / 2 / hours, float(chi2.ppf(1 - tail, 2 * count + 2)) / 2 / hours


def latency_ms(late_s: Iterable[float]) -> tuple[float, float] | None:
    """Median and 90th percentile of the hits, in milliseconds; None where nothing was hit."""
    hits = [late for late in late_s if not math.isnan(late)]
    return (float(np.median(hits)) * 1000, float(np.percentile(hits, 90)) * 1000) if hits else None


def table(results: Results) -> str:
    """Per word and condition: misses where its own false alarms in that condition are at most so many per hour."""
    titles = [f"misses at {rate:g} per hour" for rate in RATES]
    head = ["word", "condition", "takes", "hours", *titles, f"fires after end, at {TOLD:g}: median, 90 %"]
    rows = []
    for tried in results:
        at = [tried.at_alarms(rate * tried.hours) for rate in RATES]
        misses = [_misses(int(tried.misses[index]), len(tried.positives)) for index in at]
        late = _late(tried.late_s[:, tried.at_alarms(TOLD * tried.hours)].tolist())
        rows.append([tried.word, tried.condition, str(len(tried.positives)), f"{tried.hours:.2f}", *misses, late])
    for condition, group in _by_condition(results):
        means = [_mean(_share(t, t.at_alarms(rate * t.hours)) for t in group) for rate in RATES]
        rows.append(["mean", condition, "", "", *means, ""])
    return _markdown(head, rows)


def kept(results: Results) -> str:
    """Misses and false alarms at one threshold per word, the lowest with ALLOWED of them in the first condition."""
    conditions = [condition for condition, _ in _by_condition(results)]
    head = ["word", "threshold", "hours", *(f"{condition}: misses, alarms" for condition in conditions)]
    rows, shares = [], []
    for word, tries in _by_word(results):
        at = tries[0].at_alarms(ALLOWED)
        shares.append([_share(tried, at) for tried in tries])
        cells = [f"{_percent(_share(tried, at))}, {tried.alarms[at]}" for tried in tries]
        rows.append([word, f"{THRESHOLDS[at]:g}", f"{tries[0].hours:.2f}", *cells])
    rows.append(["mean", "", "", *(_mean(column) for column in zip(*shares, strict=True))])
    return _markdown(head, rows)


def in_force(results: Results, thresholds: Mapping[str, float]) -> str:
    """What the satellite makes of every word and condition, all words at the model's thresholds."""
    head = ["word", "condition", "threshold", "misses", "false alarms", "fires after end: median, 90 %"]
    rows = []
    for tried in results:
        late_s, alarms = tried.together.late_s, len(tried.together.alarms)
        missed = _misses(_missed(tried.together), len(late_s))
        threshold = f"{thresholds[tried.word]:g}"
        rows.append([tried.word, tried.condition, threshold, missed, _alarms(alarms, tried.hours), _late(late_s)])
    return _markdown(head, rows)


def groups(results: Results) -> str:
    """Misses and false alarms of all words together, at the model's thresholds, by speaker, sex and source."""
    conditions = [condition for condition, _ in _by_condition(results)]
    head = ["group", "which", "takes", *(f"{condition}: misses, alarms" for condition in conditions)]
    columns = [grouped(tries) for _, tries in _by_condition(results)]
    names = sorted({key for column in columns for key in column})
    rows = []
    for name in names:
        found = [column.get(name, (0, 0, 0)) for column in columns]
        cells = [f"{_percent(missed / takes) if takes else '-'}, {alarms}" for takes, missed, alarms in found]
        if found[0][0] or name[0] != "speaker":  # whoever only causes an alarm or two is in the JSON
            rows.append([*name, str(found[0][0]), *cells])
    return _markdown(head, rows)


def grouped(results: Results) -> dict[tuple[str, str], tuple[int, int, int]]:
    """(group, value) to takes, misses and false alarms of some words together, at the model's thresholds."""
    found: dict[tuple[str, str], list[int]] = {}
    for tried in results:
        seen = [(r, 0) for r in tried.positives]
        seen += [(r, 1) for r, late in zip(tried.positives, tried.together.late_s, strict=True) if math.isnan(late)]
        seen += [(r, 2) for r in tried.together.alarms]
        for recording, what in seen:
            for group, value in ((group, of(recording)) for group, of in GROUPS.items()):
                if value:
                    found.setdefault((group, value), [0, 0, 0])[what] += 1
    return {name: (takes, missed, alarms) for name, (takes, missed, alarms) in found.items()}


def compared(first: Results, second: Results, names: tuple[str, str]) -> str:
    """Two models side by side: misses at each of RATES, where both know the word."""
    other = {(tried.word, tried.condition): tried for tried in second}
    head = ["word", "condition", *(f"{name}, {rate:g} per hour" for rate in RATES for name in names)]
    rows, means = [], []
    for tried in first:
        beside = other.get((tried.word, tried.condition))
        if beside is not None:
            shares = [_share(t, t.at_alarms(rate * t.hours)) for rate in RATES for t in (tried, beside)]
            rows.append([tried.word, tried.condition, *map(_percent, shares)])
            means.append((tried.condition, shares))
    for condition in dict.fromkeys(name for name, _ in means):
        columns = zip(*(shares for name, shares in means if name == condition), strict=True)
        rows.append(["mean", condition, *map(_mean, columns)])
    return _markdown(head, rows)


def operating_points(
    results: Results, thresholds: Mapping[str, float], corpus: str
) -> dict[str, list[dict[str, object]]]:
    """What each word costs at some thresholds, for the model's metadata: of the first condition, by itself."""
    points: dict[str, list[dict[str, object]]] = {}
    for word, tries in _by_word(results):
        clean = tries[0]
        at = sorted({clean.near(threshold) for threshold in (*POINTS, thresholds[word])})
        points[word] = [
            {
                "threshold": float(THRESHOLDS[index]),
                "alarms_per_hour": round(float(clean.alarms[index] / clean.hours), 3),
                "misses": round(_share(clean, index), 4),
                "hours": round(clean.hours, 4),
                "corpus": corpus,
            }
            for index in at
        ]
    return points


def as_json(results: Results, thresholds: Mapping[str, float]) -> list[dict[str, Any]]:
    """All figures, one object per word and condition."""
    return [_object(tried, thresholds[tried.word]) for tried in results]


def _object(tried: Tried, threshold: float) -> dict[str, Any]:
    misses, takes = tried.misses, len(tried.positives)
    points = [(rate, tried.at_alarms(rate * tried.hours)) for rate in RATES]
    return {
        "word": tried.word,
        "condition": tried.condition,
        "takes": takes,
        "hours": tried.hours,
        "points": [
            {
                "allowed_per_hour": rate,
                "threshold": float(THRESHOLDS[at]),
                "misses": int(misses[at]),
                "misses_interval": share_interval(int(misses[at]), takes),
                "alarms": int(tried.alarms[at]),
                "alarms_per_hour_interval": rate_interval(int(tried.alarms[at]), tried.hours),
                "latency_ms": latency_ms(tried.late_s[:, at].tolist()),
            }
            for rate, at in points
        ],
        "in_force": {
            "threshold": threshold,
            "misses": _missed(tried.together),
            "alarms": len(tried.together.alarms),
            "latency_ms": latency_ms(tried.together.late_s),
            "groups": [[*name, *counts] for name, counts in sorted(grouped([tried]).items())],
        },
        "curve": {
            "threshold": THRESHOLDS.tolist(),
            "misses": misses.tolist(),
            "alarms": tried.alarms.tolist(),
        },
    }


def _missed(outcome: Outcome) -> int:
    return sum(map(math.isnan, outcome.late_s))


def _share(tried: Tried, index: int) -> float:
    return float(tried.misses[index]) / max(1, len(tried.positives))


def _by_condition(results: Results) -> list[tuple[str, list[Tried]]]:
    """Results come condition by condition, and so do these."""
    return [(name, list(group)) for name, group in groupby(results, key=lambda tried: tried.condition)]


def _by_word(results: Results) -> list[tuple[str, list[Tried]]]:
    words = dict.fromkeys(tried.word for tried in results)
    return [(word, [tried for tried in results if tried.word == word]) for word in words]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _mean(shares: Iterable[float]) -> str:
    return _percent(float(np.mean(list(shares))))


def _misses(count: int, of: int) -> str:
    low, high = share_interval(count, of)
    return f"{_percent(count / max(1, of))} ({100 * low:.0f}-{100 * high:.0f})"


def _alarms(count: int, hours: float) -> str:
    low, high = rate_interval(count, hours)
    rate = f"{count / hours:.1f} ({low:.1f}-{high:.1f})" if count else f"< {high:.1f}"
    return f"{count} in {hours:.2f} h: {rate} per hour"


def _late(late_s: Iterable[float]) -> str:
    found = latency_ms(late_s)
    return f"{found[0]:.0f}, {found[1]:.0f} ms" if found else "-"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
