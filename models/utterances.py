"""Utterances as a speaker network is trained on them: somebody speaks, in a room and amid noise, for some seconds.

Utterance `index` of a seed is always the same sound, whichever process makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from daemon.features import HOP, MELS, SAMPLE_RATE, WINDOW, LogMel
from models import noise
from models.augment import level, surround
from models.corpus import CorpusError, read_audio, read_manifest, select, to_float, to_int16
from models.notes import write_note
from models.rooms import Rooms, gather_rooms
from models.talkers import Talker

Audio = NDArray[np.float32]

FRAMES = 380
SAMPLES = (FRAMES - 1) * HOP + WINDOW
LEAD_S = (0.3, 1.0)  # before somebody begins to speak
PAUSE_S = (0.05, 0.4)
ALONE_SHARE = 0.4  # of the utterances, of one recording, like a wake word and nothing after it
BATCH = 64  # utterances between two notes of how far it is
FILES, NOTE = (".frames", ".spans"), ".done"


@dataclass(frozen=True)
class Around:
    """What utterances are put into."""

    rooms: Rooms
    sources: noise.Sources


def around(corpora: Sequence[Path], rooms: int, seed: int) -> Around:
    """The noise, the other voices and the rooms of some corpora's train splits; `CorpusError` without any voice."""
    found = [recording for folder in corpora for recording in read_manifest(folder)]
    noises, measured, voices = (
        [read_audio(r) for r in select(found, "train", kinds, shippable=True)]
        for kinds in ({"noise"}, {"rir"}, {"speech", "speaker"})
    )
    if not voices:
        raise CorpusError("no recording of the train split is speech; babble is made of it")
    return Around(gather_rooms(measured, rooms, seed), noise.Sources(tuple(noises), tuple(voices)))


class Utterances(Dataset[tuple[NDArray[np.float16], NDArray[np.int32]]]):
    """Number `index`: (FRAMES, MELS) float16, and (3,) who speaks, the first frame of speech and the one past it."""

    def __init__(self, talkers: Sequence[Talker], around: Around, seed: int, numbers: range) -> None:
        self.talkers, self.around, self.seed, self.numbers = talkers, around, seed, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
        rng = np.random.default_rng((self.seed, self.numbers[index]))
        who = int(rng.integers(len(self.talkers)))
        sound = np.zeros(SAMPLES, np.float32)
        first = round(rng.uniform(*LEAD_S) * SAMPLE_RATE)
        past = first
        for said in _spoken(self.talkers[who], rng):
            heard = level(said)[: SAMPLES - past]
            sound[past : past + len(heard)] += heard
            past += len(heard)
            if past >= SAMPLES:
                break
        sound = surround(sound, self.around.rooms, self.around.sources, rng)
        frames = LogMel().push(to_int16(sound)).astype(np.float16)
        return frames, np.array([who, first // HOP, min(FRAMES, past // HOP)], np.int32)


def _spoken(talker: Talker, rng: np.random.Generator) -> list[Audio]:
    """One recording of a person from a random point on, or several with pauses between them."""
    order = rng.permutation(len(talker.said))[: 1 if rng.random() < ALONE_SHARE else None]
    pieces: list[Audio] = []
    length = 0
    for index in order:
        said = to_float(talker.said[int(index)])
        if len(said) > SAMPLES:
            start = int(rng.integers(len(said) - SAMPLES))
            said = said[start : start + SAMPLES]
        pieces += [said, np.zeros(round(rng.uniform(*PAUSE_S) * SAMPLE_RATE), np.float32)]
        length += sum(map(len, pieces[-2:]))
        if length >= SAMPLES:
            break
    return pieces


class Heard:
    """`count` utterances at `path`, rendered once: frames (count, FRAMES, MELS) float16, spans (count, 3) int32."""

    def __init__(self, path: Path, count: int) -> None:
        self.note = path.with_suffix(NOTE)
        modes = ["r+" if path.with_suffix(kind).exists() else "w+" for kind in FILES]
        self.frames = np.memmap(path.with_suffix(FILES[0]), np.float16, modes[0], shape=(count, FRAMES, MELS))
        self.spans = np.memmap(path.with_suffix(FILES[1]), np.int32, modes[1], shape=(count, 3))

    def render(self, talkers: Sequence[Talker], around: Around, seed: int, *, processes: int) -> None:
        """Make what is not there yet; goes on where it was killed."""
        done = int(self.note.read_text()) if self.note.exists() else 0
        rest = Utterances(talkers, around, seed, range(done, len(self.spans)))
        loader = DataLoader(rest, BATCH, num_workers=processes, collate_fn=list)
        with tqdm(initial=done, total=len(self.spans), unit="utterance", desc="utterances", leave=None) as bar:
            for batch in loader:
                for frames, span in batch:
                    self.frames[done], self.spans[done] = frames, span
                    done += 1
                write_note(str(done), self.note)
                bar.update(len(batch))
