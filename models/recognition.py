"""Speaker networks are judged: the same people, sayings and conditions for each, as tables, JSON and DET curves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from daemon.naming import Cohort
from models import conditions, household, talkers, trials, verification
from models.corpus import CorpusError, Recording, read_manifest, select
from models.encoders import Encoder
from models.household import Named
from models.talkers import SPOKEN_KINDS
from models.trials import CONDITIONS, PIECES_S, Heard, Place
from models.verification import Trials

Embeddings = NDArray[np.float32]

T = TypeVar("T")

WORD = "wake word"


@dataclass(frozen=True)
class Judged:
    """What one encoder's embeddings are worth, by what is said and in which condition."""

    name: str
    told_apart: Mapping[tuple[str, str], Trials]
    homes: Mapping[tuple[str, str], Named]

    def as_json(self) -> dict[str, object]:
        """All figures."""
        apart = {f"{said}, {condition}": verification.summary(t) for (said, condition), t in self.told_apart.items()}
        homes = {f"{said}, {condition}": named.summary() for (said, condition), named in self.homes.items()}
        return {"encoder": self.name, "verification": apart, "household": homes}


@dataclass(frozen=True)
class Panel:
    """The people of a dev split, what they say, and where."""

    words: Sequence[trials.Sayings]
    free: Sequence[trials.Sayings]
    around: conditions.Surroundings
    seed: int

    @staticmethod
    def gather(corpora: Sequence[Path], seed: int) -> Panel:
        """Of some corpora; `CorpusError` where nobody can be compared with anybody."""
        dev = _split(corpora, "dev", shippable=False)
        spoken = [r for r in dev if r.kind in SPOKEN_KINDS and not r.made]
        words, free = trials.words(spoken), trials.free(spoken)
        if not words or not free:
            raise CorpusError("the dev split lacks two people who say one wake word often enough, or speak freely")
        return Panel(words, free, conditions.surroundings(dev), seed)

    def judge(self, encoder: Encoder, cohort: Cohort) -> Judged:
        """Everybody is heard, enrolled and compared."""
        by_word = trials.hear_words(self.words, encoder, self.around, self.seed)
        by_length = trials.hear_free(self.free, encoder, self.around, self.seed)
        apart: dict[tuple[str, str], Trials] = {}
        homes: dict[tuple[str, str], Named] = {}
        for condition in (c.name for c in CONDITIONS):
            apart[WORD, condition] = trials.text_dependent(by_word, condition, self.seed)
            homes[WORD, condition] = household.by_word(by_word, cohort, condition, self.seed)
            for seconds in PIECES_S:
                heard: list[Heard] = by_length[seconds]
                apart[_free(seconds), condition] = trials.text_independent(heard, condition)
                homes[_free(seconds), condition] = household.by_speech(heard, cohort, condition, self.seed)
        return Judged(encoder.name, apart, homes)


def cohort(corpora: Sequence[Path], encoder: Encoder, seed: int) -> Embeddings:
    """Voices of the train split by which an encoder's similarities are measured, clean: noise makes voices less alike.

    Half of them say wake words: strangers who say the same as somebody are more like them than other strangers.
    """
    around = conditions.surroundings(_split(corpora, "train", shippable=True))
    place = Place(CONDITIONS[0], around, seed)
    people = talkers.people(corpora, "train")
    words = {name: [r for r in said if r.kind == "wakeword"] for name, said in people.items()}
    rest = {name: [r for r in said if r.kind != "wakeword"] for name, said in people.items() if not words[name]}
    kept = dict(list(rest.items())[: talkers.COHORT // 8])
    found = []
    for part in ({name: said for name, said in words.items() if said}, kept):
        if part:
            company = talkers.company(part, further=True)
            found.append(talkers.cohort(company, place, encoder, seed))
    return np.concatenate(found)


def _split(corpora: Sequence[Path], split: str, *, shippable: bool) -> list[Recording]:
    found = [recording for folder in corpora for recording in read_manifest(folder)]
    return select(found, split, SPOKEN_KINDS | {"rir"}, shippable=shippable)


def _free(seconds: float) -> str:
    return f"free, {seconds:g} s"


def report(judged: Sequence[Judged]) -> str:
    """Both tables in Markdown, all encoders beside each other."""
    return f"""Equal error rate in %, in brackets between which rates it lies when people are drawn again (95 %), then
minDCF at a prior of {verification.TARGET_PRIOR}:

{_table(judged, lambda one: one.told_apart, _rate)}

Homes of {household.MEMBERS}: of the voices of members, named right and named wrong (the others are unknown), and of
those of strangers, named:

{_table(judged, lambda one: one.homes, _named)}"""


def _table(
    judged: Sequence[Judged], figures: Callable[[Judged], Mapping[tuple[str, str], T]], shown: Callable[[T], str]
) -> str:
    head = ["said", "condition", *(one.name for one in judged)]
    rows = [
        [said, condition, *(shown(figures(one)[said, condition]) for one in judged)]
        for said, condition in figures(judged[0])
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])


def _rate(found: Trials) -> str:
    told = verification.summary(found)
    return (
        f"{100 * told['eer']:.1f} ({100 * told['eer_low']:.1f} to {100 * told['eer_high']:.1f}), {told['min_dcf']:.2f}"
    )


def _named(found: Named) -> str:
    told = found.summary()
    return f"{100 * told['right']:.1f} %, {100 * told['wrong']:.1f} %; {100 * told['stranger_named']:.1f} %"


def write(folder: Path, judged: Sequence[Judged]) -> None:
    """Leave tables (speakers.md), all figures (speakers.json), and DET curves for each thing that is said (.svg)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "speakers.md").write_text(report(judged) + "\n")
    (folder / "speakers.json").write_text(json.dumps([one.as_json() for one in judged]) + "\n")
    for said in dict.fromkeys(said for said, _ in judged[0].told_apart):
        curves = {
            f"{one.name}, {condition}": found
            for one in judged
            for (what, condition), found in one.told_apart.items()
            if what == said
        }
        name = said.replace(", ", "_").replace(" ", "_")
        (folder / f"speakers_{name}.svg").write_text(verification.picture(curves, said))
