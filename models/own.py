"""The user's own recordings: takes of a phrase, each found in its file or refused by name and reason, and false wakes.

What comes out is a corpus. Most takes are there to test a network and to set its threshold, a few to learn from; a
false wake is nearly the word, and all of it is learnt from.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from daemon.features import SAMPLE_RATE
from daemon.recording import RecordingError, read
from models.corpus import MANIFEST, NEAR, CorpusError, to_float, to_int16
from models.sections import Audio, Section, background_db, sections

SOUNDS = {".wav", ".flac", ".ogg", ".oga", ".opus"}
OTHER_SOUNDS = {".mp3", ".m4a", ".mp4", ".aac", ".wma", ".aif", ".aiff", ".caf", ".amr", ".3gp", ".webm"}  # are refused
MOST_FILES, MOST_BYTES, MOST_S = 1_000, 200_000_000, 600.0
OWNER = "owner"  # who speaks in files that lie in no folder of their own
LICENCE, SOURCE, FALSE_WAKE = "own", "own", f"{NEAR}false wake"

SHORTEST_S, LONGEST_S = 0.25, 3.0  # of a word or phrase
QUIET_DB = -55.0  # of full scale
LEAST_SNR_DB = 10.0
FULL, CLIPPED_SHARE = 0.985, 0.01  # of the largest sample; share of those that reach it, where it is cut off there
LOUD = 0.1  # of full scale: what peaks below was not cut off
OUTLIER, LEAST_TO_COMPARE = 1.8, 5  # times longer or shorter than the median; takes that have a median to speak of
ALIKE_DB = 12.0  # below the loudest section of a file, another one is no take
AROUND_S = 0.5  # of the recording kept before and behind a word
LATE_S = 0.5  # between a word's end and the firing that is meant by it
LEARN_EVERY, LEARN_FROM = 5, 2  # of a speaker's takes one in five is learnt from, and none of the first two
PIECE_S, STEP_S = 8.0, 6.0  # in which a long false wake is learnt from

Fires = Callable[[NDArray[np.int16]], Sequence[int]]  # samples, and where a first model hears the word end in them


def deaf(samples: NDArray[np.int16]) -> Sequence[int]:
    """Stands for a first model where there is none."""
    return ()


@dataclass(frozen=True)
class Sound:
    """A file of the user's; `fault` says why it cannot be used, or is empty."""

    path: Path
    speaker: str
    samples: NDArray[np.int16]
    fault: str = ""


@dataclass(frozen=True)
class Take:
    """A word that was said once, by seconds of its file."""

    sound: Sound
    label: str
    start_s: float
    end_s: float
    fault: str = ""

    def __str__(self) -> str:
        return f"{self.sound.path} at {self.start_s:.1f} s"


@dataclass(frozen=True)
class Clip:
    """One file of the corpus with what its manifest says of it."""

    kind: str
    split: str
    label: str
    speaker: str
    audio: Audio
    start_s: float
    end_s: float
    origin: str


@dataclass(frozen=True)
class Given:
    """All that a user has recorded."""

    takes: tuple[Take, ...]
    false_wakes: tuple[Sound, ...]
    refused: tuple[str, ...]  # a line each

    def __str__(self) -> str:
        told = [*self.refused, f"{len(self.takes)} of your takes are used, and {len(self.false_wakes)} false wakes"]
        return "\n".join(told)


def gather(folders: dict[str, Path], false_wakes: Path | None, fires: dict[str, Fires]) -> Given:
    """The takes in a folder for each label, and the false wakes; `CorpusError` where none can be used."""
    seen: dict[str, Path] = {}
    refused, takes = [], []
    for label, folder in folders.items():
        sounds = [_once(sound, seen) for sound in _sounds(folder)]
        found = [take for sound in sounds if not sound.fault for take in _takes(sound, label, fires.get(label, deaf))]
        found = _outliers(found)
        refused += [f"{sound.path}: {sound.fault}" for sound in sounds if sound.fault]
        refused += [f"{take}: {take.fault}" for take in found if take.fault]
        takes += [take for take in found if not take.fault]
        if not any(take.label == label for take in takes):
            raise CorpusError(_plain("\n".join([*refused, f"no recording in {folder} can be used"])))
    wrong = [_once(_audible(sound), seen) for sound in (_sounds(false_wakes) if false_wakes else ())]
    refused += [f"{sound.path}: {sound.fault}" for sound in wrong if sound.fault]
    return Given(tuple(takes), tuple(sound for sound in wrong if not sound.fault), tuple(map(_plain, refused)))


def contents(folder: Path) -> list[tuple[str, str]]:
    """Of each sound file in a folder its name there and a hash of what it holds, or nothing if it cannot be used."""
    return [(str(path.relative_to(folder)), _content(path)) for path in _files(folder)]


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() if path.stat().st_size <= MOST_BYTES else ""
    except OSError:
        return ""


def _sounds(folder: Path) -> Iterator[Sound]:
    for path in _files(folder):
        yield _open(path, _plain(path.relative_to(folder).parts[0]) if path.parent != folder else OWNER)


def _files(folder: Path) -> list[Path]:
    """All sound files in a folder and, at any depth, in the folders of speakers in it."""
    if not folder.is_dir():
        raise CorpusError(f"{folder} is no folder of recordings")
    there = (path for path in sorted([*folder.glob("*"), *folder.glob("*/**/*")]) if not _hidden(path, folder))
    paths = [path for path in there if path.suffix.lower() in SOUNDS | OTHER_SOUNDS]
    if len(paths) > MOST_FILES:
        raise CorpusError(f"{folder} holds {len(paths)} recordings; {MOST_FILES} are enough")
    if not paths:
        raise CorpusError(f"{folder} holds no recordings: WAV, FLAC or OGG files, or a folder of them for each speaker")
    return paths


def _hidden(path: Path, folder: Path) -> bool:
    """Whether it, or a folder that it lies in, is what systems keep for themselves: waste baskets, notes on files."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _plain(text: str) -> str:
    """Text that holds names of files, as text that can be written, whatever bytes they are of."""
    return os.fsencode(text).decode(errors="replace")


def _open(path: Path, speaker: str) -> Sound:
    nothing = Sound(path, speaker, np.zeros(0, np.int16))
    try:
        if path.stat().st_size > MOST_BYTES:
            return replace(nothing, fault=f"is larger than {MOST_BYTES // 1_000_000} MB; cut it into shorter files")
        samples = read(path)
    except (RecordingError, OSError) as error:
        return replace(nothing, fault=f"unreadable: {str(error).removeprefix(f'{path} ')}")
    if len(samples) > MOST_S * SAMPLE_RATE:
        return replace(nothing, fault=f"too long: more than {MOST_S / 60:.0f} minutes; cut it into shorter files")
    return Sound(path, speaker, samples)


def _once(sound: Sound, seen: dict[str, Path]) -> Sound:
    if sound.fault:
        return sound
    first = seen.setdefault(hashlib.sha256(sound.samples.tobytes()).hexdigest(), sound.path)
    return sound if first == sound.path else replace(sound, fault=f"the same sound as {first}")


def _audible(sound: Sound) -> Sound:
    if sound.fault or np.abs(sound.samples.astype(np.int32)).max(initial=0) > 10 ** (QUIET_DB / 20) * 2**15:
        return sound
    return replace(sound, fault="silent")


def _takes(sound: Sound, label: str, fires: Fires) -> list[Take]:
    """The words said in a file: where a first model fires, or else the loudest section and those as loud."""
    audio = to_float(sound.samples)
    found = sections(audio)
    if not found:
        return [Take(sound, label, 0, len(audio) / SAMPLE_RATE, _nothing(audio))]
    chosen = _fired(found, fires(sound.samples)) or _loudest(found)
    return [_take(sound, audio, label, section) for section in chosen]


def _nothing(audio: Audio) -> str:
    if not len(audio) or np.abs(audio).max() < 10 ** (QUIET_DB / 20):
        return "silent"
    return "no word found: nothing in it stands out from the background"


def _loudest(found: Sequence[Section]) -> list[Section]:
    loudest = max(section.level_db for section in found)
    return [section for section in found if section.level_db >= loudest - ALIKE_DB]


def _fired(found: Sequence[Section], ends: Sequence[int]) -> list[Section]:
    """The sections in which the word was heard, without what is said long after it."""
    late = round(LATE_S * SAMPLE_RATE)
    chosen: dict[int, Section] = {}
    for end in ends:
        section = next((s for s in found if s.start < end <= s.end + late), None)
        if section and section.start not in chosen:
            past = end if section.end > end + late else section.end
            chosen[section.start] = replace(section, end=past)
    return list(chosen.values())


def _take(sound: Sound, audio: Audio, label: str, section: Section) -> Take:
    start_s, end_s = section.start / SAMPLE_RATE, section.end / SAMPLE_RATE
    fault = _fault(audio[section.start : section.end], section.level_db, background_db(audio))
    return Take(sound, label, start_s, end_s, fault)


def _fault(word: Audio, level_db: float, behind_db: float) -> str:
    seconds, largest = len(word) / SAMPLE_RATE, float(np.abs(word).max())
    share = float(np.mean(np.abs(word) >= FULL * largest))
    if level_db < QUIET_DB:
        return f"too quiet: {level_db:.0f} dB of full scale; speak up or come nearer"
    if level_db - behind_db < LEAST_SNR_DB:
        return f"too noisy: the voice is {level_db - behind_db:.0f} dB above the background"
    if largest >= LOUD and share > CLIPPED_SHARE:
        return f"clipped: {100 * share:.1f} % of it is cut off at its loudest; turn the microphone down"
    if seconds < SHORTEST_S:
        return f"too short: {seconds:.2f} s are no phrase"
    if seconds > LONGEST_S:
        return f"too long: {seconds:.1f} s without a pause; say the phrase alone, with silence around it"
    return ""


def _outliers(takes: Sequence[Take]) -> list[Take]:
    """The takes, with a fault where one is much longer or shorter than the others are."""
    lengths = [take.end_s - take.start_s for take in takes if not take.fault]
    if len(lengths) < LEAST_TO_COMPARE:
        return list(takes)
    median = float(np.median(lengths))
    return [replace(take, fault=take.fault or _odd(take.end_s - take.start_s, median)) for take in takes]


def _odd(seconds: float, median: float) -> str:
    if median / OUTLIER <= seconds <= median * OUTLIER:
        return ""
    return f"of odd length: {seconds:.2f} s where the others last {median:.2f} s; is it the same phrase?"


def write(given: Given, folder: Path) -> None:
    """Leave what was given as a corpus; its manifest is written last and at once."""
    clips = [*_words(given.takes), *_wrong(given.false_wakes)]
    names = ("file", "kind", "split", "source", "label", "speaker", "duration_s", "rms_dbfs", "peak", "est_snr_db")
    names += ("speech_start_s", "speech_end_s", "licence", "note")
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{MANIFEST}.part"
    with draft.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, names, restval="", lineterminator="\n")
        table.writeheader()
        for number, clip in enumerate(clips):
            name = f"{clip.split}/{number:04}.flac"
            (folder / name).parent.mkdir(exist_ok=True)
            soundfile.write(folder / name, to_int16(clip.audio), SAMPLE_RATE)
            table.writerow(_row(clip, name))
    draft.replace(folder / MANIFEST)


def _row(clip: Clip, name: str) -> dict[str, str]:
    return {
        "file": name,
        "kind": clip.kind,
        "split": clip.split,
        "source": SOURCE,
        "label": clip.label,
        "speaker": clip.speaker,
        "duration_s": f"{len(clip.audio) / SAMPLE_RATE:.3f}",
        "speech_start_s": f"{clip.start_s:.3f}",
        "speech_end_s": f"{clip.end_s:.3f}",
        "licence": LICENCE,
        "note": f"from={clip.origin}",
    }


def _words(takes: Sequence[Take]) -> Iterator[Clip]:
    by_speaker: dict[tuple[str, str], list[Take]] = defaultdict(list)
    for take in takes:
        by_speaker[take.label, take.sound.speaker].append(take)
    for (label, speaker), theirs in by_speaker.items():
        for number, take in enumerate(theirs):
            split = "train" if number % LEARN_EVERY == LEARN_FROM else "dev"
            first = max(0.0, take.start_s - AROUND_S)
            audio = _between(take.sound, first, take.end_s + AROUND_S)
            span = take.start_s - first, take.end_s - first
            yield Clip("wakeword", split, label, speaker, audio, *span, _plain(take.sound.path.name))


def _wrong(sounds: Sequence[Sound]) -> Iterator[Clip]:
    """False wakes as they are, long ones in pieces that overlap."""
    for sound in sounds:
        seconds = len(sound.samples) / SAMPLE_RATE
        for first in np.arange(0, max(STEP_S, seconds - PIECE_S + STEP_S), STEP_S):
            audio = _between(sound, first, first + PIECE_S)
            span = 0.0, len(audio) / SAMPLE_RATE
            yield Clip("speech", "train", FALSE_WAKE, sound.speaker, audio, *span, _plain(sound.path.name))


def _between(sound: Sound, first_s: float, past_s: float) -> Audio:
    return to_float(sound.samples[round(first_s * SAMPLE_RATE) : round(past_s * SAMPLE_RATE)])
