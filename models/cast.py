"""Recorded takes of a word in the voices of further people, made once and kept on disk."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from daemon.features import SAMPLE_RATE
from models.augment import Clip, take
from models.corpus import Recording
from models.pool import write_note
from models.variety import vary


@dataclass(frozen=True)
class Cast:
    """`count` further voices of each take, in `folder`; the same for the same recording and seed."""

    folder: Path
    count: int
    seed: int

    def __call__(self, recordings: Sequence[Recording]) -> list[list[Clip]]:
        """A list of clips for each recording."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not recordings or not self.count:
            return [[] for _ in recordings]
        with get_context("fork").Pool(os.cpu_count()) as pool:
            made = pool.imap(self._speak, recordings, chunksize=4)
            return list(tqdm(made, total=len(recordings), unit="take", desc="voices"))

    def _speak(self, recording: Recording) -> list[Clip]:
        name = zlib.crc32("/".join(recording.path.parts[-3:]).encode())
        return [self._voice(recording, self.folder / f"{name:08x}-{number}.flac") for number in range(self.count)]

    def _voice(self, recording: Recording, path: Path) -> Clip:
        note = path.with_suffix(".json")
        if not note.exists():
            clip = take(recording)
            audio, stretch = vary(clip.audio, np.random.default_rng((self.seed, *path.name.encode())))
            soundfile.write(path, np.clip(audio, -1, 1), SAMPLE_RATE)
            write_note(json.dumps([round(clip.start * stretch), round(clip.end * stretch)]), note)
        start, end = json.loads(note.read_text())
        return Clip(soundfile.read(path, dtype="float32")[0], start, end)
