"""Convolutions side by side become one, where that is possible, and say the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pulse
from tests import graphs
from tests.graphs import Builder

CHANNELS = 3


def layers(seed: int, count: int, skipped: int) -> tuple[Builder, list[str]]:
    """Layers that add to a residual and a skip sum by convolutions of what they made; both sums go out."""
    b = Builder(seed)
    residual, skip = "x", b.add("Conv", "x", b.floats(skipped, CHANNELS, 1))
    for _ in range(count):
        z = b.add("Tanh", b.add("Conv", residual, b.floats(5, CHANNELS, 2), pads=[1, 0]))
        residual = b.add("Add", residual, b.add("Conv", z, b.floats(CHANNELS, 5, 1), b.floats(CHANNELS)))
        skip = b.add("Add", b.add("Conv", z, b.floats(skipped, 5, 1)), skip)
    return b, [residual, skip]


def convolutions(plan: pulse.Plan) -> int:
    return sum(step.kernel == "Conv" for step in plan.steps)


def lawful(b: Builder, outputs: list[str], step: int = 4) -> pulse.Plan:
    model = b.model((1, CHANNELS, "S"), outputs)
    plan = graphs.compiled(model, step)
    x = np.random.default_rng(1).standard_normal((1, CHANNELS, graphs.enough(plan))).astype(np.float32)
    graphs.assert_law(plan, graphs.whole(model, x), graphs.streamed(plan, x, [2] * len(outputs)), [2] * len(outputs))
    return plan


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 99), st.integers(1, 4), st.integers(1, 6), st.integers(1, 9))
def test_sums_that_travel_together_are_one(seed: int, count: int, skipped: int, step: int) -> None:
    plan = lawful(*layers(seed, count, skipped), step)
    assert convolutions(plan) == 1 + 2 * count


def test_only_the_first_layer_copies_its_sums_together() -> None:
    b, outputs = layers(0, 3, 4)
    assert [step.kernel for step in lawful(b, outputs).steps].count("Copy") == 2


def test_many_of_the_same_value_are_joined_in_pairs() -> None:
    b = Builder()
    made = [b.add("Conv", "x", b.floats(filters, CHANNELS, 3)) for filters in (2, 3, 4, 5)]
    assert convolutions(lawful(b, made)) == 2


def test_one_that_needs_the_other_is_not_joined() -> None:
    b = Builder()
    first = b.add("Add", b.add("Conv", "x", b.floats(3, CHANNELS, 1)), "x")
    second = b.add("Add", b.add("Conv", "x", b.floats(3, CHANNELS, 1)), b.add("Tanh", first))
    assert convolutions(lawful(b, [first, second])) == 2


def test_pairs_that_need_each_other_are_not_both_joined() -> None:
    b = Builder()
    y = b.add("Tanh", "x")
    a1, b1 = (b.add("Add", b.add("Conv", value, b.floats(3, CHANNELS, 1)), "x") for value in ("x", y))
    a2 = b.add("Add", b.add("Conv", "x", b.floats(3, CHANNELS, 1)), b.add("Tanh", b1))
    b2 = b.add("Add", b.add("Conv", y, b.floats(3, CHANNELS, 1)), b.add("Tanh", a1))
    assert convolutions(lawful(b, [a1, b1, a2, b2])) == 3


@pytest.mark.parametrize("other", [{"group": 3}, {"dilations": [2]}, {"strides": [2]}])
def test_another_window_is_not_joined(other: dict[str, object]) -> None:
    b = Builder()
    plain = b.add("Conv", "x", b.floats(3, CHANNELS, 2))
    group = int(str(other.get("group", 1)))
    changed = b.add("Conv", "x", b.floats(3, CHANNELS // group, 2), **other)
    assert convolutions(lawful(b, [plain, changed])) == 2
