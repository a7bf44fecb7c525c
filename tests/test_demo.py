"""Synthetic speech: there when asked for, always the same, and the demo recording is made of it."""

from pathlib import Path

import numpy as np
import pytest

from daemon.features import SAMPLE_RATE
from daemon.recording import read
from models.cli import main
from models.demo import LEVEL, say
from models.voices import SynthesisError
from tests.shipped import DEMO


@pytest.mark.parametrize(("engine", "voice"), [("espeak-ng", "en-gb+f2"), ("flite", "slt")])
def test_synthesisers_speak_at_one_level(engine: str, voice: str) -> None:
    speech = say("seven", engine=engine, voice=voice)
    size = np.abs(speech.astype(float))
    heard = np.flatnonzero(size > size.max() / 50)
    assert 0.2 * SAMPLE_RATE < heard[-1] - heard[0] < 2 * SAMPLE_RATE
    loud = size[heard[0] : heard[-1]]
    assert LEVEL / 3 < np.sqrt(np.mean(loud**2)) < LEVEL * 1.5


def test_a_synthesiser_that_fails_says_so() -> None:
    with pytest.raises(SynthesisError, match="espeak-ng failed"):
        say("seven", engine="espeak-ng", voice="nobody")


def test_the_demo_recording_is_what_the_script_makes(tmp_path: Path) -> None:
    assert main(["demo", "-o", str(tmp_path / "demo.wav")]) == 0
    made, shipped = read(tmp_path / "demo.wav"), read(DEMO)
    # Another release of a synthesiser may speak a little faster; it is the same recording for all that.
    assert abs(len(made) - len(shipped)) < SAMPLE_RATE
