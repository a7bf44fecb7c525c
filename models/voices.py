"""Who can speak here: the speech synthesisers of Debian, and Piper where the user has voices for it.

An engine says many utterances at a time, so that what it takes to start is paid once. What it says is the same whenever
the same utterances are said in the same order by a fresh process.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from daemon.features import SAMPLE_RATE

Audio = NDArray[np.float32]
Parts = tuple[tuple[str, float], ...]  # phonemes, each with the second at which it ends

DEV_PERCENT = 15  # of the people
TIMEOUT_S = 600
# flite's voices are made from festival's: the same people.
FLITE_PEOPLE = {"slt": "slt", "rms": "rms", "awb": "awb", "kal16": "kal"}
FESTIVAL_PEOPLE = {"cmu_us_slt_arctic_hts": "slt", "kal_diphone": "kal", "ked_diphone": "ked"}
SILENCES = {"pau", "#", "_", "_:", "h#", ""}


class SynthesisError(RuntimeError):
    """A synthesiser is missing or failed."""


@dataclass(frozen=True)
class Voice:
    """A voice of an engine, and the person who is heard in it: nobody is in both splits."""

    engine: str
    name: str
    person: str
    home: str = ""  # the folder of its files, where the engine does not know that by itself

    @property
    def speaker(self) -> str:
        return f"{self.engine}:{self.name}"

    @property
    def split(self) -> str:
        """train or dev, by the person's name alone."""
        return "dev" if int(hashlib.sha256(self.person.encode()).hexdigest(), 16) % 100 < DEV_PERCENT else "train"


@dataclass(frozen=True)
class Utterance:
    """What a voice is to say, how fast (1 is its own pace) and how high (-1 to 1, 0 its own pitch; most ignore it)."""

    text: str
    voice: Voice
    rate: float = 1.0
    pitch: float = 0.0


@dataclass(frozen=True)
class Spoken:
    """Sound in +-1 at 16 kHz, and its phonemes where the engine tells them."""

    audio: Audio
    parts: Parts


def at_16_khz(audio: Audio, rate: int) -> Audio:
    """Sound of another sampling rate as the satellite would have it."""
    if rate == SAMPLE_RATE:
        return audio.astype(np.float32)
    shared = int(np.gcd(rate, SAMPLE_RATE))
    return resample_poly(audio, SAMPLE_RATE // shared, rate // shared).astype(np.float32)


def read_sound(path: Path) -> Audio:
    """A synthesiser's file at 16 kHz."""
    try:
        audio, rate = soundfile.read(path, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise SynthesisError(f"a synthesiser left no sound behind: {error}") from error
    return at_16_khz(audio, rate)


def run(command: Sequence[str]) -> str:
    """What a synthesiser prints; `SynthesisError` where it is missing or fails."""
    program = command[0]
    try:
        done = subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)
    except FileNotFoundError:
        raise SynthesisError(f"{program} is not installed: apt-get install {program}") from None
    except subprocess.TimeoutExpired as error:
        raise SynthesisError(f"{program} does not come to an end") from error
    except subprocess.CalledProcessError as error:
        raise SynthesisError(f"{program} failed: {error.stderr.decode(errors='replace').strip()}") from error
    return done.stdout.decode(errors="replace")


def flite_voices() -> tuple[Voice, ...]:
    """Those of flite's voices that sound like people."""
    there = run(["flite", "-lv"]).partition(":")[2].split()
    return tuple(Voice("flite", name, f"festival {person}") for name, person in FLITE_PEOPLE.items() if name in there)


def flite(utterances: Sequence[Utterance]) -> list[Spoken]:
    """Say each by flite."""
    with tempfile.TemporaryDirectory() as folder:
        return [_flite(utterance, Path(folder) / "speech.wav") for utterance in utterances]


def _flite(utterance: Utterance, path: Path) -> Spoken:
    stretch = f"duration_stretch={1 / utterance.rate:.3f}"
    voice = ["-voice", utterance.voice.name, "--setf", stretch]
    printed = run(["flite", *voice, "-psdur", "-t", utterance.text, "-o", str(path)])
    pairs = (item.rpartition(":") for item in printed.split())
    return Spoken(read_sound(path), _heard((name, float(end)) for name, _, end in pairs))


def festival_voices() -> tuple[Voice, ...]:
    """Those of festival's English voices that are known here and installed."""
    there = run(["festival", "-b", "(print (voice.list))"])
    people = FESTIVAL_PEOPLE.items()
    return tuple(Voice("festival", name, f"festival {person}") for name, person in people if name in there)


def festival(utterances: Sequence[Utterance]) -> list[Spoken]:
    """Say all of them by one festival."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = [_scheme(utterance, folder / str(number)) for number, utterance in enumerate(utterances)]
        (folder / "script.scm").write_text("\n".join(lines), "utf-8")
        run(["festival", "-b", str(folder / "script.scm")])
        return [_festival(folder / str(number)) for number in range(len(utterances))]


def _scheme(utterance: Utterance, path: Path) -> str:
    text = utterance.text.replace("\\", " ").replace('"', " ")
    pace = f"(Parameter.set 'Duration_Stretch {1 / utterance.rate:.3f})"
    if utterance.voice.name.endswith("_hts"):
        pace = f'(set! hts_engine_params (append hts_engine_params \'(("-r" {utterance.rate:.3f}))))'
    return (
        f"(voice_{utterance.voice.name}) {pace} "
        f'(set! said (utt.synth (Utterance Text "{text}"))) '
        f'(utt.save.wave said "{path}.wav" \'riff) (utt.save.segs said "{path}.segs")'
    )


def _festival(path: Path) -> Spoken:
    rows = (line.split() for line in path.with_suffix(".segs").read_text("utf-8").splitlines()[1:])
    return Spoken(read_sound(path.with_suffix(".wav")), _heard((row[2], float(row[0])) for row in rows))


def _heard(parts: Iterable[tuple[str, float]]) -> Parts:
    return tuple((name, round(end, 4)) for name, end in parts if name not in SILENCES)
