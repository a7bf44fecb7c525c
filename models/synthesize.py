"""A corpus of synthetic speech in the format of the recordings': phrases, what is nearly one of them, other speech."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, fields
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm import tqdm

from models.agreement import dissent, judge
from models.engines import at_hand
from models.notes import write_note
from models.script import Take, Wanted, chunks, label, write
from models.takes import Row, make, with_fault
from models.voices import SynthesisError, Voice
from models.workers import processes

SETTINGS, JOURNAL, MANIFEST = "settings.json", "takes.jsonl", "manifest.csv"
HIDDEN = {"number", "text", "pace", "fault"}  # of a row, not in the manifest
OUTLIER = 1.8  # times longer or shorter than the median of a text, at one pace
LEAST_TO_COMPARE = 5  # takes of a text that have a median to speak of
SECONDS_A_LETTER, SECONDS_AROUND, BYTES_A_SECOND = 0.075, 0.75, 17_000
TAKE_S, SLOW_TAKE_S = 1 / 12, {"kokoro": 0.7}  # of a core


def synthesize(
    wanted: Wanted, folder: Path, *, jobs: int = 1, folders: Mapping[str, Path] = {}, agree: Path | None = None
) -> list[Row]:
    """Write a corpus, or go on with one that was left unfinished; returns the rows of all takes, faulty ones too.

    `folders` are those of Piper's and Kokoro's voices; `agree` is a plan that has to hear its words in the clips.
    """
    if jobs < 1:
        raise SynthesisError(f"--jobs {jobs} is too little: at least 1")
    model = judge(agree, map(label, wanted.phrases)) if agree else None
    cast, missing = at_hand(folders)
    for line in missing:
        print(line)
    folder.mkdir(parents=True, exist_ok=True)
    _settle(folder, wanted, cast)
    portions = chunks(write(wanted, cast))
    done = _journal(folder)
    left = [(number, portion) for number, portion in enumerate(portions) if number not in done]
    print(_forecast([take for _, portion in left for take in portion], jobs))
    _say(folder, left, jobs)
    rows = sorted(chain.from_iterable(_journal(folder).values()), key=lambda row: row.number)
    rows = _outliers(rows)
    return _publish(folder, dissent(rows, folder, model) if model else rows)


def _settle(folder: Path, wanted: Wanted, cast: Mapping[str, Sequence[Voice]]) -> None:
    """Keep what the corpus is made of, and refuse to mix two."""
    path = folder / SETTINGS
    text = json.dumps({**asdict(wanted), "voices": {name: [v.name for v in some] for name, some in cast.items()}})
    if path.exists() and path.read_text("utf-8") != text:
        raise SynthesisError(f"{folder} holds a corpus of other phrases, numbers, seed or voices; take another folder")
    if not path.exists() and (folder / MANIFEST).exists():
        raise SynthesisError(f"{folder} holds a corpus that was not made by synthesize; take another folder")
    if not path.exists():
        write_note(text, path)


def _journal(folder: Path) -> dict[int, list[Row]]:
    """The rows of each portion that was said to its end."""
    path = folder / JOURNAL
    lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
    whole = (json.loads(line) for line in lines if line.endswith("\n"))  # a killed process may leave half a line
    return {entry["portion"]: [Row(**row) for row in entry["rows"]] for entry in whole}


def _say(folder: Path, left: list[tuple[int, tuple[Take, ...]]], jobs: int) -> None:
    """Each portion by a process of its own, since what a synthesiser says depends on what it said before."""
    _mend(folder / JOURNAL)
    with (
        (folder / JOURNAL).open("a", encoding="utf-8") as journal,
        processes(jobs, tasks_of_each=1) as pool,
        tqdm(total=sum(len(portion) for _, portion in left), unit="take", disable=not left) as bar,
    ):
        said = {pool.submit(make, folder, portion): number for number, portion in left}
        try:
            for portion in as_completed(said):
                rows = portion.result()
                journal.write(json.dumps({"portion": said[portion], "rows": [asdict(row) for row in rows]}) + "\n")
                journal.flush()
                bar.update(len(rows))
        except BrokenProcessPool as error:
            raise SynthesisError(
                f"one of {jobs} processes that speak was killed, maybe for want of memory; start again, which goes on "
                f"from here (synthesize takes fewer --jobs)"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _mend(path: Path) -> None:
    """Take away the half line that a killed process left."""
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def _forecast(takes: Sequence[Take], jobs: int) -> str:
    seconds = sum(SECONDS_AROUND + SECONDS_A_LETTER * sum(len(u.text) for u in take.utterances()) for take in takes)
    busy = sum(take_s(take.voice.engine) for take in takes)
    return (
        f"{len(takes)} clips to make, about {seconds / 60:.0f} minutes of sound and "
        f"{seconds * BYTES_A_SECOND / 1e6:.0f} MB, in about {busy / jobs / 60:.1f} minutes"
    )


def take_s(engine: str) -> float:
    """Seconds of a core that a take needs."""
    return SLOW_TAKE_S.get(engine, TAKE_S)


def _outliers(rows: Sequence[Row]) -> list[Row]:
    """Rows of takes that are much longer or shorter than the same text at the same pace by others are faulty."""
    lengths: dict[str, list[float]] = defaultdict(list)
    for row in _sound(rows):
        lengths[row.text].append(_length(row))
    medians = {text: float(np.median(some)) for text, some in lengths.items() if len(some) >= LEAST_TO_COMPARE}
    return [with_fault(row, row.fault or _far(row, medians)) for row in rows]


def _sound(rows: Sequence[Row]) -> Iterator[Row]:
    return (row for row in rows if not row.fault)


def _length(row: Row) -> float:
    return (row.speech_end_s - row.speech_start_s) * row.pace


def _far(row: Row, medians: Mapping[str, float]) -> str:
    ratio = _length(row) / medians.get(row.text, _length(row) or 1.0)
    if 1 / OUTLIER <= ratio <= OUTLIER:
        return ""
    return "too long for the text" if ratio > 1 else "too short for the text"


def _publish(folder: Path, rows: list[Row]) -> list[Row]:
    """The manifest, written last and at once, without the faulty takes, whose clips stay where they are."""
    names = [field.name for field in fields(Row) if field.name not in HIDDEN]
    draft = folder / f"{MANIFEST}.part"
    with draft.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in _sound(rows))
    draft.replace(folder / MANIFEST)
    return rows


def report(rows: Sequence[Row]) -> str:
    """How many clips there are, of what, and how many were dropped for what reason."""
    kept = list(_sound(rows))
    hours = sum(row.duration_s for row in kept) / 3600
    kinds = Counter(row.label.split(":")[0] for row in kept)
    faults = Counter(row.fault for row in rows if row.fault)
    lines = [f"{len(kept)} clips, {hours:.2f} hours, {len({row.speaker for row in kept})} voices"]
    lines += [f"  {count:6} {name}" for name, count in sorted(kinds.items())]
    lines += [f"  {count:6} dropped: {fault}" for fault, count in faults.most_common()]
    return "\n".join(lines)
