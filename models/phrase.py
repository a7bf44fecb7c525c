"""A wake word from typed text: synthetic speech, the user's own recordings, a training, and a model for the satellite.

Killed and started again with the same arguments it goes on where it was.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.detector import end_of
from daemon.features import SAMPLE_RATE
from daemon.model import OPERATING_POINTS, WakeModel
from models import conditions, delivery, figures, hearing, own, pool, synthesize, train
from models.conditions import CONDITIONS, LEAD_S, Condition, Surroundings
from models.corpus import MANIFEST, NEAR, CorpusError, Recording, read_manifest
from models.engines import FOLDERS
from models.export import annotate
from models.hearing import Tried
from models.notes import write_note
from models.recipe import Recipe, RecipeError
from models.script import CONFUSABLE_SHARE, SHARES, Wanted
from models.wording import slug, warnings

SYNTHETIC, OWN, TRAINING, GIVEN = "synthetic", "own", "training", "given.json"
TAKES = 1_000
TOLD = CONDITIONS[:2]  # clean, and noise at 10 dB
WORST = 5  # near phrases that are named
LEAST_TAKES, MOST_TAKES = 20, 100_000  # with fewer, nothing may be left to test it with
NEAR_PHRASES = 100  # of each phrase
CLIP_S = 1.6  # about
WITHOUT_KOKORO = "warning: without Kokoro's voices (fetch-voices, then --kokoro) far more of what people say is missed"
RANDOM = 8  # letters behind the name of a plan that is being written


@dataclass(frozen=True)
class Wish:
    """What a user asks for."""

    phrases: tuple[str, ...]  # checked
    out: Path
    takes: int = TAKES
    recordings: Path | None = None
    false_wakes: Path | None = None
    corpora: tuple[Path, ...] = ()
    folders: tuple[tuple[str, Path], ...] = ()  # of voices, by engine

    @property
    def words(self) -> tuple[str, ...]:
        """As the network has them."""
        return tuple(slug(phrase) for phrase in self.phrases)

    @property
    def model(self) -> Path:
        """Where the .onnx file comes to lie, with the .plan beside it."""
        return self.out / f"{'-'.join(self.words)}.onnx"

    @property
    def takes_of(self) -> dict[str, Path]:
        """The folder of the user's takes of each word: of several words each has its own."""
        if self.recordings is None:
            return {}
        if len(self.words) == 1:
            return {self.words[0]: self.recordings}
        found = {word: self.recordings / word for word in self.words if (self.recordings / word).is_dir()}
        if not found:
            raise CorpusError(f"{self.recordings} has no folder {' or '.join(self.words)} with takes of that word")
        return found


def fulfil(wish: Wish, made: Recipe, *, force: bool = False) -> None:
    """From text to a model at `wish.model`; says first what speaks against the phrases, and what it will take."""
    if not LEAST_TAKES <= wish.takes <= MOST_TAKES:
        raise RecipeError(f"--takes {wish.takes} is not between {LEAST_TAKES} and {MOST_TAKES}")
    for folder in wish.corpora:
        read_manifest(folder)  # which may not be there
    for line in (line for phrase in wish.phrases for line in warnings(phrase)):
        print(line)
    if "kokoro" not in dict(wish.folders):
        print(WITHOUT_KOKORO)
    wish.out.mkdir(parents=True, exist_ok=True)
    _name(wish)
    _settle(wish)
    print(forecast(wish, made))
    corpora = [*_own(wish), *wish.corpora, _synthetic(wish, made)]
    train.train(corpora, wish.out / TRAINING, made)
    if not _delivered(wish):
        delivery.deliver(wish.out / TRAINING, corpora, wish.model, version="1", force=force)
    print(_told(wish, corpora))


def _name(wish: Wish) -> None:
    """Refuse phrases of which the model would get too long a name."""
    longest = len(f".{wish.model.stem}.plan.") + RANDOM
    if longest > os.pathconf(wish.out, "PC_NAME_MAX"):
        raise RecipeError(f"{wish.model.name} is too long a name for a file; give fewer or shorter phrases")


def _settle(wish: Wish) -> None:
    """Keep what goes into the training, and refuse to go on with one that had other recordings."""
    note = wish.out / GIVEN
    known = {word: own.contents(folder) for word, folder in wish.takes_of.items()}
    known |= {own.FALSE_WAKE: own.contents(wish.false_wakes)} if wish.false_wakes else {}
    text = json.dumps({"recordings": known, "corpora": [str(folder) for folder in wish.corpora]})
    if note.exists() and note.read_text() == text:
        return
    if (wish.out / TRAINING).exists():
        raise RecipeError(
            f"{wish.out / TRAINING} was trained with other recordings; remove that folder to train anew with what is "
            f"synthesised already, or take another --out"
        )
    shutil.rmtree(wish.out / OWN, ignore_errors=True)
    write_note(text, note)


def forecast(wish: Wish, made: Recipe) -> str:
    """What all of it will take, in one line; `RecipeError` where the disk is too small."""
    cores = os.cpu_count() or 1
    near = NEAR_PHRASES * max(1, wish.takes // CONFUSABLE_SHARE)
    clips = len(wish.phrases) * (wish.takes + near) + 2 * wish.takes  # sentences and words by themselves
    scenes = pool.scenes_of(made.sounds, len(made.rounds))
    minutes = (
        clips * _take_s(wish) / cores / 60,
        scenes * pool.SCENE_S / cores / 60,
        made.steps * train.step_s(made) / 60,
    )
    size = clips * CLIP_S * synthesize.BYTES_A_SECOND + pool.bytes_of(made.sounds, len(made.rounds))
    more, free = size - pool.on_disk(wish.out.rglob("*")), shutil.disk_usage(wish.out).free
    if more > free:
        raise RecipeError(f"{wish.out} has {free / 1e9:.1f} GB left, and this takes {more / 1e9:.1f} GB")
    speech, sounds, steps = (math.ceil(part) for part in minutes)
    return (
        f"at most {math.ceil(sum(minutes))} min and {size / 1e9:.1f} GB: {clips} clips of synthetic speech "
        f"({speech} min), {scenes} scenes ({sounds} min), {made.steps} steps ({steps} min)"
    )


def _take_s(wish: Wish) -> float:
    """Seconds of a core that a synthetic take needs, on the average of the engines."""
    shares = {name: share for name, share in SHARES.items() if name not in FOLDERS or name in dict(wish.folders)}
    return sum(share * synthesize.take_s(name) for name, share in shares.items()) / sum(shares.values())


def _synthetic(wish: Wish, made: Recipe) -> Path:
    wanted = Wanted(wish.phrases, wish.takes, NEAR_PHRASES, made.seed)
    jobs = os.cpu_count() or 1
    print(synthesize.report(synthesize.synthesize(wanted, wish.out / SYNTHETIC, jobs=jobs, folders=dict(wish.folders))))
    return wish.out / SYNTHETIC


def _own(wish: Wish) -> list[Path]:
    """The corpus of the user's recordings, if there are any; one that is made already stays as it is."""
    folder = wish.out / OWN
    if not wish.takes_of and not wish.false_wakes:
        return []
    if not (folder / MANIFEST).exists():
        given = own.gather(wish.takes_of, wish.false_wakes, first_model(wish.model.with_suffix(".plan")))
        print(given)
        own.write(given, folder)
    return [folder]


def first_model(plan: Path) -> dict[str, own.Fires]:
    """For each word of a model that was trained before, where it is heard; nothing where there is no such model."""
    if not plan.exists():
        return {}
    model = WakeModel.load(plan)
    return {word: partial(_fires, model, word) for word in model.words}


def _fires(model: WakeModel, word: str, samples: NDArray[np.int16]) -> list[int]:
    quiet = round(LEAD_S * SAMPLE_RATE)
    found = hearing.scores(model, np.pad(samples, quiet))[:, model.words.index(word)]
    return [end_of(frame) - quiet for frame in hearing.firings(found, model.thresholds[word])]


def _delivered(wish: Wish) -> bool:
    """Whether the model was made of the last checkpoint."""
    plan, checkpoint = wish.model.with_suffix(".plan"), wish.out / TRAINING / train.CHECKPOINT
    return plan.exists() and plan.stat().st_mtime_ns >= checkpoint.stat().st_mtime_ns


def _told(wish: Wish, corpora: Sequence[Path]) -> str:
    """What the model is worth, which is written into it too, and how a satellite comes to use it."""
    model = WakeModel.load(wish.model.with_suffix(".plan"))
    _, around = delivery.sessions(corpora, unseen=True)
    heard = delivery.heard(corpora, unseen=True)
    near, words = [r for r in heard if r.near], [r for r in heard if r.kind == "wakeword"]
    results = _listen(model, [recording for recording in heard if not recording.near], around, TOLD)
    points = figures.operating_points(results, model.thresholds, "recordings that it has not heard")
    annotate(wish.model, {OPERATING_POINTS: json.dumps(points)})
    beside = _listen(model, near + words, around, TOLD[:1]) if near else []
    configuration = f"in the satellite's configuration:\n\nwake:\n  model: {model.path.resolve()}"
    table = figures.in_force(results, model.thresholds)
    return "\n".join([table, *_your_takes(results), *_near_phrases(beside), configuration])


def _listen(
    model: WakeModel, recordings: Sequence[Recording], around: Surroundings, heard_in: Sequence[Condition]
) -> list[Tried]:
    sessions = conditions.sessions(recordings, delivery.SEED)
    return hearing.listen(model.path, sessions, around, heard_in, processes=min(len(sessions), os.cpu_count() or 1))


def _near_phrases(results: Sequence[Tried]) -> list[str]:
    """For each word how often what is nearly it is taken for it, and what most of all."""
    lines = []
    for tried in results:
        texts = Counter(recording.label.removeprefix(NEAR) for recording in tried.together.alarms if recording.near)
        told = ", ".join(f"{text} ({times})" for text, times in texts.most_common(WORST))
        lines.append(f"near phrases taken for {tried.word}: {texts.total()}{': ' * bool(told)}{told}")
    return lines


def _your_takes(results: Sequence[Tried]) -> list[str]:
    """How many of the user's own takes are missed, a line for each word and condition."""
    lines = []
    for tried in results:
        both = zip(tried.positives, tried.together.late_s, strict=True)
        missed = [math.isnan(late) for recording, late in both if recording.licence == own.LICENCE]
        if missed:
            lines.append(f"of your own takes of {tried.word}, {tried.condition}: {sum(missed)} of {len(missed)} missed")
    return lines
