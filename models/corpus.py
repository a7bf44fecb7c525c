"""Recordings with a manifest: what there is, who speaks, where the word ends, and what may go into a shipped model."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from daemon.features import SAMPLE_RATE

MANIFEST = "manifest.csv"
MAX_SECONDS = 600
SLACK_S = 0.1  # by which speech may end after the sound, and a sound be longer or shorter than its row says
FULL_SCALE = 32768.0
MADE = "synthetic"  # the licence of what a synthesiser said
NEAR = "confusable:"  # begins the label of what is nearly a word
HEARD_KINDS = {"wakeword", "speech", "speaker", "noise"}


class CorpusError(ValueError):
    """The manifest or a recording in it cannot be used."""


@dataclass(frozen=True)
class Recording:
    """One row of the manifest."""

    path: Path
    kind: str  # wakeword, speech, speaker, noise, rir
    split: str  # train or dev; no speaker is in both
    source: str
    label: str  # the word said, or the source's own label
    speaker: str
    duration_s: float
    start_s: float  # where speech starts and ends, by energy; the whole recording where the manifest does not say
    end_s: float
    licence: str
    note: str
    timing: str = ""  # when which phoneme ends, as the manifest has it, where a synthesiser told

    @property
    def share_alike(self) -> bool:
        """Whether the licence may reach into whatever is trained on it."""
        return "-SA" in self.licence.upper()

    @property
    def made(self) -> bool:
        """Whether a synthesiser said it."""
        return self.licence == MADE

    @property
    def near(self) -> bool:
        """Whether it is nearly a word, and was made for that or mistaken for one."""
        return self.label.startswith(NEAR)

    @property
    def sex(self) -> str:
        """Of the speaker, where the manifest says it; else an empty string."""
        return next((part.removeprefix("gender=") for part in self.note.split(";") if part.startswith("gender=")), "")

    @property
    def text(self) -> str:
        """What is said in it, in small letters, where the manifest says it; else an empty string."""
        return next((part.removeprefix("text=") for part in self.note.split(";") if part.startswith("text=")), "")

    @property
    def mentions(self) -> str:
        """The word that is said somewhere in it; else an empty string."""
        return "computer" if "has_computer=1" in self.note else ""

    def says(self, word: str) -> bool:
        """Whether it is a take of the word."""
        return self.kind == "wakeword" and self.label == word

    def may_say(self, word: str) -> bool:
        """Whether the word may be said in it, so that it is no place to look for false alarms."""
        return self.says(word) or self.mentions == word or f" {word.replace('_', ' ')} " in f" {self.text} "


def read_manifest(folder: Path) -> list[Recording]:
    """All rows of `manifest.csv` in a folder; `CorpusError` names the row that cannot be used."""
    path = folder / MANIFEST
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets begin it with a mark
            return [_recording(folder, row, line) for line, row in enumerate(csv.DictReader(file, strict=True), 2)]
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"cannot read {path}: it is not UTF-8 text") from error
    except csv.Error as error:
        raise CorpusError(f"cannot read {path}: {error}; is there a quotation mark too many?") from error


def _recording(folder: Path, row: dict[str, str], line: int) -> Recording:
    try:
        if short := [name for name, value in row.items() if value is None]:
            raise KeyError(short[0])
        duration = float(row["duration_s"])
        if duration > MAX_SECONDS:
            raise ValueError(f"duration of {duration:g} s: at most {MAX_SECONDS} s; cut it into shorter files")
        start_s, end_s = float(row["speech_start_s"] or 0), float(row["speech_end_s"] or duration)
        if not 0 <= start_s < end_s <= duration + SLACK_S:
            raise ValueError(f"span from {start_s:g} to {end_s:g} s in {duration:g} s")
        return Recording(
            path=folder / row["file"],
            kind=row["kind"],
            split=row["split"],
            source=row["source"],
            label=row["label"],
            speaker=row["speaker"],
            duration_s=duration,
            start_s=start_s,
            end_s=end_s,
            licence=row["licence"],
            note=row["note"],
            timing=row.get("parts", ""),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CorpusError(f"{folder / MANIFEST}:{line}: bad or missing {error}") from error


def select(recordings: Iterable[Recording], split: str, kinds: set[str], *, shippable: bool) -> list[Recording]:
    """The recordings of some kinds in one split, in manifest order; `shippable` leaves out share-alike ones."""
    return [r for r in recordings if r.split == split and r.kind in kinds and not (shippable and r.share_alike)]


def read_audio(recording: Recording) -> NDArray[np.float32]:
    """The whole recording, (samples,) float32 in +-1, 16 kHz mono."""
    frames = MAX_SECONDS * SAMPLE_RATE
    try:
        audio, rate = soundfile.read(recording.path, frames=frames, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise CorpusError(f"cannot read {recording.path}: {error}") from error
    if rate != SAMPLE_RATE:
        raise CorpusError(f"{recording.path} has {rate} samples per second; the corpus is {SAMPLE_RATE} throughout")
    if not len(audio):
        raise CorpusError(f"{recording.path} holds no sound; take its row out of the manifest")
    if abs(len(audio) / rate - recording.duration_s) > SLACK_S:
        told = f"lasts {len(audio) / rate:.2f} s, and its row in the manifest says {recording.duration_s:g} s"
        raise CorpusError(f"{recording.path} {told}")
    if not np.isfinite(audio).all():
        raise CorpusError(f"{recording.path} holds samples that are not numbers (NaN or infinite)")
    return np.ascontiguousarray(audio.mean(axis=1))


def to_int16(audio: NDArray[np.float32]) -> NDArray[np.int16]:
    """Sound in +-1 as the samples a sound card would hand over; what is beyond is clipped."""
    return np.clip(np.rint(audio * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def to_float(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """The samples of a sound card as sound in +-1."""
    return samples.astype(np.float32) / np.float32(FULL_SCALE)
