"""The engine: what it reads, what it keeps, what it refuses, and that it allocates nothing on its way."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pulse
from pulse.place import lives
from pulse.plan import Plan
from tests import graphs
from tests.graphs import Builder, compiled
from tests.networks import Network, networks

PULSE = 4
CHANNELS = 3
POISON = -99  # for integers, which have no NaN


@pytest.fixture
def plan() -> Plan:
    b = Builder()
    y = b.add("Conv", "x", b.floats(4, CHANNELS, 5), b.floats(4), pads=[2, 2])
    y = b.add("Softmax", b.add("Conv", y, b.floats(4, 4, 3), pads=[2, 0]), axis=1)
    y = b.add("Elu", b.add("Add", y, b.add("Relu", y)))
    return compiled(b.model((1, CHANNELS, "S"), [y]), PULSE)


def piece(seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((1, CHANNELS, PULSE)).astype(np.float32)


class Poisoned(pulse.State):
    """A state in which everything that must not be read is NaN: dead slots, and items that no delay needs any more."""

    def __init__(self, plan: Plan, kernels: str | None) -> None:
        super().__init__(plan, kernels=kernels)
        self._lives = lives(plan.steps, plan.inputs.values(), plan.outputs.values())
        self._clean, self._walk = self._walk, SimpleNamespace(run=self.poisoned)  # type: ignore[assignment]

    def poisoned(self) -> None:
        """All steps, each in an arena where the dead are poison."""
        for index in range(len(self._plan.steps)):
            self.poison(index)
            self._clean.step(index)

    def poison(self, index: int) -> None:
        """NaN in all of the arena but the slots that live at step `index` and hold something."""
        arena = self._rooms["arena"]
        kept = np.zeros(arena.shape[1], bool)
        for slot, (first, last) in self._lives.items():
            place = self._plan.slots[slot]
            if place.room == "arena" and first < index <= last:
                kept[place.offset : place.offset + place.size] = True
        arena[:, ~kept] = np.nan

    def poison_rings(self) -> None:
        """Poison in the items that every delay drops when it moves on."""
        for step in self._plan.steps:
            if step.kernel == "Delay":
                ring, x = step.writes[0], step.reads[0]
                assert ring is not None and x is not None
                self.array(ring)[..., : x.shape[-1]] = np.nan if ring.kind == "float32" else POISON


@settings(max_examples=80, deadline=None, derandomize=True)
@given(network=networks(), kernels=st.sampled_from([None, "reference"]))
def test_nothing_is_read_that_was_not_written(network: Network, kernels: str | None) -> None:
    plan = compiled(network.model, network.pulse)
    x = np.random.default_rng(1).standard_normal((1, network.channels, graphs.enough(plan))).astype(np.float32)
    clean, poisoned = pulse.State(plan, kernels=kernels), Poisoned(plan, kernels)
    for part in np.split(x, x.shape[2] // plan.pulse, 2):
        wanted = clean.run(part)
        for have, want in zip(poisoned.run(part), wanted, strict=True):
            np.testing.assert_array_equal(have, want)
        poisoned.poison_rings()


def test_outputs_are_valid_until_the_next_run_and_cannot_be_written(plan: Plan) -> None:
    state = pulse.State(plan)
    (first,) = state.run(piece(0))
    kept = first.copy()
    np.testing.assert_array_equal(first, kept)
    (second,) = state.run(piece(1))
    assert second is first
    assert not np.array_equal(second, kept)
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0, 0] = 1


def test_the_input_stays_as_it_is(plan: Plan) -> None:
    x = piece()
    x.flags.writeable = False
    pulse.State(plan).run(x)
    np.testing.assert_array_equal(x, piece())


def test_strided_inputs_are_taken(plan: Plan) -> None:
    (wanted,) = (y.copy() for y in pulse.State(plan).run(piece()))
    turned = np.ascontiguousarray(piece().transpose(0, 2, 1)).transpose(0, 2, 1)
    np.testing.assert_array_equal(pulse.State(plan).run(turned)[0], wanted)


def test_arrays_in_files_are_taken(plan: Plan, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", piece())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    (wanted,) = (y.copy() for y in pulse.State(plan).run(piece()))
    np.testing.assert_array_equal(pulse.State(plan).run(mapped)[0], wanted)


def test_a_run_allocates_no_arrays(plan: Plan) -> None:
    state, x = pulse.State(plan), piece()
    state.run(x)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            state.run(x)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    smallest_room = 4 * sum(slot.size for slot in plan.slots if slot.room == "arena")
    assert after - before < 2000  # less than one array for each run
    assert peak - before < smallest_room + 2000  # views and tuples, which Python makes and drops


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "0 inputs given; the plan takes 1: x"),
        ((piece(), piece()), "2 inputs given"),
        ((piece().astype(np.float64),), r"the input 'x' is float64 \(1, 3, 4\); the plan takes float32 \(1, 3, 4\)"),
        ((piece()[:, :, :3],), r"float32 \(1, 3, 3\)"),
        ((piece()[0],), r"float32 \(3, 4\)"),
        (([1, 2, 3],), "is list"),
    ],
)
def test_what_does_not_fit_is_refused(given: tuple[Any, ...], message: str, plan: Plan) -> None:
    state = pulse.State(plan)
    with pytest.raises(pulse.InputError, match=message):
        state.run(*given)


def test_warm_up_may_be_wild() -> None:
    """Logarithms of the zeros that memory starts with are nobody's business."""
    b = Builder()
    y = b.add("Log", b.add("Conv", b.add("Exp", "x"), b.constant(np.ones((1, CHANNELS, 3)), np.float32)))
    plan = compiled(b.model((1, CHANNELS, "S"), [y]), PULSE)
    state = pulse.State(plan)
    outputs = np.concatenate([state.run(piece(seed))[0].copy() for seed in range(3)], axis=2)
    assert np.isfinite(outputs[:, :, plan.delay[0] :]).all()
