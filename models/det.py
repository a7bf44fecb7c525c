"""Misses against false alarms per hour as an SVG picture: one frame per word, one line per condition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from xml.sax.saxutils import escape

from models.hearing import Tried

WIDTH, HEIGHT = 300, 220  # of one word's frame
LEFT, TOP, RIGHT, BOTTOM = 48, 26, 12, 34  # around its axes
COLUMNS = 3
LEGEND = 30
COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8e5ea2", "#b8860b", "#444444", "#0aa", "#a0a")
ALARMS = (0.1, 100.0)  # per hour, logarithmic; fewer lie on the left edge
MISSES = (0.0, 0.5)
GRID_ALARMS = (0.1, 0.5, 1.0, 10.0, 100.0)
GRID_MISSES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def picture(results: Sequence[Tried], title: str) -> str:
    """The whole picture as text."""
    ordered = sorted(results, key=lambda tried: tried.word)
    words = [(word, list(group)) for word, group in groupby(ordered, key=lambda tried: tried.word)]
    names = list(dict.fromkeys(tried.condition for tried in results))
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}
    columns = min(COLUMNS, len(words))
    width, height = columns * WIDTH, LEGEND + -(-len(words) // columns) * HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="10"><rect width="100%" height="100%" fill="white"/>',
        f"<title>{escape(title)}</title>",
        *_legend(colours),
    ]
    for number, (word, tries) in enumerate(words):
        x, y = number % columns * WIDTH, LEGEND + number // columns * HEIGHT
        parts += [f'<g transform="translate({x} {y})">', *_axes(word), *_lines(tries, colours), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _legend(colours: dict[str, str]) -> list[str]:
    return [
        f'<text x="{LEFT + 110 * index}" y="18" fill="{colour}" font-weight="bold">{escape(name)}</text>'
        for index, (name, colour) in enumerate(colours.items())
    ]


def _across(per_hour: float) -> float:
    low, high = (math.log10(end) for end in ALARMS)
    share = (math.log10(min(max(per_hour, ALARMS[0]), ALARMS[1])) - low) / (high - low)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _down(misses: float) -> float:
    share = (min(misses, MISSES[1]) - MISSES[0]) / (MISSES[1] - MISSES[0])
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _axes(word: str) -> list[str]:
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM
    parts = [f'<text x="{(left + right) / 2}" y="{top - 8}" text-anchor="middle" font-size="12">{escape(word)}</text>']
    for alarms in GRID_ALARMS:
        x = _across(alarms)
        parts.append(f'<path d="M{x:.1f} {top}V{bottom}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 12}" text-anchor="middle">{alarms:g}</text>')
    for misses in GRID_MISSES:
        y = _down(misses)
        parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 4}" y="{y + 3:.1f}" text-anchor="end">{100 * misses:.0f} %</text>')
    middle = (left + right) / 2
    parts.append(f'<text x="{middle}" y="{bottom + 26}" text-anchor="middle">false alarms per hour (misses up)</text>')
    return parts


def _lines(tries: Sequence[Tried], colours: dict[str, str]) -> list[str]:
    parts = []
    for tried in tries:
        shares = tried.misses / max(1, len(tried.positives))
        rates = tried.alarms / tried.hours
        told = range(tried.at_alarms(0) + 1)  # higher thresholds only miss more
        points = dict.fromkeys(f"{_across(rates[index]):.1f},{_down(shares[index]):.1f}" for index in told)
        stroke = f'fill="none" stroke="{colours[tried.condition]}" stroke-width="1.5"'
        parts.append(f'<polyline points="{" ".join(points)}" {stroke}/>')
    return parts
