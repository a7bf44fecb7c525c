"""A recipe: all that makes a training, in one YAML file. The same recipe and recordings give the same network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import yaml
from msgspec import Meta, Struct

from models.augment import SCENE_FRAMES, SNR_DB
from models.notes import write_note
from models.wakeword import Size

MAX_BYTES = 64 * 1024
FOLDER = Path(__file__).resolve().parent / "recipes"

Word = Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9_]{0,62}\Z")]
Count = Annotated[int, Meta(ge=1, le=10_000_000)]
Channels = Annotated[int, Meta(ge=1, le=1024)]
Share = Annotated[float, Meta(ge=0, le=1)]
Decibels = Annotated[float, Meta(ge=-60, le=60)]
Positive = Annotated[float, Meta(gt=0, le=1000)]


class RecipeError(ValueError):
    """A recipe cannot be used, or a training cannot go on with it."""


class Network(Struct, frozen=True, forbid_unknown_fields=True):
    """Which network it is and, of the gated one, its size; the default is the published one."""

    kind: Literal["gated", "parts"] = "gated"
    residual: Channels = 16
    gate: Channels = 64
    skip: Channels = 32
    dilations: Annotated[tuple[Channels, ...], Meta(min_length=1, max_length=64)] = (1, 2, 4, 8) * 6

    def size(self) -> Size:
        """As the network's own module has it."""
        return Size(self.residual, self.gate, self.skip, self.dilations)


class Sounds(Struct, frozen=True, forbid_unknown_fields=True):
    """What the network hears: scenes of 11.8 s, made once before the training."""

    scenes: Count = 16_000
    voices: Annotated[int, Meta(ge=0, le=100)] = 4  # other speakers made from each take of a word, and of all else one
    rooms: Annotated[int, Meta(ge=1, le=10_000)] = 300  # that are simulated
    made: Share = 0.35  # of the words heard, from synthesisers, where there are recordings too
    mined: Annotated[int, Meta(ge=0, le=1_000_000)] = 8_000  # scenes without a word listened to after each round
    kept: Annotated[int, Meta(ge=0, le=1_000_000)] = 1_500  # of them, the loudest false alarms
    mined_share: Share = 0.2  # of each step's scenes, once there are mined ones
    spared: Share = 0.0  # score of all words up to which a frame of a mined scene teaches nothing
    people: Literal["learnt", "mined"] = "learnt"  # whether their other speech is in all scenes, or only in mined ones
    noises: Share = 0.0  # of what is said in a scene, noise instead, as loud
    stress_db: Annotated[float, Meta(ge=0, le=30)] = 0.0  # by which parts of a word are louder or softer
    snr_db: tuple[Decibels, Decibels] = SNR_DB  # of what is said beside noise
    tempo: tuple[Positive, Positive] = (0.83, 1.2)
    haste: Share = 0.25  # by which the tempo is larger or smaller from one moment to the next
    warp: Share = 0.1  # by which the mel axis is stretched or squeezed, a stand-in for other vocal tracts
    formants: Annotated[float, Meta(ge=0, le=10)] = 0.0  # mels by which they are moved, from one moment to the next
    tilt_db: Annotated[float, Meta(ge=0, le=60)] = 6.0  # of a straight line over the mel axis: another microphone
    gain_db: Annotated[float, Meta(ge=0, le=60)] = 6.0
    masked_mels: Annotated[int, Meta(ge=0, le=39)] = 6
    masked_frames: Annotated[int, Meta(ge=0, le=100)] = 8


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of a training."""

    words: Annotated[tuple[Word, ...], Meta(min_length=1, max_length=64)]
    window_function: Literal["hamming", "rectangular"] = "hamming"
    seed: Annotated[int, Meta(ge=0, le=2**31)] = 1
    network: Network = Network()
    sounds: Sounds = Sounds()
    rounds: Annotated[tuple[Count, ...], Meta(min_length=1, max_length=20)] = (8_000, 4_000, 4_000)  # steps
    batch: Count = 16  # scenes per step
    frames: Annotated[int, Meta(ge=300, le=982)] = 982  # of each scene, after its tempo was changed
    rate: Positive = 2e-3  # peak learning rate; linear warm-up, then half a cosine down to 0
    restart: Annotated[float, Meta(ge=0, le=1000)] = 0.0  # peak rate of each later round, if each begins anew
    warm_up: Count = 500  # steps
    weight_decay: Annotated[float, Meta(ge=0, le=1)] = 1e-4
    average: Annotated[float, Meta(ge=0, lt=1)] = 0.999  # of the weights that are exported, per step, without `restart`
    check_every: Count = 1000  # steps between two looks at the dev split
    patience: Count = 8  # looks without a better one, after which it stops
    teacher_share: Share = 0.5  # of the loss, where a teacher is given
    quantised: bool = False  # numbers are rounded as in an int8 plan

    def __post_init__(self) -> None:
        if fault := next(self._faults(), ""):
            raise RecipeError(fault)

    def _faults(self) -> Iterator[str]:
        """What would end a training long after its start."""
        slowest, fastest = self.sounds.tempo
        lowest, highest = self.sounds.snr_db
        field = self.network.size().receptive_field
        if len(set(self.words)) < len(self.words):
            yield f"words: {', '.join(self.words)} are not all different"
        if slowest > fastest:
            yield f"tempo: from {slowest:g} to {fastest:g}; put the smaller one first"
        if lowest > highest:
            yield f"snr_db: from {lowest:g} to {highest:g}; put the smaller one first"
        if fastest * (self.frames - 1) > SCENE_FRAMES - 2:
            most = math.floor(100 * (SCENE_FRAMES - 2) / (self.frames - 1)) / 100
            yield f"tempo: at {fastest:g} a scene ends before {self.frames} frames; at most {most:g}, or fewer frames"
        if self.network.kind == "gated" and field > self.frames:
            yield f"frames: {self.frames} are fewer than the {field} that reach one output; use smaller dilations"
        if self.network.kind == "parts" and self.quantised:
            yield "quantised: gated networks alone are; one of word parts is not"

    @property
    def steps(self) -> int:
        """Of all rounds."""
        return sum(self.rounds)


def read(path: Path, words: tuple[str, ...] = ()) -> Recipe:
    """The recipe in a YAML file, or a shipped one by its name; `RecipeError` says what is wrong with it.

    `words` are given for a recipe that names none.
    """
    shipped = FOLDER / path.name
    if not path.exists() and path == Path(path.name) and shipped.with_suffix(".yaml").exists():
        path = shipped.with_suffix(".yaml")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecipeError(f"{path} is larger than {MAX_BYTES // 1024} KB; this is no recipe")
        return _convert(yaml.safe_load(path.read_bytes()), words, path)
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise RecipeError(f"{path}: {' '.join(str(error).split())}") from error


def _convert(settings: object, words: tuple[str, ...], path: Path) -> Recipe:
    if words and isinstance(settings, dict):
        if "words" in settings:
            raise RecipeError(f"{path} has words of its own, and cannot be used for a phrase")
        settings = {"words": list(words), **settings}
    return msgspec.convert(settings, Recipe)


def write(recipe: Recipe, path: Path) -> None:
    """Leave a recipe in a file that `read` takes."""
    write_note(yaml.safe_dump(msgspec.to_builtins(recipe), sort_keys=False), path)
