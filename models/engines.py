"""The engines by name, and which of them are at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models import kokoro, piper
from models.espeak import espeak, espeak_voices
from models.voices import Spoken, SynthesisError, Utterance, Voice, festival, festival_voices, flite, flite_voices


@dataclass(frozen=True)
class Engine:
    """Lists its voices, and says utterances; both raise `SynthesisError` where it is missing."""

    voices: Callable[..., tuple[Voice, ...]]  # of the engine's own, or those in a folder of the user's
    speak: Callable[[Sequence[Utterance]], list[Spoken]]
    install: str  # Debian packages; empty where the user has the voices


ENGINES = {
    "espeak-ng": Engine(espeak_voices, espeak, "espeak-ng"),
    "flite": Engine(flite_voices, flite, "flite"),
    "festival": Engine(
        festival_voices,
        festival,
        "festival festlex-cmu festlex-poslex festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts",
    ),
    "piper": Engine(piper.voices, piper.speak, ""),
    "kokoro": Engine(kokoro.voices, kokoro.speak, ""),
}
FOLDERS = tuple(name for name, engine in ENGINES.items() if not engine.install)


def at_hand(folders: Mapping[str, Path]) -> tuple[dict[str, tuple[Voice, ...]], list[str]]:
    """The voices of each engine that is here or that has a folder; and a line for each engine that is missing."""
    found: dict[str, tuple[Voice, ...]] = {}
    missing = []
    for name, engine in ENGINES.items():
        if not engine.install:
            continue
        try:
            voices = engine.voices()
        except SynthesisError as error:
            missing.append(f"without {name}: {error}")
            continue
        if voices:
            found[name] = voices
        else:
            missing.append(f"without {name}, which has no English voice here: apt-get install {engine.install}")
    found |= {name: ENGINES[name].voices(folder) for name, folder in folders.items()}
    if not found:
        packages = " ".join(engine.install for engine in ENGINES.values()).strip()
        raise SynthesisError(f"no speech synthesiser is here: apt-get install {packages}")
    return found, missing
