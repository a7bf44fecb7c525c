"""Recorded takes of a word, and other speech, in the voices of further people, made once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile
from numpy.typing import NDArray
from tqdm import tqdm

from daemon.features import SAMPLE_RATE
from models.augment import Clip, take
from models.corpus import Recording, read_audio
from models.notes import write_note
from models.variety import vary

T = TypeVar("T")

STRETCH_S = 10  # of other speech, said by one of the further people


@dataclass(frozen=True)
class Cast:
    """`count` further voices of each take, in `folder`; the same for the same recording and seed."""

    folder: Path
    count: int
    seed: int

    def __call__(self, recordings: Sequence[Recording]) -> list[list[Clip]]:
        """A list of clips for each recording of a word."""
        return self._all(self._speak, recordings) if self.count else [[] for _ in recordings]

    def others(self, recordings: Sequence[Recording]) -> list[NDArray[np.float32]]:
        """Other speech, of each recording once; none where no further voices are wanted."""
        return self._all(self._other, recordings) if self.count else []

    def _all(self, speak: Callable[[Recording], T], recordings: Sequence[Recording]) -> list[T]:
        self.folder.mkdir(parents=True, exist_ok=True)
        different = list(dict.fromkeys(recordings))  # one that is given twice must not be written by two processes
        with get_context("fork").Pool(os.cpu_count()) as pool:
            heard = pool.imap(speak, different, chunksize=4)
            bar = tqdm(heard, total=len(different), unit="recording", desc="voices", disable=not different)
            made = dict(zip(different, bar, strict=True))
        return [made[recording] for recording in recordings]

    def _speak(self, recording: Recording) -> list[Clip]:
        return [self._voice(recording, str(number)) for number in range(self.count)]

    def _path(self, recording: Recording, which: str) -> Path:
        """By the sound too, as files of several corpora may have the same name."""
        sound = hashlib.sha256(recording.path.read_bytes()).hexdigest()[:16]
        return self.folder / f"{_name(recording)}-{sound}-{which}.flac"

    def _chance(self, recording: Recording, which: str) -> np.random.Generator:
        return np.random.default_rng((self.seed, *f"{_name(recording)}-{which}.flac".encode()))

    def _other(self, recording: Recording) -> NDArray[np.float32]:
        path = self._path(recording, "other")
        if not path.exists():
            audio, length = read_audio(recording), STRETCH_S * SAMPLE_RATE
            rng = self._chance(recording, "other")
            said = [vary(audio[start : start + length], rng)[0] for start in range(0, len(audio), length)]
            draft = path.with_suffix(".new.flac")
            soundfile.write(draft, np.clip(np.concatenate(said), -1, 1), SAMPLE_RATE)
            draft.replace(path)
        sound: NDArray[np.float32] = soundfile.read(path, dtype="float32")[0]
        return sound

    def _voice(self, recording: Recording, which: str) -> Clip:
        path = self._path(recording, which)
        note = path.with_suffix(".json")
        if not note.exists():
            clip = take(recording)
            audio, stretch = vary(clip.audio, self._chance(recording, which))
            soundfile.write(path, np.clip(audio, -1, 1), SAMPLE_RATE)
            write_note(json.dumps([round(clip.start * stretch), round(clip.end * stretch)]), note)
        start, end = json.loads(note.read_text())
        return Clip(soundfile.read(path, dtype="float32")[0], start, end)


def _name(recording: Recording) -> str:
    return f"{zlib.crc32('/'.join(recording.path.parts[-3:]).encode()):08x}"
