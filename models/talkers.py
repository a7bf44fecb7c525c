"""Who speaks in a corpus, and the further people that are made of them: what a speaker network is trained on.

A further person is one whose sound goes by faster or more slowly, so that vocal tract, pitch and pace change together:
somebody smaller or larger. Where the names in a corpus are an estimate, an encoder tells people apart whom they mix up.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.signal import resample_poly
from tqdm import tqdm

from daemon.features import SAMPLE_RATE
from models.corpus import CorpusError, Recording, read_audio, read_manifest, select, to_float, to_int16
from models.encoders import Encoder, Samples
from models.takes import BLOCK, heard

Audio = NDArray[np.float32]
Embeddings = NDArray[np.float32]

SPOKEN_KINDS = {"wakeword", "speech", "speaker"}
NOBODY = "unlabelled"  # ends the name of a speaker who is really several
MOST_S = 100.0  # of one person, so that nobody's voice is all of what is made and kept
LEAST_S = 0.4
MARGIN_S = 0.05  # of silence kept around what is said
SPEEDS = tuple(Fraction(n, d) for n, d in ((4, 5), (9, 10), (10, 9), (5, 4)))
PART = "."  # between a name and the number of one of several people
ESTIMATED = "pv"  # begins the name of a speaker whom a clustering of voices found
MOST_TAKES = 13  # of one word by one person; who seems to say it more often is taken for several
COHORT, COHORT_S = 400, 1.5  # people in a cohort, and what is heard of each at most
LEAST_TAKES = 5  # by somebody who is told apart, all words together; fewer are nobody's


@dataclass(frozen=True)
class Talker:
    """One person, or one made of them, and the sounds (samples,) int16 that hold their speech."""

    name: str
    said: tuple[NDArray[np.int16], ...]


def people(corpora: Sequence[Path], split: str) -> dict[str, list[Recording]]:
    """The recordings of each person in a split that are free to train on, by name, in an order that says nothing.

    `CorpusError` where there are fewer than two.
    """
    found = [recording for folder in corpora for recording in read_manifest(folder)]
    by_name: dict[str, list[Recording]] = defaultdict(list)
    for recording in select(found, split, SPOKEN_KINDS, shippable=True):
        if recording.speaker and not recording.speaker.endswith(NOBODY) and not recording.made:
            by_name[recording.speaker].append(recording)
    if len(by_name) < 2:
        raise CorpusError(f"the {split} split says of {len(by_name)} people who they are; a speaker network needs more")
    return {name: by_name[name] for name in sorted(by_name, key=lambda name: zlib.crc32(name.encode()))}


def first(recorded: Mapping[str, Sequence[Recording]], share: float) -> list[str]:
    """The names of a share of the people: those whom a training on that share hears."""
    return list(recorded)[: round(share * len(recorded))]


def apart(recorded: Mapping[str, Sequence[Recording]], encoder: Encoder) -> dict[str, list[Recording]]:
    """The same recordings, with estimated people who say a word too often for one told apart by the encoder."""
    told: dict[str, list[Recording]] = {}
    for name, recordings in tqdm(recorded.items(), unit="person", desc="telling apart"):
        if not name.startswith(ESTIMATED) or _most(recordings) <= MOST_TAKES:
            told[name] = list(recordings)
            continue
        groups = _groups(recordings, np.stack([encoder.embed(to_int16(speech(r))) for r in recordings]))
        told |= {f"{name}{PART}{number}": group for number, group in enumerate(groups) if len(group) >= LEAST_TAKES}
    return told


def _groups(recordings: Sequence[Recording], places: NDArray[np.float32]) -> list[list[Recording]]:
    tree = linkage(places, "ward")
    for wanted in count(2):
        labels = fcluster(tree, wanted, "maxclust")
        groups = [[r for r, found in zip(recordings, labels, strict=True) if found == label] for label in set(labels)]
        if max(map(_most, groups)) <= MOST_TAKES or wanted >= len(recordings):
            return groups
    raise AssertionError("count does not end")


def _most(recordings: Sequence[Recording]) -> int:
    """How often the word is said that is said most often."""
    return max(Counter(r.label for r in recordings if r.kind == "wakeword").values(), default=0)


def speech(recording: Recording) -> Audio:
    """What is said in a recording, without the silence before and after it."""
    start, end = (round(s * SAMPLE_RATE) for s in (recording.start_s, recording.end_s))
    audio = read_audio(recording)[start:end]
    blocks = np.flatnonzero(heard(audio))
    if not len(blocks):
        return audio[:0]
    margin = round(MARGIN_S * SAMPLE_RATE)
    return audio[max(0, int(blocks[0]) * BLOCK - margin) : int(blocks[-1] + 1) * BLOCK + margin]


def company(recorded: Mapping[str, Sequence[Recording]], *, further: bool) -> list[Talker]:
    """All people of a training: each who was recorded, followed, where wanted, by those who are made of them."""
    found: list[Talker] = []
    for name, recordings in tqdm(recorded.items(), unit="person", desc="people"):
        person = _talker(name, recordings)
        found += [person, *(_at(speed, person) for speed in SPEEDS if further)]
    return found


def _talker(name: str, recordings: Sequence[Recording]) -> Talker:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    said, seconds = [], 0.0
    for index in rng.permutation(len(recordings)):
        if seconds >= MOST_S:
            break
        audio = speech(recordings[int(index)])[: round((MOST_S - seconds) * SAMPLE_RATE)]
        if len(audio) >= LEAST_S * SAMPLE_RATE or not said:
            said.append(to_int16(audio))
            seconds += len(audio) / SAMPLE_RATE
    return Talker(name, tuple(said))


def _at(speed: Fraction, person: Talker) -> Talker:
    changed = (resample_poly(one.astype(np.float32), speed.denominator, speed.numerator) for one in person.said)
    said = tuple(np.clip(one, -32768, 32767).astype(np.int16) for one in changed)
    return replace(person, name=f"{person.name} {speed}", said=said)


def cohort(company: Sequence[Talker], place: Callable[[Audio], Samples], encoder: Encoder, seed: int) -> Embeddings:
    """(COHORT / 2, embedding): some of the people, each saying something short in a place, some of them twice."""
    rng = np.random.default_rng(seed)
    found = []
    order = rng.permutation(len(company))
    for number in range(COHORT // 2):
        said = company[int(order[number % len(order)])].said
        sound = to_float(said[int(rng.integers(len(said)))])
        length = min(len(sound), round(COHORT_S * SAMPLE_RATE))
        start = int(rng.integers(len(sound) - length + 1))
        found.append(encoder.embed(place(sound[start : start + length])))
    return np.stack(found)
