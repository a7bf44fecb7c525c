"""How well same and different speakers are told apart: error rates of scores, and their DET curves as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from models.det import COLOURS

Scores = NDArray[np.float64]
Who = NDArray[np.int64]  # a number for each person

DRAWS = 200
TARGET_PRIOR = 0.01  # of the detection cost, in which a miss and a false acceptance cost the same (NIST)
SIZE, LEFT, TOP, BOTTOM = 420, 52, 30, 40
RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)  # that have lines; the curves end at the outer ones


@dataclass(frozen=True)
class Trials:
    """Scores of voices that were compared with people, with who each one claimed to be and who it was."""

    scores: Scores
    claimed: Who
    spoke: Who

    @property
    def same(self) -> Scores:
        """Of people with themselves."""
        return self.scores[self.claimed == self.spoke]

    @property
    def different(self) -> Scores:
        """Of people with others."""
        return self.scores[self.claimed != self.spoke]


def joined(several: Iterable[Trials]) -> Trials:
    """All of them as one; a person has the same number in all."""
    return Trials(*(np.concatenate([getattr(one, name) for one in several]) for name in ("scores", "claimed", "spoke")))


def rates(trials: Trials) -> tuple[Scores, Scores]:
    """Misses and false acceptances, as shares, at each score that occurs and beyond the largest."""
    at = np.append(np.unique(np.concatenate([trials.same, trials.different])), np.inf)
    misses = np.searchsorted(np.sort(trials.same), at, side="left") / len(trials.same)
    accepted = 1 - np.searchsorted(np.sort(trials.different), at, side="left") / len(trials.different)
    return misses, accepted


def equal_error_rate(trials: Trials) -> float:
    """The share at which misses and false acceptances are alike, between the two points around it."""
    misses, accepted = rates(trials)
    after = int(np.argmax(misses >= accepted))
    if not after:
        return float(misses[0])
    gap = accepted - misses  # falls from positive to negative
    part = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(misses[after - 1] + part * (misses[after] - misses[after - 1]))


def least_cost(trials: Trials) -> float:
    """The detection cost at the best threshold, where 1 is the cost of always saying no."""
    misses, accepted = rates(trials)
    return float(np.min(misses + accepted * (1 - TARGET_PRIOR) / TARGET_PRIOR).clip(max=1.0))


def picture(curves: Mapping[str, Trials], title: str) -> str:
    """DET curves as SVG: misses over false acceptances, both as normal deviates."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE + 150} {SIZE}" font-family="sans-serif" '
        f'font-size="10"><rect width="100%" height="100%" fill="white"/><title>{escape(title)}</title>',
        f'<text x="{LEFT}" y="16" font-size="12">{escape(title)}</text>',
        *_axes(),
    ]
    for number, (name, trials) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        misses, accepted = rates(trials)
        points = dict.fromkeys(f"{_across(a):.1f},{_down(m):.1f}" for m, a in zip(misses, accepted, strict=True))
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        y = TOP + 14 * (number + 1)
        parts.append(f'<text x="{SIZE - 4}" y="{y}" fill="{colour}" font-weight="bold">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _place(share: float) -> float:
    """From 0 at the least of RATES to 1 at the largest."""
    low, high = ndtri(RATES[0]), ndtri(RATES[-1])
    return float((ndtri(np.clip(share, RATES[0], RATES[-1])) - low) / (high - low))


def _across(share: float) -> float:
    return LEFT + _place(share) * (SIZE - LEFT - 16)


def _down(share: float) -> float:
    return SIZE - BOTTOM - _place(share) * (SIZE - TOP - BOTTOM)


def _axes() -> list[str]:
    left, right, top, bottom = _across(0), _across(1), _down(1), _down(0)
    parts = []
    for share in RATES:
        x, y, told = _across(share), _down(share), f"{100 * share:g}"
        parts.append(f'<path d="M{x:.1f} {top:.1f}V{bottom:.1f}M{left:.1f} {y:.1f}H{right:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 12:.1f}" text-anchor="middle">{told}</text>')
        parts.append(f'<text x="{left - 4:.1f}" y="{y + 3:.1f}" text-anchor="end">{told}</text>')
    told = "false acceptances, % (misses up)"
    return [*parts, f'<text x="{(left + right) / 2}" y="{bottom + 28}" text-anchor="middle">{told}</text>']


def interval(trials: Trials, seed: int = 0) -> tuple[float, float]:
    """Between which equal error rates the true one lies (95 %), as far as drawing the people again can tell."""
    rng = np.random.default_rng(seed)
    people, places = np.unique(np.concatenate([trials.claimed, trials.spoke]), return_inverse=True)
    claimed, spoke = np.split(places, 2)
    found = []
    for _ in range(DRAWS):
        drawn = np.bincount(rng.integers(len(people), size=len(people)), minlength=len(people))
        times = np.where(claimed == spoke, drawn[spoke], drawn[claimed] * drawn[spoke])
        again = Trials(*(np.repeat(some, times) for some in (trials.scores, trials.claimed, trials.spoke)))
        if len(again.same) and len(again.different):
            found.append(equal_error_rate(again))
    return float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))


def summary(trials: Trials) -> dict[str, float | int]:
    """All figures of some trials."""
    low, high = interval(trials)
    return {
        "eer": equal_error_rate(trials),
        "eer_low": low,
        "eer_high": high,
        "min_dcf": least_cost(trials),
        "same": len(trials.same),
        "different": len(trials.different),
        "people": len(np.unique(trials.spoke)),
    }
