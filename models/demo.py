"""The demo recording, and single takes by the synthesisers that it is made with (espeak-ng, flite)."""

from __future__ import annotations

import itertools
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.features import SAMPLE_RATE
from daemon.recording import read
from models.voices import SynthesisError

LEVEL = 3000.0  # root mean square of speech, of 32768
HISS = 10.0  # of the room between the words

# (engine, voice, what it says); the words between are there to be ignored.
DEMO = (
    ("flite", "slt", "Good morning. It looks like rain, so take an umbrella with you today."),
    ("flite", "slt", "Computer."),
    ("flite", "rms", "The meeting was moved from Tuesday to Thursday afternoon."),
    ("flite", "rms", "Jarvis."),
    ("espeak-ng", "en-us+f3", "She sells sea shells on the sea shore, and the view is lovely."),
    ("flite", "slt", "Snowboy."),
    ("flite", "awb", "There is a mirror in the hall, and a glass on the table."),
    ("flite", "rms", "Smart mirror."),
    ("flite", "slt", "View glass."),
    ("flite", "rms", "Alexa."),
)

ACCENTS = ("en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
TIMBRES = ("", "+m1", "+m3", "+m7", "+f1", "+f2", "+f4")
PITCHES, RATES = ("30", "50", "70"), ("100", "130", "165")  # espeak-ng's own units, and words per minute
FLITE_VOICES, STRETCHES = ("slt", "rms", "awb", "kal16"), ("0.85", "1.0", "1.25")


def say(text: str, *, engine: str, voice: str, options: tuple[str, ...] = ()) -> NDArray[np.int16]:
    """Speech at 16 kHz, (n,) int16, at LEVEL; the engine is espeak-ng or flite, `options` are its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = {
            "espeak-ng": ["espeak-ng", "-v", voice, *options, "-w", str(path), text],
            "flite": ["flite", "-voice", voice, *options, "-t", text, "-o", str(path)],
        }[engine]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        except FileNotFoundError:
            raise SynthesisError(f"{engine} is not installed: apt-get install {engine}") from None
        except subprocess.TimeoutExpired as error:
            raise SynthesisError(f"{engine} does not come to an end") from error
        except subprocess.CalledProcessError as error:
            raise SynthesisError(f"{engine} failed: {error.stderr.decode(errors='replace').strip()}") from error
        sound = read(path).astype(np.float64)
    loud = sound[np.abs(sound) > np.abs(sound).max(initial=0) / 30]
    return np.clip(sound * (LEVEL / np.sqrt(np.mean(loud**2))), -32768, 32767).astype(np.int16)


def voices(text: str, count: int, rng: np.random.Generator) -> Iterator[NDArray[np.int16]]:
    """The text in `count` of all voices that there are, each another one."""
    espeak = [
        ("espeak-ng", accent + timbre, ("-p", pitch, "-s", rate))
        for accent, timbre, pitch, rate in itertools.product(ACCENTS, TIMBRES, PITCHES, RATES)
    ]
    flite = [
        ("flite", voice, ("--setf", f"duration_stretch={stretch}"))
        for voice, stretch in itertools.product(FLITE_VOICES, STRETCHES)
    ]
    share = min(len(flite), count // 3)  # flite's few voices sound more like people
    chosen = [flite[i] for i in rng.permutation(len(flite))[:share]]
    chosen += [espeak[i] for i in rng.permutation(len(espeak))[: count - share]]
    for engine, voice, options in chosen:
        yield say(text, engine=engine, voice=voice, options=options)


def span(speech: NDArray[np.int16]) -> tuple[int, int]:
    """The samples at which synthetic speech, which has silence around it, starts and ends."""
    heard = np.flatnonzero(np.abs(speech.astype(np.int32)) > np.abs(speech.astype(np.int32)).max(initial=1) / 50)
    return int(heard[0]), int(heard[-1]) + 1


def demo() -> NDArray[np.int16]:
    """The demo recording, (n,) int16 at 16 kHz: always the same sound from the same synthesisers."""
    rng = np.random.default_rng(1)
    pieces = [np.zeros(2 * SAMPLE_RATE, np.int16)]
    for engine, voice, text in DEMO:
        pieces += [say(text, engine=engine, voice=voice), np.zeros(SAMPLE_RATE, np.int16)]
    sound = np.concatenate(pieces)
    return (sound + np.rint(rng.normal(0, HISS, len(sound)))).astype(np.int16)
