"""Scenes, rendered once and kept on disk: what a training draws from, in any order and as often as it likes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from daemon.features import MELS
from models.augment import SCENE_FRAMES, Scenes

BATCH = 32  # scenes between two notes of how far it is
BYTES = SCENE_FRAMES * (2 * MELS + 1)  # of a scene


class _Rendered(Dataset[tuple[NDArray[np.float16], NDArray[np.int8]]]):
    def __init__(self, scenes: Scenes, numbers: range) -> None:
        self.scenes, self.numbers = scenes, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float16], NDArray[np.int8]]:
        return self.scenes[self.numbers[index]]


class Pool:
    """`count` scenes at `path`: frames (count, SCENE_FRAMES, MELS) float16, targets (count, SCENE_FRAMES) int8."""

    def __init__(self, path: Path, count: int) -> None:
        mode = "r+" if path.with_suffix(".frames").exists() else "w+"
        self._path, shape = path, (count, SCENE_FRAMES)
        self.frames = np.memmap(path.with_suffix(".frames"), np.float16, mode, shape=(*shape, MELS))
        self.targets = np.memmap(path.with_suffix(".targets"), np.int8, mode, shape=shape)

    def __len__(self) -> int:
        return len(self.frames)

    def take(self, numbers: Sequence[int]) -> tuple[NDArray[np.float16], NDArray[np.int8]]:
        """Copies of some scenes' frames and targets."""
        return self.frames[numbers], self.targets[numbers]

    def remove(self) -> None:
        """Take the scenes off the disk."""
        for kind in (".frames", ".targets", ".done"):
            self._path.with_suffix(kind).unlink(missing_ok=True)


def render(scenes: Scenes, path: Path, count: int, *, first: int = 0) -> Pool:
    """Scenes `first` to `first + count`, on all cores; goes on where it was killed."""
    pool, note = Pool(path, count), path.with_suffix(".done")
    done = int(note.read_text()) if note.exists() else 0
    rest = _Rendered(scenes, range(first + done, first + count))
    loader = DataLoader(rest, BATCH, num_workers=os.cpu_count() or 1, collate_fn=list)
    with tqdm(initial=done, total=count, unit="scene", desc=path.name) as bar:
        for batch in loader:
            for frames, targets in batch:
                pool.frames[done], pool.targets[done] = frames, targets
                done += 1
            note.write_text(str(done))
            bar.update(len(batch))
    return pool
