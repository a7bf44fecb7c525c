"""The front end equals python_speech_features on the whole signal, however the sound is cut."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from python_speech_features import fbank

from daemon.features import (
    CHUNK,
    HOP,
    MELS,
    METADATA_KEY,
    WINDOW,
    WINDOW_FUNCTIONS,
    FeatureMismatch,
    Kernels,
    LogMel,
    describe,
    mel_edges,
    window_function_of,
)

ROOT = Path(__file__).resolve().parent.parent
windows = st.sampled_from(sorted(WINDOW_FUNCTIONS))
both = pytest.mark.parametrize("kernels", get_args(Kernels))


@st.composite
def signals(draw: st.DrawFn) -> np.ndarray:
    """Noise, tones, silence and clipping, at any level."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    length = draw(st.integers(0, 6000))
    level = draw(st.sampled_from([0, 1, 30, 3000, 40_000]))
    tone = np.sin(draw(st.floats(0, 3.1)) * np.arange(length))
    mixed = level * (tone + draw(st.sampled_from([0, 0.01, 1])) * rng.normal(size=length))
    return np.clip(np.rint(mixed), -32768, 32767).astype(np.int16)


def reference(signal: np.ndarray, window: str) -> np.ndarray:
    """Only whole frames: a stream never pads its end."""
    if len(signal) < WINDOW:
        return np.empty((0, MELS))
    energies = fbank(signal, nfilt=MELS, winfunc=WINDOW_FUNCTIONS[window])[0]
    return np.log(energies)[: 1 + (len(signal) - WINDOW) // HOP]


def in_blocks(signal: np.ndarray, cuts: list[int], window: str, kernels: Kernels) -> np.ndarray:
    features = LogMel(window, kernels=kernels)
    edges = [0, *sorted(c % (len(signal) + 1) for c in cuts), len(signal)]
    return np.concatenate([features.push(signal[a:b]) for a, b in itertools.pairwise(edges)])


@both
@given(signals(), st.lists(st.integers(0, 6000), max_size=30), windows)
def test_equals_python_speech_features_for_every_chunking(
    kernels: Kernels, signal: np.ndarray, cuts: list[int], window: str
) -> None:
    frames = in_blocks(signal, cuts, window, kernels)
    assert frames.dtype == np.float32
    np.testing.assert_allclose(frames, reference(signal, window), rtol=0, atol=1e-5)


@both
@given(signals(), st.lists(st.integers(0, 6000), max_size=30))
def test_chunking_changes_no_bit(kernels: Kernels, signal: np.ndarray, cuts: list[int]) -> None:
    whole = LogMel("hamming", kernels=kernels).push(signal)
    np.testing.assert_array_equal(in_blocks(signal, cuts, "hamming", kernels), whole)


@both
@pytest.mark.parametrize("size", [1, 160, 256, 1280])
def test_usual_block_sizes(kernels: Kernels, size: int) -> None:
    signal = np.random.default_rng(1).integers(-3000, 3000, 4000).astype(np.int16)
    cuts = list(range(0, len(signal), size))
    whole = LogMel("hamming", kernels=kernels).push(signal)
    np.testing.assert_array_equal(in_blocks(signal, cuts, "hamming", kernels), whole)


@given(signals(), windows)
def test_c_and_numpy_differ_by_a_rounding_at_most(signal: np.ndarray, window: str) -> None:
    in_c, in_numpy = (LogMel(window, kernels=kernels).push(signal) for kernels in get_args(Kernels))
    assert (np.abs(in_c - in_numpy) <= np.spacing(np.maximum(1, np.abs(in_numpy)))).all()


def test_numpy_computes_where_c_is_not_built() -> None:
    without = "import sys; sys.modules['daemon._kernels'] = None"
    check = f"{without}; from daemon.features import LogMel; print(LogMel().kernels)"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), LogMel().kernels) == ("reference", "c")


def test_c_takes_blocks_that_lie_apart() -> None:
    signal = np.random.default_rng(3).integers(-3000, 3000, 4000).astype(np.int16)
    np.testing.assert_array_equal(LogMel().push(signal[::2]), LogMel().push(signal[::2].copy()))


@both
def test_no_more_is_taken_than_there_is_memory_for(kernels: Kernels) -> None:
    frames = np.zeros((CHUNK // HOP + 1, MELS), np.float32)
    with pytest.raises(ValueError, match="too many at once"):
        LogMel(kernels=kernels).fill(np.zeros(CHUNK + 1, np.int16), frames, 0)
    signal = np.random.default_rng(4).integers(-3000, 3000, 2 * CHUNK + 7).astype(np.int16)
    cuts = [399, CHUNK + 399, CHUNK + 400]
    np.testing.assert_array_equal(in_blocks(signal, cuts, "hamming", kernels), LogMel(kernels=kernels).push(signal))


@both
def test_golden_values(kernels: Kernels) -> None:
    signal = np.rint(1000 * np.sin(2 * np.pi * 440 * np.arange(1600) / 16000)).astype(np.int16)
    frames = LogMel("rectangular", kernels=kernels).push(signal)
    np.testing.assert_allclose(frames[3, :3], [7.594236, 8.864430, 8.104539], atol=1e-5)


@pytest.mark.parametrize(("samples", "frames"), [(399, 0), (400, 1), (559, 1), (560, 2), (1280, 6), (16000, 98)])
def test_a_frame_comes_with_its_last_sample(samples: int, frames: int) -> None:
    assert len(LogMel().push(np.ones(samples, np.int16))) == frames


@both
def test_silence_is_the_logarithm_of_epsilon(kernels: Kernels) -> None:
    np.testing.assert_allclose(LogMel(kernels=kernels).push(np.zeros(400, np.int16)), -36.0437, atol=1e-4)


def test_reset_forgets() -> None:
    signal = np.random.default_rng(2).integers(-3000, 3000, 1000).astype(np.int16)
    features = LogMel()
    features.push(signal[:777])
    features.reset()
    np.testing.assert_array_equal(features.push(signal), LogMel().push(signal))


def test_each_filter_has_bins_of_its_own() -> None:
    assert (np.diff(mel_edges()) > 0).all()
    assert mel_edges()[-1] == 256


@pytest.mark.parametrize("block", [np.zeros(5, np.float32), np.zeros((5, 1), np.int16), np.zeros(5, np.int32)])
def test_only_int16_mono_is_sound(block: np.ndarray) -> None:
    with pytest.raises(ValueError, match="int16 of shape"):
        LogMel().push(block)


@given(windows)
def test_own_identifier_is_accepted(window: str) -> None:
    assert window_function_of({METADATA_KEY: json.dumps(describe(window))}) == window


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mels": 32}, "mels is 32 there and 40 here"),
        ({"hop": 200}, "hop is 200"),
        ({"window_function": "hann"}, "hann"),
        ({"pcen": True}, "pcen is True"),
        ({"id": "other"}, "id is 'other'"),
    ],
)
def test_other_features_are_refused(change: dict, said: str) -> None:
    with pytest.raises(FeatureMismatch, match=said):
        window_function_of({METADATA_KEY: json.dumps(describe("hamming") | change)})


@pytest.mark.parametrize("metadata", [{}, {METADATA_KEY: "{"}, {METADATA_KEY: "[]"}])
def test_unstated_features_are_refused(metadata: dict) -> None:
    with pytest.raises(FeatureMismatch):
        window_function_of(metadata)
