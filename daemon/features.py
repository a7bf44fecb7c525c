"""Samples in, log-mel frames out: the one front end that training and the satellite share.

The numbers are those of python_speech_features' `logfbank` (pre-emphasis over the whole signal, 25 ms windows every
10 ms, 512-point power spectrum, triangular mel filters in the bin domain, natural logarithm), computed as the sound
arrives. This module knows nothing of models, words or sound cards. It computes in C where that is built, and the same
in numpy, which is how to read what C does, where it is not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from daemon import native

SAMPLE_RATE = 16_000  # samples per second, mono int16, not scaled to +-1
WINDOW = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
OVERLAP = WINDOW - HOP  # samples that two neighbouring windows share
FFT = 512
MELS = 40
PREEMPHASIS = 0.97
FRAMES_PER_SECOND = SAMPLE_RATE // HOP
EPSILON = float(np.finfo(np.float64).eps)  # stands in for an exact zero under the logarithm
CHUNK = 256 * HOP  # samples; bounds the working memory when a whole recording is pushed at once

WINDOW_FUNCTIONS: dict[str, Callable[[int], NDArray[np.float64]]] = {"rectangular": np.ones, "hamming": np.hamming}
METADATA_KEY = "features"
SAMPLES = np.dtype(np.int16)
Kernels: TypeAlias = Literal["c", "reference"]


class FeatureMismatch(ValueError):
    """A model was trained on other features than this satellite computes."""


def describe(window_function: str) -> dict[str, str | int | float]:
    """The identifier and the constants that a model file carries, and that must agree at start."""
    return {
        "id": f"logmel{MELS}-{window_function}-v1",
        "sample_rate": SAMPLE_RATE,
        "window": WINDOW,
        "hop": HOP,
        "fft": FFT,
        "mels": MELS,
        "preemphasis": PREEMPHASIS,
        "window_function": window_function,
        "scale": "int16",
        "log": "natural",
    }


def window_function_of(metadata: Mapping[str, str]) -> str:
    """The window function a model asks for; `FeatureMismatch` if it was trained on any other features than ours."""
    text = metadata.get(METADATA_KEY)
    if text is None:
        raise FeatureMismatch(f"the model does not say which features it was trained on (no {METADATA_KEY!r} metadata)")
    try:
        stated = json.loads(text)
    except (ValueError, RecursionError):
        raise FeatureMismatch(f"the model's {METADATA_KEY!r} metadata is not JSON: {text[:80]!r}") from None
    if not isinstance(stated, dict):
        raise FeatureMismatch(f"the model's {METADATA_KEY!r} metadata is not a JSON object: {text[:80]!r}")
    name = stated.get("window_function")
    ours = describe(name) if name in WINDOW_FUNCTIONS else {"window_function": " or ".join(WINDOW_FUNCTIONS)}
    for key in sorted(ours | stated, key=lambda key: key != "window_function"):
        if stated.get(key) != ours.get(key):
            raise FeatureMismatch(
                f"the model was trained on other features: {key} is {stated.get(key)!r} there and {ours.get(key)!r} "
                "here; train and export it with this version's front end"
            )
    return str(name)


def mel_edges() -> NDArray[np.intp]:
    """FFT bins at which the triangles start, peak and end, (MELS + 2,): equal steps in mel = 2595 log10(1 + f/700)."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, MELS + 2) / 2595) - 1)
    return np.floor((FFT + 1) * hertz / SAMPLE_RATE).astype(np.intp)


def twiddles() -> NDArray[np.float64]:
    """Cosines and sines for the FFT in C, in the order that kernels/pocketfft.h states."""
    rows, length = [np.empty(0)], FFT
    while length > 1:
        factor = 4 if length.bit_length() % 2 else 2
        inside = length // factor
        angles = 2 * np.pi / length * np.outer(np.arange(1, factor), np.arange(1, (inside + 1) // 2))
        row = np.zeros((factor - 1, inside - 1))
        row[:, 0 : 2 * angles.shape[1] : 2] = np.cos(angles)
        row[:, 1 : 2 * angles.shape[1] : 2] = np.sin(angles)
        rows.append(row.ravel())
        length = inside
    return np.concatenate(rows)


class LogMel:
    """A stream of int16 samples becomes a stream of 40-number frames; how it is cut into blocks changes no bit of them.

    Frame k covers samples [k * HOP, k * HOP + WINDOW) since the last `reset` and is returned once its last one is in.
    """

    def __init__(self, window_function: str = "hamming", *, kernels: Kernels | None = None) -> None:
        """`kernels` are the best there are, or those of a name: "reference" for numpy."""
        self._window = WINDOW_FUNCTIONS[window_function](WINDOW).astype(np.float64)
        edges = mel_edges()
        self._bins = int(edges[-1])
        self._edges = edges[:-1]
        widths = np.diff(edges)
        position = np.arange(self._bins) - np.repeat(edges[:-1], widths)
        # Between two edges one triangle rises and the one before it falls, so each bin feeds two filters at most.
        self._rise = position / np.repeat(widths, widths) / FFT
        self._fall = 1 / FFT - self._rise
        # Pre-emphasised samples from the next frame's start on, at most WINDOW - 1; then the chunk at hand.
        self._signal = np.empty(WINDOW + CHUNK)
        self.kernels: Kernels = kernels or ("c" if native.BUILT else "reference")
        self._fill = self._bank().fill if self.kernels == "c" else self._fill_in_numpy
        self.reset()

    def _bank(self) -> native.Bank:
        sizes = {"window": WINDOW, "hop": HOP, "fft": FFT, "mels": MELS}
        numbers = {**sizes, "preemphasis": PREEMPHASIS, "epsilon": EPSILON}
        arrays = {"weights": self._window, "twiddles": twiddles(), "rise": self._rise, "fall": self._fall}
        return native.Bank(numbers, {**arrays, "edges": mel_edges().astype(np.int32)}, self._signal)

    def reset(self) -> None:
        """Forget the stream: the next sample is the first."""
        self._waiting = 0  # samples of `_signal`
        self._last = 0  # sample

    def push(self, block: NDArray[np.int16]) -> NDArray[np.float32]:
        """Take (n,) samples of int16; return the frames that they complete, (m, MELS) float32, m >= 0."""
        frames, made = np.empty((self._completed(len(block)), MELS), np.float32), 0
        for start in range(0, max(1, len(block)), CHUNK):
            made += self.fill(block[start : start + CHUNK], frames, made)
        return frames

    def fill(self, block: NDArray[np.int16], frames: NDArray[np.float32], row: int) -> int:
        """Take samples as `push` does, at most `CHUNK`; write what they complete to rows of `frames` (n, MELS) from one
        on, and return how many these are: n / HOP, rounded up, at most.
        """
        if block.dtype != SAMPLES or block.ndim != 1:
            raise ValueError(f"samples must be int16 of shape (n,), not {block.dtype} of shape {block.shape}")
        if len(block) > CHUNK:
            raise ValueError(f"{len(block)} samples are too many at once; {CHUNK} is the most")
        if not len(block):
            return 0
        if block.strides[0] != SAMPLES.itemsize:
            block = np.ascontiguousarray(block)
        count = self._completed(len(block))
        self._fill(frames[row : row + count], self._waiting, block, self._last)
        self._waiting += len(block) - count * HOP
        self._last = block.item(-1)
        return count

    def _completed(self, samples: int) -> int:
        """How many frames so many samples complete."""
        return max(0, (self._waiting + samples - OVERLAP) // HOP)

    def _fill_in_numpy(self, frames: NDArray[np.float32], waiting: int, block: NDArray[np.int16], last: int) -> None:
        """Append the block, pre-emphasised, to what waits; make the frames of that, and keep what waits then."""
        end, used = waiting + len(block), len(frames) * HOP
        fresh = self._signal[waiting:end]
        fresh[:] = block
        fresh[1:] -= PREEMPHASIS * block[:-1]
        fresh[0] -= PREEMPHASIS * last
        if used:
            frames[:] = self._transform(self._signal[: used + OVERLAP])
            self._signal[: end - used] = self._signal[used:end].copy()

    def _transform(self, signal: NDArray[np.float64]) -> NDArray[np.float64]:
        windows = np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[::HOP] * self._window  # (frames, WINDOW)
        spectrum = np.fft.rfft(windows, FFT)[:, : self._bins]
        power = spectrum.real**2 + spectrum.imag**2  # (frames, bins); the Nyquist bin has weight 0 in every filter
        # Row-wise sums, unlike a matrix product, add in the same order however many frames come at once.
        rising = np.add.reduceat(power * self._rise, self._edges, axis=1)  # (frames, MELS + 1)
        falling = np.add.reduceat(power * self._fall, self._edges, axis=1)
        energy = rising[:, :MELS] + falling[:, 1:]
        energy[energy == 0] = EPSILON
        log_energy: NDArray[np.float64] = np.log(energy)
        return log_energy
