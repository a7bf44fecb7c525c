"""Whether a model that is there already hears the word in a clip that is said to hold it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile

from daemon.features import FRAMES_PER_SECOND, SAMPLE_RATE
from daemon.model import WakeModel
from models.conditions import HIT_S, LEAD_S
from models.corpus import to_int16
from models.hearing import scores
from models.takes import Row, with_fault
from models.voices import SynthesisError

FLOOR = 0.1  # a best score below it is no word to the model
TRUSTED = 0.5  # of a word's clips that must reach it, or it is the model that does not know the word


def judge(path: Path, words: Iterable[str]) -> WakeModel:
    """The model at `path`, which must know the words."""
    model = WakeModel.load(path)
    for word in words:
        if word not in model.words:
            raise SynthesisError(f"{path} does not know {word!r}; it knows {', '.join(model.words)}")
    return model


def dissent(rows: Sequence[Row], folder: Path, model: WakeModel) -> list[Row]:
    """The rows, those faulty too whose clip holds no word to a model that hears it in most of the others."""
    best = {row.number: _best(row, folder, model) for row in rows if row.kind == "wakeword" and not row.fault}
    by_word: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        if row.number in best:
            by_word[row.label].append(best[row.number] >= FLOOR)
    trusted = {word for word, heard in by_word.items() if np.mean(heard) >= TRUSTED}
    for word in sorted(by_word.keys() - trusted):
        print(
            f"{model.path} hears {word} in {sum(by_word[word])} of {len(by_word[word])} clips: none is dropped for it"
        )
    wrong = {row.number for row in rows if row.label in trusted and best.get(row.number, 1.0) < FLOOR}
    return [with_fault(row, f"{row.label} not heard") if row.number in wrong else row for row in rows]


def _best(row: Row, folder: Path, model: WakeModel) -> float:
    """The word's highest score from its start to as late as a hit counts."""
    audio, _ = soundfile.read(folder / row.file, dtype="float32")
    lead, tail = round(LEAD_S * SAMPLE_RATE), round(HIT_S * SAMPLE_RATE)
    found = scores(model, to_int16(np.pad(audio, (lead, tail))))[:, model.words.index(row.label)]
    first, past = (round((LEAD_S + at) * FRAMES_PER_SECOND) for at in (row.speech_start_s, row.speech_end_s + HIT_S))
    return float(found[first:past].max(initial=0.0))
