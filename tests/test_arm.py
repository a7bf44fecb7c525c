"""The C kernels on the boards' processors, emulated: what they make of a plan is what the reference makes of it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pulse
from pulse import native
from pulse.kernels.build import FLAGS, SOURCES
from pulse.step import ROOMS, Floats, Program, View, room_size
from tests.graphs import Builder, compiled, enough
from tests.kernel_steps import CASES, Case, rooms_of
from tests.networks import Network, networks
from tests.shipped import MODEL
from tests.test_native import assert_alike

TOLERANCE = 1e-5
NUMBER, LINE = 4, 16  # bytes of a number of a room, numbers of a cache line
DRIVER = Path(__file__).with_name("driver.c")


@dataclass(frozen=True)
class Board:
    """How C is compiled for a board, and the processor that stands for it."""

    compiler: str
    flags: tuple[str, ...]
    emulator: str
    processor: str
    instructions: str


SMALL = ("-march=armv6", "-mfpu=vfp", "-mfloat-abi=softfp", "-marm")
BOARDS = {
    "armv6": Board("arm-linux-gnueabi-gcc", SMALL, "qemu-arm", "arm1176", "portable"),
    "armv7": Board("arm-linux-gnueabi-gcc", SMALL, "qemu-arm", "cortex-a7", "neon"),
    "aarch64": Board("aarch64-linux-gnu-gcc", (), "qemu-aarch64", "cortex-a53", "portable"),
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what is built lies."""
    return tmp_path_factory.mktemp("boards")


@pytest.fixture(params=BOARDS)
def program(request: pytest.FixtureRequest, folder: Path) -> tuple[Board, Path]:
    """A board, and the driver built for it."""
    board = BOARDS[request.param]
    if not (shutil.which(board.compiler) and shutil.which(board.emulator)):
        pytest.skip(f"{board.compiler} or {board.emulator} is not here")
    return board, built(board.compiler, board.flags, folder)


@cache
def built(compiler: str, flags: tuple[str, ...], folder: Path) -> Path:
    """The driver, for all boards that are compiled for alike."""
    made = folder / f"driver-{compiler}"
    strict = ["-Wextra", "-Werror", "-std=gnu11", "-static", f"-I{SOURCES[0].parent}"]
    sources = [str(path) for path in (*SOURCES, DRIVER)]
    subprocess.run([compiler, *flags, *FLAGS, *strict, *sources, "-lm", "-o", made], check=True)
    return made


def places(plan: Program, views: Iterable[View], starts: Mapping[str, int]) -> Any:
    """Where the numbers of these views lie among those of all rooms."""
    found = [np.empty(0, np.int64)]
    for view in views:
        slot, width = plan.slots[view.slot], np.dtype(view.kind).itemsize // NUMBER
        strides = np.array(view.strides, np.int64).reshape(-1, *(1,) * len(view.shape))
        elements = view.offset + (np.indices(view.shape) * strides).sum(0)
        numbers = starts[slot.room] + slot.offset + width * elements.reshape(-1, 1) + np.arange(width)
        found.append(numbers.reshape(-1))
    return np.concatenate(found)


def whole_lines(numbers: Floats) -> Floats:
    """A room that ends with a cache line, so that the next one starts with one."""
    return np.pad(numbers, (0, LINE - numbers.size % LINE))


def rooms_before(plan: Program) -> dict[str, Floats]:
    """The numbers of every room before the first pulse."""
    rooms = {room: np.zeros(room_size(plan.slots, room), np.float32) for room in ROOMS[:2]}
    for slot in plan.slots:
        if slot.room == "state":
            rooms["state"][slot.offset : slot.offset + slot.size].view(slot.kind)[:] = slot.initial
    return {**rooms, "weights": plan.weights}


def emulated(program: tuple[Board, Path], plan: Program, rooms: Mapping[str, Floats], pulses: Sequence[Any]) -> Any:
    """What the driver writes: for every pulse, given its inputs, the outputs, or all rooms where there are none."""
    tables, arrays = native._tables(plan)
    counts = [tables.view_count, tables.step_count, tables.step_count]
    rows = [array[:count] for array, count in zip(arrays, counts, strict=True)]
    full = {room: whole_lines(rooms[room]) for room in ROOMS}
    ends = np.cumsum([numbers.size for numbers in full.values()])
    starts = dict(zip(ROOMS, (0, *ends), strict=False))
    taken = places(plan, plan.inputs.values(), starts)
    given = places(plan, plan.outputs.values(), starts) if plan.outputs else np.arange(ends[1])
    head = np.array([*counts, *(numbers.size for numbers in full.values()), taken.size, given.size, len(pulses)])
    parts = [head, *rows, *full.values(), taken, given]
    for inputs in pulses:
        parts += [array.astype(view.kind) for array, view in zip(inputs, plan.inputs.values(), strict=True)]
    board, made = program
    fed = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
    done = subprocess.run([board.emulator, "-cpu", board.processor, made], input=fed, capture_output=True, check=True)
    assert done.stderr.decode().split() == [board.instructions]
    return np.frombuffer(done.stdout, np.float32).reshape(len(pulses), given.size)


def outputs_of(plan: pulse.Plan, numbers: Floats) -> list[Any]:
    """The outputs of one pulse."""
    found = []
    for view, dtype in zip(plan.outputs.values(), plan.output_dtypes, strict=True):
        mine, numbers = np.split(numbers, [view.size * np.dtype(view.kind).itemsize // NUMBER])
        found.append(mine.view(view.kind).reshape(view.shape).astype(dtype))
    return found


def assert_same(program: tuple[Board, Path], plan: pulse.Plan, axes: Sequence[int]) -> None:
    """What a plan makes of noise behind its delay is the same, but for what rounding does; time is on `axes`."""
    noise = np.random.default_rng(0)
    rows = list(zip(plan.inputs.values(), plan.input_dtypes, strict=True))
    count = enough(plan) // plan.pulse
    pulses = [[noise.standard_normal(view.shape).astype(dtype) for view, dtype in rows] for _ in range(count)]
    state = pulse.State(plan, kernels="reference")
    wanted = [[array.copy() for array in state.run(*inputs)] for inputs in pulses]
    found = [outputs_of(plan, numbers) for numbers in emulated(program, plan, rooms_before(plan), pulses)]
    pairs = zip(zip(*wanted, strict=True), zip(*found, strict=True), strict=True)
    for parts, axis, delay in zip(pairs, axes, plan.delay, strict=True):
        want, have = (np.moveaxis(np.concatenate(part, axis), axis, 0)[delay:] for part in parts)
        np.testing.assert_allclose(have, want, TOLERANCE, TOLERANCE * float(np.abs(want).max(initial=1)))


@pytest.mark.parametrize("name", ["six_words.plan", "six_words.int8.plan", "six_words_zero.int8.plan"])
def test_the_shipped_networks(program: tuple[Board, Path], name: str) -> None:
    assert_same(program, pulse.Plan.load(MODEL.with_name(name)), [1])


@pytest.mark.parametrize("channels", [3, 4, 9])
def test_channels_by_themselves(program: tuple[Board, Path], channels: int) -> None:
    b = Builder()
    y = b.add("Conv", "x", b.floats(channels, 2, 3))
    y = b.add("Conv", y, b.floats(channels, 1, 3), b.floats(channels), group=channels)
    assert_same(program, compiled(b.model((1, 2, "S"), [y]), 5), [2])


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(network=networks())
def test_random_networks(program: tuple[Board, Path], network: Network) -> None:
    assert_same(program, compiled(network.model, network.pulse), network.axes)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_kernel(program: tuple[Board, Path], data: Any) -> None:
    case = Case(data.draw)
    kernel = case.pick(*CASES)
    plan = CASES[kernel](case, kernel)
    before = rooms_of(plan, case)
    (numbers,) = emulated(program, plan, {**before, "weights": plan.weights}, [()])
    arena, state = np.split(numbers, [whole_lines(before["arena"]).size])
    assert_alike(plan, case, {"arena": arena, "state": state})
