"""The law of native kernels: native equals reference, on every set of instructions that this processor has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pulse
from pulse.native import Walk, parameters
from pulse.reference import KERNELS
from pulse.step import Array, Floats
from tests.graphs import Builder, compiled
from tests.kernel_steps import CASES, Case, Single, rooms_of, seen
from tests.networks import Network, networks

EXACT = ("Cast", "Copy", "Delay", "Edge", "Fill", "Front", "Keep", "MaxPool", "Pad", "Recall", "ReduceMax", "ReduceMin")
EXACT += ("RunningMax", "Store", "Take", "Abs", "Ceil", "Floor", "Max", "Min", "Neg", "Relu", "Round", "Sign", "Where")
TOLERANCE = 1e-5
ROOT = Path(__file__).resolve().parent.parent
WATCHED = ("-O0", "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all")


def instructions() -> list[str]:
    """Those that this processor has."""
    flags = Path("/proc/cpuinfo").read_text("utf-8")
    return ["portable", *(name for name, flag in (("avx2", " avx2 "), ("avx512", " avx512dq ")) if flag in flags)]


NAMES = instructions()


def test_every_kernel_is_there_twice() -> None:
    assert set(parameters()) == set(KERNELS) == set(CASES)


def scale(wanted: Array) -> float:
    """The largest number, and at least 1: what a sum of such numbers may be off by is so much of it."""
    return float(np.max(np.abs(wanted), initial=1.0, where=np.isfinite(wanted)))


def assert_law(program: Single, case: Case, name: str) -> None:
    found = rooms_of(program, case)
    arena, state = (found[room].reshape(1, -1) for room in ("arena", "state"))
    Walk(program, arena, state, name).run()
    assert_alike(program, case, found)


def assert_alike(program: Single, case: Case, found: Mapping[str, Floats]) -> None:
    """What is found in the rooms is what the reference leaves there."""
    (step,) = program.steps
    wanted = {**rooms_of(program, case), "weights": program.weights}
    views = [*step.writes, *step.reads]
    with np.errstate(all="ignore"):
        KERNELS[step.kernel](*(view and seen(wanted, program.slots, view) for view in views), **step.parameters)
    for number, slot in enumerate(program.slots):
        if number not in case.scratch and slot.room != "weights":
            have, want = (
                rooms[slot.room][slot.offset : slot.offset + slot.size].view(slot.kind) for rooms in (found, wanted)
            )
            if step.kernel in EXACT or slot.kind.startswith("int"):
                np.testing.assert_array_equal(have, want)
            else:
                np.testing.assert_allclose(have, want, TOLERANCE, TOLERANCE * scale(want))
    for room in ("arena", "state"):
        top = max((slot.offset + slot.size for slot in program.slots if slot.room == room), default=0)
        assert (found[room][top : wanted[room].size] == 77.0).all()


@pytest.mark.parametrize("kernel", CASES)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_native_is_reference(kernel: str, data: Any) -> None:
    case = Case(data.draw)
    program = CASES[kernel](case, kernel)
    for name in NAMES:
        assert_law(program, case, name)


def assert_same(plan: pulse.Plan, name: str, seed: int) -> None:
    """Pulse by pulse: what a plan makes of noise is the same."""
    noise = np.random.default_rng(seed)
    reference, native = pulse.State(plan, kernels="reference"), pulse.State(plan, kernels=name)
    for _ in range(5):
        rows = zip(plan.inputs.values(), plan.input_dtypes, strict=True)
        given = [noise.standard_normal(view.shape).astype(dtype) for view, dtype in rows]
        for have, want in zip(native.run(*given), reference.run(*given), strict=True):
            np.testing.assert_allclose(have, want, 1e-4, 1e-4 * scale(want))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(network=networks(), seed=st.integers(0, 99), name=st.sampled_from(NAMES))
def test_networks_run_alike(network: Network, seed: int, name: str) -> None:
    assert_same(compiled(network.model, network.pulse), name, seed)


def test_hostile_steps_stay_in_their_memory(tmp_path: Path) -> None:
    """In a process of its own, where AddressSanitizer watches a second build of the engine."""
    watcher = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=False).stdout
    assert Path(watcher.strip()).is_absolute(), "AddressSanitizer comes with gcc"
    shutil.copytree(ROOT / "pulse", tmp_path / "pulse", ignore=shutil.ignore_patterns("*.so", "*.o", "_kernels.c"))
    (tmp_path / "tests").mkdir()
    for name in ("__init__.py", "hostile_steps.py", "kernel_steps.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path / "tests")
    build = tmp_path / "pulse" / "kernels" / "build.py"
    build.write_text(build.read_text("utf-8").replace('"-O3"', ", ".join(f'"{flag}"' for flag in WATCHED)), "utf-8")
    run = partial(subprocess.run, cwd=tmp_path, capture_output=True, text=True, check=False)
    built = run([sys.executable, str(build)], env={**os.environ, "LDFLAGS": " ".join(WATCHED)})
    assert built.returncode == 0, built.stderr
    env = {**os.environ, "LD_PRELOAD": watcher.strip(), "ASAN_OPTIONS": "detect_leaks=0", "PYTHONPATH": str(tmp_path)}
    done = run([sys.executable, "-m", "tests.hostile_steps", "1000"], env=env)
    assert done.returncode == 0, done.stderr
    refused, ran = map(int, done.stdout.split())
    assert refused > 100 and ran > 100


@pytest.mark.parametrize("name", NAMES)
def test_activations_are_exact_enough(name: str) -> None:
    """The bound that product_block.h states, against float64; NaN and infinities come out as they should."""
    b = Builder()
    first, second = b.add_many("Split", 2, "x", axis=1, num_outputs=2)
    outputs = b.add("Tanh", "x"), b.add("Sigmoid", "x"), b.add("Mul", b.add("Tanh", first), b.add("Sigmoid", second))
    plan = compiled(b.model((1, 2, "S"), [*outputs]), 4096)
    assert "Gate" in [step.kernel for step in plan.steps]
    x = np.random.default_rng(0).uniform(-12, 12, (1, 2, 4096)).astype(np.float32)
    x[0, :, :6] = np.nan, np.inf, -np.inf, 1e-30, -1e-30, 3e38
    found = pulse.State(plan, kernels=name).run(x)
    exact = x.astype(np.float64)
    with np.errstate(over="ignore"):
        tanh, sigmoid = np.tanh(exact), 1 / (1 + np.exp(-exact))
    for have, wanted in zip(found, (tanh, sigmoid, tanh[:, :1] * sigmoid[:, 1:]), strict=True):
        np.testing.assert_allclose(have, wanted, rtol=0, atol=2e-6)
