"""What a network costs a satellite: multiplications, size and time, in float32 and in integers."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import pulse
from models import calibration
from models.export import PULSE, export, noise
from models.wakeword import WakeWord
from pulse.explain import table

PULSES = 2000  # that are timed, in turns
HEAD = ("network", "multiplications per frame", "plan", "per pulse", "int8 plan", "per pulse")


def report(networks: Mapping[str, WakeWord]) -> str:
    """A table with a row for each network, by its name; what is timed are pulses of noise, on one core."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = [_plans(network, Path(folder) / f"{at}.onnx") for at, network in enumerate(networks.values())]
        times = iter(_times_us([pulse.Plan.load(path) for pair in pairs for path in pair]))
        rows = []
        for (name, network), pair in zip(networks.items(), pairs, strict=True):
            sizes = [cell for path in pair for cell in (f"{path.stat().st_size / 1e3:.0f} kB", f"{next(times):.1f} µs")]
            rows.append((name, f"{network.size.multiplications(network.classes):,}", *sizes))
    return table([HEAD, *rows])


def _plans(network: WakeWord, path: Path) -> tuple[Path, Path]:
    """The plan files of a network in float32 and in integers."""
    export(network, path, {})
    heard, whole = path.with_suffix(".npz"), path.with_suffix(".int8.plan")
    calibration.write(noise(network.receptive_field), heard)
    pulse.compile(path, pulse=PULSE, int8=heard).save(whole)
    return path.with_suffix(".plan"), whole


def _times_us(plans: list[pulse.Plan]) -> list[float]:
    """The median time of a pulse of each plan, in turns."""
    states = [pulse.State(plan) for plan in plans]
    frames = noise(0)[:, :PULSE]
    spent = np.zeros((PULSES, len(plans)))
    for row in spent:
        for at, state in enumerate(states):
            start = time.perf_counter()
            state.run(frames)
            row[at] = time.perf_counter() - start
    return [float(median) * 1e6 for median in np.median(spent, axis=0)]
