"""Hard negatives: the network listens to hours without a word, and what it fires at is learnt from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from daemon.detector import smooth
from models import pool
from models.augment import Scenes
from models.networks import Network, posteriors, smoothing_of
from models.notes import write_note
from models.pool import Pool
from models.recipe import Sounds

FIRED = 0.05  # score from which on a scene teaches something
FALSE_ALARM = 0.5  # score that is told as one
APART = 1_000_000  # scene numbers between what is learnt from and what each round listens to


def mine(network: Network, scenes: Scenes, sounds: Sounds, folder: Path, round_: int) -> Pool:
    """Of scenes without a word those in which the network is most sure of one; heard once, then kept in `folder`."""
    path, heard_at, count = folder / f"mined{round_}", folder / f"heard{round_}", sounds.mined
    note = path.with_suffix(".kept")
    if note.exists():
        pool.remove(heard_at)  # which is there where it was killed just after the note
        return Pool(path, int(note.read_text()))
    heard = pool.render(scenes, heard_at, count, first=round_ * APART)
    peaks = np.array([_peak(network, heard.frames[number]) for number in tqdm(range(count), desc="listen", leave=None)])
    loudest = [number for number in np.argsort(-peaks)[: sounds.kept] if peaks[number] >= FIRED]
    kept = Pool(path, max(1, len(loudest)))
    kept.frames[: len(loudest)], kept.targets[: len(loudest)] = heard.take(loudest)
    write_note(str(len(loudest)), note)
    pool.remove(heard_at)
    alarms = int((peaks >= FALSE_ALARM).sum())
    tqdm.write(f"round {round_}: {alarms} of {count} scenes without a word fire at {FALSE_ALARM}")
    return Pool(path, len(loudest))


def _peak(network: Network, frames: NDArray[np.float16]) -> float:
    return float(smooth(posteriors(network, frames.astype(np.float32)), smoothing_of(network)).max())
