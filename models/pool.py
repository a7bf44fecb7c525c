"""Scenes, rendered once and kept on disk: what a training draws from, in any order and as often as it likes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from daemon.features import MELS
from models.augment import SCENE_FRAMES, Scenes
from models.notes import write_note
from models.recipe import Sounds

BATCH = 32  # scenes between two notes of how far it is
BYTES = SCENE_FRAMES * (2 * MELS + 1)  # of a scene
SCENE_S = 0.04  # that one core takes to make one
BLOCK = 512  # bytes, by which `stat` counts
FILES, NOTE = (".frames", ".targets"), ".done"


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
        frames, targets = (path.with_suffix(kind) for kind in FILES)
        shape = count, SCENE_FRAMES
        self.frames = np.memmap(frames, np.float16, _mode(frames), shape=(*shape, MELS))
        self.targets = np.memmap(targets, np.int8, _mode(targets), shape=shape)
        for array, file in ((self.frames, frames), (self.targets, targets)):
            if array.nbytes:
                _fill(file, array.nbytes)

    def __len__(self) -> int:
        return len(self.frames)

    def take(self, numbers: Sequence[int]) -> tuple[NDArray[np.float16], NDArray[np.int8]]:
        """Copies of some scenes' frames and targets."""
        return self.frames[numbers], self.targets[numbers]


def _mode(path: Path) -> Literal["r+", "w+"]:
    return "r+" if path.exists() else "w+"


def _fill(path: Path, size: int) -> None:
    """Take all of a file's place on the disk now: where a mapped file finds no more, the process is killed."""
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def rendered(path: Path) -> int:
    """How many scenes of the pool at `path` are there already."""
    note = path.with_suffix(NOTE)
    whole = note.exists() and all(path.with_suffix(kind).exists() for kind in FILES)
    return int(note.read_text()) if whole else 0


def remove(path: Path) -> None:
    """Take the pool at `path`, if there is one, off the disk; the note goes first, which says what the others hold."""
    for kind in (NOTE, *FILES):
        path.with_suffix(kind).unlink(missing_ok=True)


def scenes_of(made: Sounds, rounds: int) -> int:
    """How many scenes a training makes, those that are only listened to among them."""
    return made.scenes + made.mined * (rounds - 1)


def bytes_of(made: Sounds, rounds: int) -> int:
    """What the scenes of a training come to, at most, on the disk."""
    later = (rounds - 1) * (made.mined > 0)
    return BYTES * (made.scenes + made.mined * (later > 0) + min(made.kept, made.mined) * later)


def on_disk(paths: Iterable[Path]) -> int:
    """What some files take on the disk."""
    return sum(path.stat().st_blocks * BLOCK for path in paths if path.is_file())


def render(scenes: Scenes, path: Path, count: int, *, first: int = 0) -> Pool:
    """Scenes `first` to `first + count`, on all cores; goes on where it was killed."""
    done = rendered(path)
    pool = Pool(path, count)
    rest = _Rendered(scenes, range(first + done, first + count))
    loader = DataLoader(rest, BATCH, num_workers=os.cpu_count() or 1, collate_fn=list)
    with tqdm(initial=done, total=count, unit="scene", desc=path.name, leave=None) as bar:
        for batch in loader:
            for frames, targets in batch:
                pool.frames[done], pool.targets[done] = frames, targets
                done += 1
            write_note(str(done), path.with_suffix(NOTE))
            bar.update(len(batch))
    return pool
