"""What turns speech into an embedding: our network, and the open encoder that is used most, to stand beside it."""

from __future__ import annotations

import importlib
import warnings
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.features import SAMPLE_RATE, LogMel
from daemon.speaker import SpeakerModel, Voice
from models.corpus import to_float
from models.speaker import Speaker

Samples = NDArray[np.int16]
Embedding = NDArray[np.float32]


class EncoderError(RuntimeError):
    """An encoder cannot be used here."""


class Encoder(Protocol):
    """Sound in, a voice's place out."""

    name: str

    def embed(self, samples: Samples) -> Embedding:
        """The place, of norm 1, of who speaks in (n,) samples at 16 kHz."""


class Resemblyzer:
    """The encoder of the `resemblyzer` package: three LSTM layers over windows of 1.6 s, 256 dimensions."""

    name = "resemblyzer"

    def __init__(self) -> None:
        """`EncoderError` where the package is not installed."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                package = importlib.import_module("resemblyzer")
        except ImportError as error:
            raise EncoderError(f"Resemblyzer is not installed ({error}): pip install -e .[speakers]") from error
        self._network = package.VoiceEncoder("cpu", verbose=False)
        self._prepare = package.preprocess_wav

    def embed(self, samples: Samples) -> Embedding:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sound = self._prepare(to_float(samples), SAMPLE_RATE)
            found: Embedding = self._network.embed_utterance(sound if len(sound) else to_float(samples))
        return found


class Ours:
    """A speaker model of this house, as a satellite runs it."""

    def __init__(self, model: SpeakerModel) -> None:
        self.name = model.path.stem
        self._voice = Voice(model)
        self._window_function = model.window_function

    def embed(self, samples: Samples) -> Embedding:
        return self._voice.embed(LogMel(self._window_function).push(samples))


class Trained:
    """A network as a training left it, without a plan."""

    def __init__(self, network: Speaker, name: str) -> None:
        self.name, self._network = name, network.eval()

    def embed(self, samples: Samples) -> Embedding:
        frames = torch.from_numpy(LogMel().push(samples))[None]
        with torch.inference_mode():
            found: Embedding = self._network.embed(frames)[0].numpy()
        return found
