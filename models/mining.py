"""Hard negatives: the network listens to hours without a word, and what it fires at is learnt from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from daemon.detector import smooth
from models import pool
from models.augment import Hearing, Material, Scenes
from models.evaluate import SMOOTHING
from models.pool import Pool
from models.recipe import Recipe
from models.wakeword import WakeWord

FIRED = 0.05  # score from which on a scene teaches something
FALSE_ALARM = 0.5  # score that is told as one
APART = 1_000_000  # scene numbers between what is learnt from and what each round listens to


def posteriors(network: WakeWord, frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Posteriors of all words, (frames, words), 0 until the receptive field is full; in bounded stretches."""
    stretch, field = 60_000, network.receptive_field
    result = np.zeros((len(frames), network.classes - 1), np.float32)
    with torch.inference_mode():
        for start in range(0, len(frames) - field + 1, stretch):
            piece = torch.from_numpy(frames[start : start + stretch + field - 1])[None]
            values = network.products(piece).softmax(-1)[0, :, 1:].numpy()
            result[start + field - 1 : start + field - 1 + len(values)] = values
    return result


def mine(network: WakeWord, material: Material, made: Recipe, folder: Path, round_: int) -> Pool:
    """The scenes without a word in which the network is most sure of one; listened to once, then kept in `folder`."""
    path, count = folder / f"mined{round_}", made.sounds.mined
    note = path.with_suffix(".kept")
    if note.exists():
        return Pool(path, int(note.read_text()))
    hearing = Hearing(made.window_function, made.sounds.made, words=False)
    heard = pool.render(Scenes(material, hearing, made.seed), folder / "heard", count, first=round_ * APART)
    peaks = np.array([_peak(network, heard.frames[number]) for number in tqdm(range(count), desc="listen")])
    loudest = [number for number in np.argsort(-peaks)[: made.sounds.kept] if peaks[number] >= FIRED]
    kept = Pool(path, max(1, len(loudest)))
    kept.frames[: len(loudest)], kept.targets[: len(loudest)] = heard.take(loudest)
    note.write_text(str(len(loudest)))
    heard.remove()
    alarms = int((peaks >= FALSE_ALARM).sum())
    tqdm.write(f"round {round_}: {alarms} of {count} scenes without a word fire at {FALSE_ALARM}")
    return Pool(path, len(loudest))


def _peak(network: WakeWord, frames: NDArray[np.float16]) -> float:
    return float(smooth(posteriors(network, frames.astype(np.float32)), SMOOTHING).max())
