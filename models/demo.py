"""The demo recording, and single takes by the synthesisers that it is made with (espeak-ng, flite)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.features import SAMPLE_RATE
from daemon.recording import read
from models.voices import run

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


def say(text: str, *, engine: str, voice: str, options: tuple[str, ...] = ()) -> NDArray[np.int16]:
    """Speech at 16 kHz, (n,) int16, at LEVEL; the engine is espeak-ng or flite, `options` are its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = {
            "espeak-ng": ["espeak-ng", "-v", voice, *options, "-w", str(path), text],
            "flite": ["flite", "-voice", voice, *options, "-t", text, "-o", str(path)],
        }[engine]
        run(command)
        sound = read(path).astype(np.float64)
    loud = sound[np.abs(sound) > np.abs(sound).max(initial=0) / 30]
    return np.clip(sound * (LEVEL / np.sqrt(np.mean(loud**2))), -32768, 32767).astype(np.int16)


def demo() -> NDArray[np.int16]:
    """The demo recording, (n,) int16 at 16 kHz: always the same sound from the same synthesisers."""
    rng = np.random.default_rng(1)
    pieces = [np.zeros(2 * SAMPLE_RATE, np.int16)]
    for engine, voice, text in DEMO:
        pieces += [say(text, engine=engine, voice=voice), np.zeros(SAMPLE_RATE, np.int16)]
    sound = np.concatenate(pieces)
    return (sound + np.rint(rng.normal(0, HISS, len(sound)))).astype(np.int16)
