"""What `wakepulse bench` found, as a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pulse.explain import table


@dataclass(frozen=True)
class Column:
    """Of the table: what it says on top, which key of a row it shows, and how."""

    head: str
    key: str
    form: str = ""

    def shown(self, value: float | str | None) -> str:
        """One cell."""
        return "-" if value is None else format(value, self.form)


COLUMNS = (
    Column("", "name"),
    Column("median µs", "median_us", "8.1f"),
    Column("p99 µs", "p99_us", "8.1f"),
    Column("ratio", "ratio", "5.2f"),
    Column("instructions", "instructions", "12.0f"),
    Column("set-up ms", "open_ms", "8.1f"),
    Column("memory MB", "open_mb", "8.1f"),
    Column("growth kB", "growth_kb", "8.0f"),
    Column("difference", "difference", ".1e"),
)


def report(found: Mapping[str, Any]) -> str:
    """The table, and below it what else is to be known."""
    columns = [column for column in COLUMNS if any(row[column.key] is not None for row in found["rows"])]
    rows = [tuple(column.shown(row[column.key]) for column in columns) for row in found["rows"]]
    macs, peak, limit = found["macs"], found["peak"], found["limit_us"]
    lines = [
        f"{found['machine']} {found['processor']}, Python {found['python']}, numpy {found['numpy']}",
        f"{found['model']}: {found['count']} pulses of {found['pulse']} items, {macs} MACs each, one thread",
        "",
        table([tuple(column.head for column in columns), *rows]),
        "",
        f"limit: {macs} MACs are {limit:.1f} µs at {peak['macs_per_s'] / 1e9:.0f} G/s, {peak['of']};"
        f" the fastest of ours takes {found['limit_ratio']:.2f} times that",
        "set-up and memory: from the file to the first pulse, import included, beyond Python with numpy",
        f"growth: of resident memory in {found['count']} more pulses",
        f"difference: the largest from {found['compared_with']}",
    ]
    if found["resident_mb"] is not None:
        lines.append(f"resident memory of `wakepulse run`: {found['resident_mb']:.0f} MB")
    if found["instructions_refused"]:
        lines.append(f"instructions are not counted: {found['instructions_refused']}")
    return "\n".join([*lines, *(f"left out: {name}: {why}" for name, why in found["left_out"].items())])
