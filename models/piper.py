"""Piper's voices, for whoever has them: its package, and a folder with voices (NAME.onnx and NAME.onnx.json).

The package is under the GPL, version 3: nothing here needs it, and it is imported only where such voices are asked for.
The licence of a voice is its own; one that forbids commercial use has no place in a model that is given away.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from models.voices import Spoken, SynthesisError, Utterance, Voice, at_16_khz

MISSING = "Piper's package is not here: pip install piper-tts (its licence is the GPL), or leave out --piper"
NOISE_SCALES, WIDTH_SCALES = (0.4, 0.9), (0.5, 1.0)  # of the generator, and of the length of its phonemes
SPEAKER = re.compile(r"(.+)#(\d+)")
BROKEN = (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError)


def voices(folder: Path) -> tuple[Voice, ...]:
    """All English voices in a folder, one for each speaker in them; the package must be here to speak as they do."""
    found = listed(folder)
    _package()
    return found


def listed(folder: Path) -> tuple[Voice, ...]:
    """All English voices in a folder, one for each speaker in them."""
    paths = sorted(folder.glob("**/*.onnx"))
    if not paths:
        raise SynthesisError(f"no Piper voice in {folder}: it needs NAME.onnx and NAME.onnx.json of each")
    found = [voice for path in paths for voice in _speakers(folder, path)]
    if not found:
        raise SynthesisError(f"no English Piper voice in {folder}")
    return tuple(found)


def _speakers(folder: Path, path: Path) -> list[Voice]:
    about = path.with_name(path.name + ".json")
    try:
        settings = json.loads(about.read_text("utf-8"))
        language, count = str(settings["espeak"]["voice"]), int(settings["num_speakers"])
    except OSError as error:
        raise SynthesisError(f"cannot read {about}: {error.strerror}") from error
    except BROKEN as error:
        raise SynthesisError(f"{about} is not a Piper voice's: bad or missing {error}") from error
    if not language.startswith("en"):
        return []
    name = str(path.relative_to(folder).with_suffix(""))
    names = [f"{name}#{number}" for number in range(count)] if count > 1 else [name]
    return [Voice("piper", one, f"piper {one}", str(folder)) for one in names]


def speak(utterances: Sequence[Utterance]) -> list[Spoken]:
    """Say each by Piper, the generator's noise and lengths drawn anew for each; the same in a fresh process."""
    import_module("onnxruntime").set_seed(len(utterances))
    rng = np.random.default_rng(len(utterances))
    return [_say(utterance, rng) for utterance in utterances]


def _say(utterance: Utterance, rng: np.random.Generator) -> Spoken:
    name, speaker = utterance.voice.name, None
    if match := SPEAKER.fullmatch(name):
        name, speaker = match[1], int(match[2])
    voice = _voice(str(Path(utterance.voice.home) / f"{name}.onnx"))
    settings = _package().SynthesisConfig(
        speaker_id=speaker,
        length_scale=1 / utterance.rate,
        noise_scale=float(rng.uniform(*NOISE_SCALES)),
        noise_w_scale=float(rng.uniform(*WIDTH_SCALES)),
        volume=0.9,
    )
    chunks = list(voice.synthesize(utterance.text, settings, include_alignments=True))
    if not chunks:
        return Spoken(np.zeros(0, np.float32), ())
    rate = chunks[0].sample_rate
    lengths = [(one.phoneme, one.num_samples) for chunk in chunks for one in chunk.phoneme_alignments or ()]
    ends = np.cumsum([length for _, length in lengths]) / rate
    parts = tuple((name, float(end)) for (name, _), end in zip(lengths, ends, strict=True) if name.isalpha())
    return Spoken(at_16_khz(np.concatenate([chunk.audio_float_array for chunk in chunks]), rate), parts)


@cache
def _voice(path: str) -> Any:
    try:
        return _package().PiperVoice.load(path, include_alignments=True)
    except Exception as error:  # onnxruntime's errors have no common type of their own
        raise SynthesisError(f"Piper cannot load {path}: {error}") from error


def _package() -> ModuleType:
    logging.getLogger("piper").setLevel(logging.ERROR)
    try:
        return import_module("piper")
    except ImportError:
        raise SynthesisError(MISSING) from None
