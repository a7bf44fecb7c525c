"""The quality gate: a model takes the place of another one only if it hears better."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from daemon.model import WakeModel
from models import hearing
from models.conditions import CONDITIONS, Session, Surroundings
from models.figures import ALLOWED

JUDGED = CONDITIONS[:2]  # clean, and noise at 10 dB


class GateError(RuntimeError):
    """The new model is not better than the one that it would replace."""


@contextmanager
def opened(path: Path, heard: tuple[Sequence[Session], Surroundings], *, force: bool) -> Iterator[Path]:
    """Where to write what comes to `path`, .onnx with a .plan or .plan alone, if it is better than what is there."""
    with tempfile.TemporaryDirectory(dir=path.absolute().parent) as folder:
        new = Path(folder) / path.name
        yield new
        if path.with_suffix(".plan").exists() and not force:
            _compare(new.with_suffix(".plan"), path.with_suffix(".plan"), heard)
        for file in Path(folder).iterdir():
            file.replace(path.with_name(file.name))


def _compare(new: Path, old: Path, heard: tuple[Sequence[Session], Surroundings]) -> None:
    if sorted(WakeModel.load(new).words) != sorted(WakeModel.load(old).words):
        raise GateError(f"{old} knows other words; export to another place, or with --force")
    before, after = (misses(plan, heard) for plan in (old, new))
    if after >= before:
        told = f"the new model misses {100 * after:.1f} % of the words on dev and {old} {100 * before:.1f} %"
        raise GateError(f"{told}: it stays; --force exports all the same")


def misses(plan: Path, heard: tuple[Sequence[Session], Surroundings]) -> float:
    """Mean share of words missed, clean and in noise, at thresholds that allow ALLOWED false alarms in clean hours."""
    results = hearing.listen(plan, *heard, JUDGED, processes=min(len(heard[0]), os.cpu_count() or 1))
    clean = {tried.word: tried.at_alarms(ALLOWED) for tried in results if tried.condition == JUDGED[0].name}
    return float(np.mean([tried.misses[clean[tried.word]] / len(tried.positives) for tried in results]))
