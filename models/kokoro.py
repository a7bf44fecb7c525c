"""Kokoro's voices, for whoever has them: a folder with its model (one .onnx) and its voices.

The voices are one file of all (`voices-v1.0.bin`, a zip of arrays) or one file each (`af_heart.bin`, plain float32).
Kokoro-82M's weights are under Apache-2.0; it reads letters of its own for phonemes, after `misaki`, its front end.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.download import Download, DownloadError
from models.espeak import ACCENTS, ipa
from models.voices import Spoken, SynthesisError, Utterance, Voice, at_16_khz

RELEASE = "https://github.com/thewh1teagle/kokoro-onnx/releases/download/model-files-v1.0"
FILES = (
    Download(
        f"{RELEASE}/kokoro-v1.0.int8.onnx",
        "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
        92_361_271,
    ),
    Download(
        f"{RELEASE}/voices-v1.0.bin",
        "bca610b8308e8d99f32e6fe4197e7ec01679264efed0cac9140fe9c29f1fbf7d",
        28_214_398,
    ),
)
MISSING = "Kokoro needs onnxruntime: pip install onnxruntime, or leave out --kokoro"
RATE = 24_000  # samples per second
STYLE = 256  # numbers of a voice, for each count of phonemes
TIMBRE = 128  # of them, which say whose voice it is; the others say how it moves
MOST_VOICE_BYTES = 4_000_000
PACE = 1.25  # of its own, at which a word by itself takes as long as people take
VOLUME = 0.5  # some voices reach full scale
PARTNERS = 2  # voices that each is blended with: a person in between
OWN_ACCENT_SHARE = 0.6
CAREFUL_SHARE = 0.4  # of what is said, with a clear t where Americans mostly flap it
OTHER_MELODY_SHARE = 0.6  # of what is said, as another voice would say it, or the same one a longer text
LONGEST = 100  # phonemes of a text whose melody may be taken
MARKS = ("", ".", ",", "!", "?")  # behind the text; each is another melody

# espeak-ng's letters to Kokoro's, in this order; the others are the same, or not among Kokoro's and silent.
FLAP = "\u027e"
SPELLINGS = (
    *(("e\u026a", "A"), ("a\u026a", "I"), ("a\u028a", "W"), ("\u0254\u026a", "Y"), ("o\u028a", "O")),
    *(("\u0259\u028a", "Q"), ("t\u0283", "\u02a7"), ("d\u0292", "\u02a4"), ("\u0294", "t"), ("\u025a", "\u0259\u0279")),
    *(("r", "\u0279"), ("x", "k"), ("\u0250", "\u0259"), ("o", "\u0254"), ("\u0289", "u"), ("\u028d", "w")),
)
AMERICAN = (("\u025c\u02d0\u0279", "\u025c\u0279"), ("\u025c\u02d0", "\u025c\u0279"), ("\u02d0", ""))
RUNS = (  # of letters with consecutive numbers, from the model's configuration
    *((1, ";:,.!?"), (16, " "), (24, "A"), (25, "I"), (31, "O"), (33, "Q"), (36, "T"), (39, "W"), (41, "Y")),
    *((43, "abcdef"), (50, "hijklmnopqrstuvwxyz"), (69, "\u0251\u0250\u0252\u00e6"), (76, "\u0254")),
    *((81, "\u00f0\u02a4\u0259"), (86, "\u025b\u025c"), (92, "\u0261"), (102, "\u026a"), (112, "\u014b")),
    *((119, "\u03b8"), (123, "\u0279"), (131, "\u0283"), (133, "\u02a7"), (135, "\u028a")),
    *((138, "\u028c"), (147, "\u0292"), (156, "\u02c8\u02cc\u02d0"), (177, "\u1d7b")),
)
LETTERS = {letter: first + nth for first, run in RUNS for nth, letter in enumerate(run)}


def fetch(folder: Path) -> str:
    """Make `folder` one for `--kokoro`; says what it holds. `SynthesisError` says what to do where that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    more = sum(file.size for file in FILES if not (folder / file.name).exists())
    if (free := shutil.disk_usage(folder).free) < more:
        raise SynthesisError(f"{folder} has {free / 1e6:.0f} MB left, and this takes {more / 1e6:.0f} MB")
    for file in FILES:
        path = folder / file.name
        try:
            file.fetch(path)
        except DownloadError as error:
            raise SynthesisError(f"{error}; fetch it by other means, and leave it in {folder}") from error
        if not file.is_at(path):
            raise SynthesisError(f"{path} is damaged, or is not Kokoro's; remove it and fetch it again")
    people = [voice for voice in voices(folder) if "+" not in voice.name]
    return f"{folder}: {len(people)} voices (Kokoro-82M, Apache-2.0), to be heard by --kokoro {folder}"


def voices(folder: Path) -> tuple[Voice, ...]:
    """Kokoro's voices, and each half-way to some others; nobody of train is blended with somebody of dev.

    Those of other languages say English words as well as the others do: a network that was trained on people hears
    them as often.
    """
    _session(str(folder))
    alone = [_alone(name, str(folder)) for name in _styles(str(folder))]
    return tuple(alone) + tuple(blend for voice in alone for blend in _blends(voice, alone))


def _blends(voice: Voice, alone: Sequence[Voice]) -> list[Voice]:
    """The voice half-way to those who come after it in its split, as in a ring."""
    group = [other.name for other in alone if other.split == voice.split]
    at = group.index(voice.name)
    partners = [group[(at + step) % len(group)] for step in range(1, min(PARTNERS, len(group) - 1) + 1)]
    return [Voice("kokoro", f"{voice.name}+{name}", voice.person, voice.home) for name in partners]


def speak(utterances: Sequence[Utterance]) -> list[Spoken]:
    """Say each by Kokoro, in its own accent or another; the same for the same utterances."""
    rng = np.random.default_rng(zlib.crc32(repr(utterances).encode()))
    return [_say(utterance, rng) for utterance in utterances]


def _say(utterance: Utterance, rng: np.random.Generator) -> Spoken:
    voice = utterance.voice
    own = "en-gb" if voice.name.startswith("b") else "en-us"
    accent = own if rng.random() < OWN_ACCENT_SHARE else str(rng.choice(list(ACCENTS)))
    careful = bool(rng.random() < CAREFUL_SHARE)
    tokens = spelt(utterance.text + str(rng.choice(MARKS)), accent, careful=careful)
    styles = np.mean([_styles(voice.home)[name] for name in voice.name.split("+")], axis=0)
    tokens = tokens[: len(styles) - 1]
    style = styles[len(tokens)].copy()
    if rng.random() < OTHER_MELODY_SHARE:
        melodies = _melodies(voice)
        melody = melodies[rng.integers(len(melodies))]
        style[TIMBRE:] = melody[rng.integers(1, LONGEST) % len(melody)][TIMBRE:]
    (audio,) = _session(voice.home).run(
        None,
        {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": style[None],
            "speed": np.array([PACE * utterance.rate], np.float32),
        },
    )
    return Spoken(at_16_khz(VOLUME * audio.ravel(), RATE), ())


def _melodies(voice: Voice) -> list[NDArray[np.float32]]:
    """The styles of all who are in the same split."""
    styles = _styles(voice.home)
    return [style for name, style in styles.items() if _alone(name, voice.home).split == voice.split]


def _alone(name: str, home: str) -> Voice:
    return Voice("kokoro", name, f"kokoro {name}", home)


def spelt(text: str, accent: str, *, careful: bool) -> list[int]:
    """Kokoro's numbers for what espeak-ng makes of a text."""
    said = ipa(text, accent).replace(FLAP, "t" if careful else "T")
    for theirs, ours in (*(AMERICAN if accent.startswith("en-us") else ()), *SPELLINGS):
        said = said.replace(theirs, ours)
    mark = text[-1:] if text[-1:] in MARKS else ""
    return [LETTERS[letter] for letter in said + mark if letter in LETTERS]


@cache
def _styles(home: str) -> dict[str, NDArray[np.float32]]:
    """(phonemes, STYLE) of each voice, by name."""
    paths = sorted(Path(home).rglob("*.bin"))
    found = {name: style for path in paths for name, style in _read(path).items()}
    if not found:
        raise SynthesisError(
            f"no Kokoro voice in {home}: it needs voices-v1.0.bin, or each in a file like af_heart.bin"
        )
    return {name: found[name] for name in sorted(found)}


def _read(path: Path) -> dict[str, NDArray[np.float32]]:
    try:
        if zipfile.is_zipfile(path):
            with np.load(path, allow_pickle=False) as arrays:
                read = {name: arrays[name] for name in arrays.files}
        elif path.stat().st_size > MOST_VOICE_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        else:
            read = {path.stem: np.fromfile(path, np.float32)}
        return {name: np.ascontiguousarray(some.reshape(-1, STYLE), np.float32) for name, some in read.items()}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise SynthesisError(f"{path} holds no voice of Kokoro: {error}") from error


@cache
def _session(home: str) -> Any:
    try:
        runtime = import_module("onnxruntime")
    except ImportError:
        raise SynthesisError(MISSING) from None
    models = sorted(Path(home).rglob("*.onnx"))
    if len(models) != 1:
        raise SynthesisError(f"{home} holds {len(models)} .onnx files; one is needed, such as kokoro-v1.0.int8.onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1  # there is a process for each core
    try:
        session = runtime.InferenceSession(str(models[0]), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common type of their own
        raise SynthesisError(f"Kokoro cannot load {models[0]}: {error}") from error
    names = {put.name for put in session.get_inputs()}
    if names != {"tokens", "style", "speed"}:
        raise SynthesisError(f"{models[0]} is not Kokoro: its inputs are {', '.join(sorted(names))}")
    return session
