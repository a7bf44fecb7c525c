"""What is shipped, and what the shipped model hears in the shipped recording."""

import os
from functools import cache
from pathlib import Path

import numpy as np

from daemon.detector import Detection
from daemon.features import SAMPLE_RATE
from daemon.listener import Listener
from daemon.model import WakeModel
from daemon.recording import read
from daemon.speaker import SpeakerModel
from models.demo import HISS

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "shipped" / "six_words.plan"
SPEAKER = MODEL.with_name("speaker.plan")
DEMO = ROOT / "config" / "demo.wav"
# Real recordings, which are not part of the repository.
CORPUS = Path(os.environ.get("WAKEPULSE_CORPUS", ROOT.parent / "shared" / "data"))


@cache
def model() -> WakeModel:
    return WakeModel.load(MODEL)


def listener() -> Listener:
    return Listener(model(), model().thresholds, refractory_s=1.0)


@cache
def sound() -> np.ndarray:
    """The demo's start, with its first word."""
    return read(DEMO)[: 9 * SAMPLE_RATE]


@cache
def word_end() -> int:
    """The sample at which that word ends: behind it, there is but the room's hiss."""
    return int(np.flatnonzero(np.abs(sound().astype(int)) > 10 * HISS)[-1]) + 1


@cache
def whole() -> list[Detection]:
    """The detections in `sound`, pushed at once."""
    return listener().push(0, sound())


@cache
def speaker_model() -> SpeakerModel:
    return SpeakerModel.load(SPEAKER)
