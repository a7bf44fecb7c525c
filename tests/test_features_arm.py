"""The front end in C on the boards' processors, emulated: its frames are those of this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from daemon.features import EPSILON, FFT, HOP, MELS, PREEMPHASIS, WINDOW, LogMel, mel_edges, twiddles
from daemon.kernels.build import FLAGS, SOURCES
from tests.test_arm import BOARDS, Board
from tests.test_features import signals

DRIVER = Path(__file__).with_name("log_mel_driver.c")


@pytest.fixture(scope="module", params=BOARDS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Board, Path]:
    """A board, and the driver built for it."""
    board = BOARDS[request.param]
    if not (shutil.which(board.compiler) and shutil.which(board.emulator)):
        pytest.skip(f"{board.compiler} or {board.emulator} is not here")
    made = tmp_path_factory.mktemp("boards") / "driver"
    strict = ["-Wextra", "-Werror", "-std=gnu11", "-static", f"-I{SOURCES[0].parent}"]
    sources = [str(path) for path in (*SOURCES, DRIVER)]
    subprocess.run([board.compiler, *board.flags, *FLAGS, *strict, *sources, "-lm", "-o", made], check=True)
    return board, made


def emulated(program: tuple[Board, Path], signal: np.ndarray, frames: int) -> Any:
    """The frames (frames, MELS) that the driver writes."""
    one = LogMel("hamming")
    weights, angles, edges = one._window, twiddles(), mel_edges().astype(np.int32)
    head = np.array([weights.size, angles.size, edges.size, one._rise.size, signal.size, frames])
    sizes, numbers = np.array([WINDOW, HOP, FFT, MELS], np.int32), np.array([PREEMPHASIS, EPSILON])
    parts = [head, sizes, numbers, weights, angles, one._rise, one._fall, edges, signal]
    board, made = program
    command = [board.emulator, "-cpu", board.processor, str(made)]
    done = subprocess.run(command, input=b"".join(part.tobytes() for part in parts), capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.float32).reshape(frames, MELS)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(signal=signals())
def test_frames_are_those_of_this_machine(program: tuple[Board, Path], signal: np.ndarray) -> None:
    wanted = LogMel("hamming", kernels="c").push(signal)
    found = emulated(program, signal, len(wanted))
    np.testing.assert_array_equal(found, wanted)
