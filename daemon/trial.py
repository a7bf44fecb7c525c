"""One process that opens what is to be measured and times it in turns; `daemon.bench` starts it and reads its report.

It is told what to do by one JSON object on its standard input, and says what it found by one on its standard output.
Until it opens the first, it holds no more than Python and numpy, so that what opening costs can be seen.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.counters import Instructions

TURN = 20  # pulses, of all its streams together, that one row has before the next one has its turn
PEAK_EVERY = 10  # turns
PEAK_SIDE, PEAK_RUNS = 512, 3


def main() -> None:
    """Measure what the standard input says."""
    told = json.load(sys.stdin)
    pulses = np.load(told["pulses"])
    rows = [Row(row, pulses) for row in told["rows"]]
    turns = -(-told["count"] // TURN)
    instructions = Instructions.of_this_process()
    peaks: list[dict[str, float]] = []
    for row in rows:
        row.prepare(turns, pulses, instructions)
    for turn in range(turns):
        if told["peak"] and turn % PEAK_EVERY == 0:
            peaks.append({name: measure() for name, measure in PEAKS.items()})
        for row in rows:
            row.take_turn(turn, pulses, instructions)
    peak = {name: max(found[name] for found in peaks) for name in (PEAKS if peaks else ())}
    found = {"rows": [row.report() for row in rows], "peak": peak, "instructions_refused": instructions.why_not}
    json.dump(found, sys.stdout)


class Row:
    """Something that takes pulses, what it took to open it, and what every pulse took."""

    def __init__(self, told: Mapping[str, Any], pulses: NDArray[np.float32]) -> None:
        opener: Callable[..., Callable[[NDArray[np.float32]], Any]]
        opener = getattr(import_module(told["module"]), told["opener"])
        held, start = resident_kb(), perf_counter()
        self._run = opener(*told["arguments"])
        self._run(pulses[0])
        self._open_ms = 1000 * (perf_counter() - start)
        self._open_kb = resident_kb() - held
        self._turn = -(-TURN // told["streams"])
        self._instructions = 0
        if told["outputs"]:
            self._run = opener(*told["arguments"])  # the first pulse again
            np.save(told["outputs"], np.stack([np.array(self._run(pulse)) for pulse in pulses]))

    def prepare(self, turns: int, pulses: NDArray[np.float32], instructions: Instructions) -> None:
        """Be ready for so many turns: from now on, whatever memory it takes, it keeps."""
        self._times = np.ones((turns, self._turn), np.int64)  # not zeros, of which Linux would keep no memory yet
        self.take_turn(0, pulses, instructions)
        self._instructions, self._held_kb = 0, resident_kb()

    def take_turn(self, turn: int, pulses: NDArray[np.float32], instructions: Instructions) -> None:
        """Some pulses; the one before them finds other rows' numbers in the caches, and is not counted."""
        run, times, many = self._run, self._times[turn], len(pulses)
        run(pulses[turn % many])
        counted = instructions.read()
        for index in range(self._turn):
            pulse = pulses[(turn * self._turn + index) % many]
            start = perf_counter_ns()
            run(pulse)
            times[index] = perf_counter_ns() - start
        self._instructions += instructions.read() - counted

    def report(self) -> dict[str, float | None]:
        """What was found; memory and growth mean something where this is the only row."""
        growth_kb = resident_kb() - self._held_kb
        median, p99 = np.percentile(self._times, (50, 99)) / 1000
        return {
            "median_us": float(median),
            "p99_us": float(p99),
            "instructions": self._instructions / self._times.size or None,
            "open_ms": self._open_ms,
            "open_mb": self._open_kb / 1024,
            "growth_kb": growth_kb,
        }


def resident_kb() -> int:
    """Memory of this process that is there, exactly."""
    found = re.search(r"^Rss:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def sgemm() -> float:
    """Multiply-adds per second of a product of matrices by numpy."""
    side = np.ones((PEAK_SIDE, PEAK_SIDE), np.float32)
    product, seconds = np.empty_like(side), []
    for _ in range(PEAK_RUNS):
        start = perf_counter()
        np.matmul(side, side, out=product)
        seconds.append(perf_counter() - start)
    return float(PEAK_SIDE**3 / min(seconds))


def loop() -> float:
    """Multiply-adds per second of a loop in C that does nothing else; 0 where there is no C."""
    from pulse import native  # not above: it would be there before the first row is opened

    return native.peak() if native.BUILT else 0.0


# What comes near the peak of this core; the larger counts.
PEAKS: Mapping[str, Callable[[], float]] = {
    f"numpy's product of {PEAK_SIDE}x{PEAK_SIDE} matrices": sgemm,
    "a loop of them in C": loop,
}

if __name__ == "__main__":
    main()
