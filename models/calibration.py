"""What a network is likely to hear, for `wakepulse-compile --int8`: some minutes of the train split, never of dev."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from daemon.features import LogMel
from models.corpus import CorpusError, read_audio, read_manifest, select, to_int16
from models.train import HEARD_KINDS

SECONDS = 300
LONGEST_S = 30  # of a recording: many short ones say more than a few long ones
INPUT = "features"  # of the network


def write(corpora: Sequence[Path], path: Path, window_function: str) -> float:
    """Write frames (1, n, MELS) of recordings drawn from the train split to `path` (.npz); their seconds."""
    found = [recording for folder in corpora for recording in read_manifest(folder)]
    heard_in_training = select(found, "train", HEARD_KINDS, shippable=True)
    recordings = [recording for recording in heard_in_training if recording.duration_s <= LONGEST_S]
    if not recordings:
        raise CorpusError(f"{corpora[0]} has no recording of its train split to calibrate with")
    seconds, heard = 0.0, []
    for index in np.random.default_rng(0).permutation(len(recordings)):
        if seconds >= SECONDS:
            break
        heard.append(to_int16(read_audio(recordings[index])))
        seconds += recordings[index].duration_s
    np.savez_compressed(path, **{INPUT: LogMel(window_function).push(np.concatenate(heard))[None]})
    return seconds
