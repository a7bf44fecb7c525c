"""What a network is likely to hear, for `wakepulse-compile --int8`: some minutes of the train split, never of dev."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.features import LogMel
from models.corpus import HEARD_KINDS, CorpusError, read_audio, read_manifest, select, to_int16

SECONDS = 300
LONGEST_S = 30  # of a recording: many short ones say more than a few long ones
INPUT = "features"  # of the network


def write(frames: NDArray[np.float32], path: Path) -> None:
    """Write frames (1, n, MELS) to `path` (.npz)."""
    np.savez_compressed(path, **{INPUT: frames})


def heard(corpora: Sequence[Path], window_function: str) -> NDArray[np.float32]:
    """Frames (1, n, MELS) of recordings drawn from the train split, one behind the other."""
    found = [recording for folder in corpora for recording in read_manifest(folder)]
    heard_in_training = select(found, "train", HEARD_KINDS, shippable=True)
    recordings = [recording for recording in heard_in_training if recording.duration_s <= LONGEST_S]
    if not recordings:
        raise CorpusError(f"{corpora[0]} has no recording of its train split to calibrate with")
    seconds, drawn = 0.0, []
    for index in np.random.default_rng(0).permutation(len(recordings)):
        if seconds >= SECONDS:
            break
        drawn.append(to_int16(read_audio(recordings[index])))
        seconds += recordings[index].duration_s
    return LogMel(window_function).push(np.concatenate(drawn))[None]
