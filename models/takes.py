"""From what a synthesiser said to a clip and its row: where the word is, another speaker made of it, faults found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from daemon.features import SAMPLE_RATE
from models import variety
from models.engines import ENGINES
from models.script import Take, label
from models.timing import timed
from models.variety import Audio, Change
from models.voices import Parts, Spoken

LEVEL_DB = (-32.0, -20.0)  # of a clip's loud parts, of full scale
BLOCK = 80  # samples over which energy is measured
HEARD_DB = -40.0  # below the loudest block: what is softer is no speech, and the tail of an "s" is louder
MARGIN_S = (0.1, 0.4)  # of near-silence around what is said
HISS_DB = (-95.0, -70.0)
JOINED_S = (0.0, 0.35)  # between the phrase and a command
LONGEST_GAP_S = 0.5  # of silence in a phrase
SHORTEST_S = 0.12
CLIPPED, CLIPPED_SHARE = 0.985, 0.002
PEAK = 0.95  # of what is written


@dataclass(frozen=True)
class Row:
    """What the manifest says about a take, and why it is not to be used."""

    number: int
    file: str
    kind: str
    split: str
    source: str
    label: str
    speaker: str
    duration_s: float
    rms_dbfs: float
    peak: float
    est_snr_db: str
    speech_start_s: float
    speech_end_s: float
    licence: str
    note: str
    phrase: str
    engine: str
    voice: str
    parts: str
    text: str  # that lies between start and end
    pace: float  # by how much faster than its own pace the voice speaks
    fault: str  # empty where there is none


@dataclass(frozen=True)
class Said:
    """A clip with the samples between which its text is."""

    audio: Audio
    start: int
    end: int
    parts: Parts


def make(folder: Path, takes: Sequence[Take]) -> list[Row]:
    """Say the takes, all by one engine, and write them into a corpus folder."""
    spoken = iter(ENGINES[takes[0].voice.engine].speak([u for take in takes for u in take.utterances()]))
    return [_make(folder, take, [next(spoken) for _ in take.utterances()]) for take in takes]


def _make(folder: Path, take: Take, spoken: Sequence[Spoken]) -> Row:
    rng = np.random.default_rng((take.number, len(take.text)))
    fault = next((found for found in map(_fault, spoken) if found), "")
    if fault:
        return _row(take, Said(np.zeros(1, np.float32), 0, 0, ()), Change(), fault)
    said = _join([_cut(one) for one in spoken], 1 if take.before else 0, rng)
    edges_s = said.start / SAMPLE_RATE, said.end / SAMPLE_RATE
    said = replace(said, parts=timed(take.phones, said.parts, edges_s, take.voice.engine))
    change = variety.draw(rng) if take.varied else Change()
    said = _changed(said, change) if take.varied else said
    said = _placed(said, rng)
    row = _row(take, said, change, _odd(said))
    if not row.fault:
        path = folder / row.file
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, said.audio, SAMPLE_RATE, subtype="PCM_16")
    return row


def _fault(spoken: Spoken) -> str:
    size = np.abs(spoken.audio)
    if not np.isfinite(size).all() or size.max(initial=0) < 10 ** (-50 / 20):
        return "silent"
    return "clipped" if np.mean(size > CLIPPED) > CLIPPED_SHARE else ""


def heard(audio: Audio) -> np.ndarray:
    """Which blocks of BLOCK samples hold speech rather than silence."""
    blocks = audio[: len(audio) // BLOCK * BLOCK].reshape(-1, BLOCK)
    power = np.mean(blocks.astype(np.float64) ** 2, axis=1)
    return power > power.max(initial=0) * 10 ** (HEARD_DB / 10)


def _cut(spoken: Spoken) -> Said:
    """Only what is said, by its energy."""
    blocks = np.flatnonzero(heard(spoken.audio))
    first, past = int(blocks[0]) * BLOCK, int(blocks[-1] + 1) * BLOCK
    parts = tuple((name, end - first / SAMPLE_RATE) for name, end in spoken.parts)
    return Said(spoken.audio[first:past], 0, past - first, parts)


def _join(pieces: Sequence[Said], which: int, rng: np.random.Generator) -> Said:
    """All pieces with a short pause or none between them; the text is the piece `which`."""
    pauses = [np.zeros(int(rng.uniform(*JOINED_S) * SAMPLE_RATE), np.float32) for _ in pieces[1:]]
    sounds = [
        pieces[0].audio,
        *(sound for pair in zip(pauses, (p.audio for p in pieces[1:]), strict=True) for sound in pair),
    ]
    start = sum(len(sound) for sound in sounds[: 2 * which])
    parts = tuple((name, end + start / SAMPLE_RATE) for name, end in pieces[which].parts)
    return Said(np.concatenate(sounds), start, start + pieces[which].end, parts)


def _changed(said: Said, change: Change) -> Said:
    stretch = change.stretch
    parts = tuple((name, end * stretch) for name, end in said.parts)
    edges = round(said.start * stretch), round(said.end * stretch)
    return Said(variety.apply(said.audio, change), *edges, parts)


def _placed(said: Said, rng: np.random.Generator) -> Said:
    """At a level of its own, in near-silence."""
    blocks = np.flatnonzero(heard(said.audio))
    loud = np.concatenate([said.audio[at * BLOCK : (at + 1) * BLOCK] for at in blocks])
    gain = 10 ** (rng.uniform(*LEVEL_DB) / 20) / (np.sqrt(np.mean(loud**2)) + 1e-9)
    gain = min(gain, PEAK / float(np.abs(said.audio).max()))
    before, after = (int(rng.uniform(*MARGIN_S) * SAMPLE_RATE) for _ in range(2))
    audio = np.pad(said.audio * np.float32(gain), (before, after))
    audio = audio + rng.standard_normal(len(audio), np.float32) * np.float32(10 ** (rng.uniform(*HISS_DB) / 20))
    parts = tuple((name, end + before / SAMPLE_RATE) for name, end in said.parts)
    return Said(audio, said.start + before, said.end + before, parts)


def _odd(said: Said) -> str:
    """What is wrong with the text as it is said at last."""
    if said.end - said.start < SHORTEST_S * SAMPLE_RATE:
        return "too short"
    blocks = np.flatnonzero(heard(said.audio[said.start : said.end]))
    gap = np.diff(blocks).max(initial=0) * BLOCK
    return "broken by silence" if gap > LONGEST_GAP_S * SAMPLE_RATE else ""


def _row(take: Take, said: Said, change: Change, fault: str) -> Row:
    group = label(take.phrase) if take.phrase else "sentences"
    spoken = said.audio[said.start : said.end]
    rms = 10 * np.log10(np.mean(spoken.astype(np.float64) ** 2) + 1e-12) if len(spoken) else -120.0
    around = f"before={take.before};after={take.after};" if take.before or take.after else ""
    return Row(
        number=take.number,
        file=f"{take.kind}/{group}/{take.voice.split}/{take.number:06}.flac",
        kind=take.kind,
        split=take.voice.split,
        source="synthetic",
        label=take.label,
        speaker=take.voice.speaker,
        duration_s=round(len(said.audio) / SAMPLE_RATE, 3),
        rms_dbfs=round(float(rms), 1),
        peak=round(float(np.abs(said.audio).max()), 3),
        est_snr_db="",
        speech_start_s=round(said.start / SAMPLE_RATE, 4),
        speech_end_s=round(said.end / SAMPLE_RATE, 4),
        licence="synthetic",
        note=f"{around}said_rate={take.rate:.2f};said_pitch={take.pitch:.2f};{change if take.varied else 'as said'}",
        phrase=take.phrase,
        engine=take.voice.engine,
        voice=take.voice.name,
        parts=json.dumps([[name, round(end, 4)] for name, end in said.parts]),
        text=take.text,
        pace=round(take.rate * change.rate, 4),
        fault=fault,
    )


def with_fault(row: Row, fault: str) -> Row:
    """The same take, found to be wrong."""
    return replace(row, fault=fault)
