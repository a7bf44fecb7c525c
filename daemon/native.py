"""The front end in C: the only module of this room that crosses the border to C."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pulse.native


def _extension() -> Any:
    """What cffi made of kernels/, or `None` where there was no compiler."""
    try:
        return import_module("daemon._kernels")
    except ImportError:
        return None


_kernels = _extension()
BUILT = _kernels is not None
_TYPES = {"int32": "int32_t[]", "float64": "double[]"}


def described() -> str:
    """What computes here, in words for an owner."""
    network = pulse.native.instructions()
    if network and BUILT:
        return f"C kernels, {network}"
    missing = " and ".join(["the network"] * (network is None) + ["the features"] * (not BUILT))
    return f"numpy for {missing}, many times as slow as C; install again where there is a C compiler to have that"


class Bank:
    """What frames are made with, as api.h names it, and the memory `signal` for what waits, ready for C."""

    def __init__(
        self, numbers: Mapping[str, float], arrays: Mapping[str, NDArray[Any]], signal: NDArray[np.float64]
    ) -> None:
        if not BUILT:
            raise ValueError("features: C is not built here; install wakepulse where there is a C compiler")
        if numbers["fft"] > _kernels.lib.MAX_FFT:
            raise ValueError(f"features: C takes an FFT of {_kernels.lib.MAX_FFT} at most")
        pointers = {name: _kernels.ffi.from_buffer(_TYPES[array.dtype.name], array) for name, array in arrays.items()}
        self._bank = _kernels.ffi.new("Bank *", {**numbers, **pointers})
        self._signal = _kernels.ffi.from_buffer("double[]", signal)
        self._kept = pointers
        self._next_frames, self._from_buffer = _kernels.lib.next_frames, _kernels.ffi.from_buffer

    def fill(self, frames: NDArray[np.float32], waiting: int, block: NDArray[np.int16], last: int) -> None:
        """Append the block, pre-emphasised, to what waits; make the frames of that, and keep what waits then."""
        given, made = self._from_buffer("int16_t[]", block), self._from_buffer("float[]", frames)
        self._next_frames(made, self._signal, self._bank, waiting, given, len(block), last, len(frames))
