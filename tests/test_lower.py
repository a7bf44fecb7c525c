"""Steps, slots and their places; and the tables, which are complete."""

from __future__ import annotations

from itertools import combinations
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulse import declutter, evaluate, fuse, infer, lower, opset, pulsify, reference
from pulse.errors import GraphError, PlanError
from pulse.place import lives
from pulse.plan import Plan
from pulse.step import Slot
from pulse.window import Window
from tests import graphs
from tests.graphs import Builder, compiled
from tests.networks import Network, networks

EXAMPLES = settings(max_examples=60, deadline=None, derandomize=True)


def plan_of(b: Builder, *outputs: str, pulse: int = 4) -> Plan:
    return compiled(b.model((1, 4, "S"), list(outputs)), pulse)


def kernels(plan: Plan) -> list[str]:
    return [step.kernel for step in plan.steps]


# --- the tables ---------------------------------------------------------------------------------------------------

ON_CONSTANTS = {"Shape", "Size"}  # these are computed by the compiler or refused
OURS = {"ReduceVariance", "RunningMax", "RunningMean", "RunningVariance", "Unfold"}  # these no file has
STREAMED = set(opset.OPS) - {"Constant", "Loop", "Upsample"} - ON_CONSTANTS | OURS
VIEWED = {"ConstantOfShape", "Flatten", "Squeeze", "Unsqueeze"}  # these become an Expand, or a Reshape
ONLY_PULSED = {"Delay", "Edge", "Fill", "Front", "Gate", "Keep", "Recall", "Store", "Stuff", "Take"}
IN_INTEGERS = {"Dequantize", "QuantizedConv", "Quantize", "Requantize"}
TURNED = {"ConvTranspose", "Scan"}  # these become a Conv, and what is in them


def test_every_op_has_a_row_in_infer() -> None:
    assert set(infer.RULES) == STREAMED


def test_every_op_has_a_row_in_pulsify_or_is_removed_before() -> None:
    assert set(pulsify.RULES) == STREAMED - set(declutter.REMOVED)


def test_every_pulsed_op_has_a_row_in_lower() -> None:
    assert set(lower.RULES) == (set(pulsify.RULES) - VIEWED - TURNED) | ONLY_PULSED | IN_INTEGERS


def test_every_step_has_a_kernel() -> None:
    # by views and copies
    moved = {"Slice", "Transpose", "Reshape", "Concat", "Expand", "Gather", "Resize", "Stuff", "Unfold"}
    assert set(reference.KERNELS) == (set(lower.RULES) - moved) | {"Copy"}


def test_every_activation_that_is_fused_has_a_kernel() -> None:
    assert set(reference.ACTIVATIONS) == {"", *fuse.ACTIVATIONS}


def test_what_is_evaluated_is_an_op() -> None:
    assert set(evaluate.EVALUATIONS) | {"Shape", "Size"} <= set(opset.OPS)
    assert set(evaluate.EVALUATIONS) | {"Shape", "Size"} >= ON_CONSTANTS


# --- steps --------------------------------------------------------------------------------------------------------


def test_a_gated_layer_is_four_steps() -> None:
    b = Builder()
    parts = b.add_many("Split", 2, b.add("Conv", "x", b.floats(12, 4, 3)), axis=1, num_outputs=2)
    z = b.add("Mul", b.add("Sigmoid", parts[1]), b.add("Tanh", parts[0]))
    y = b.add("Add", b.front("x", 2), b.add("Conv", z, b.floats(4, 6, 1)))
    skip = b.add("Relu", b.add("Conv", z, b.floats(4, 6, 1)))
    plan = plan_of(b, y, skip)
    assert kernels(plan) == ["Delay", "Conv", "Conv", "Conv"]
    assert [step.parameters["activation"] for step in plan.steps[1:]] == ["Gate", "", "Relu"]


@pytest.mark.parametrize("halves", ["swapped", "of another value", "unequal"])
def test_what_only_looks_like_a_gate_is_none(halves: str) -> None:
    b = Builder()
    made = [b.add("Conv", "x", b.floats(6, 4, 1)) for _ in range(2)]
    sizes = b.constant([2, 4] if halves == "unequal" else [3, 3])
    (a, c), (_, other) = (b.add_many("Split", 2, name, sizes, axis=1) for name in made)
    a, c = {"swapped": (c, a), "of another value": (a, other), "unequal": (a, b.add("ReduceMax", c, b.constant([1])))}[
        halves
    ]
    plan = plan_of(b, b.add("Mul", b.add("Tanh", a), b.add("Sigmoid", c)))
    assert "Mul" in kernels(plan)


def test_what_moves_an_index_is_no_step() -> None:
    b = Builder()
    y = b.add("Transpose", "x", perm=[0, 2, 1])
    y = b.add("Slice", y, b.constant([1]), b.constant([3]), b.constant([2]))
    z = b.add("Unsqueeze", "x", b.constant([0]))
    assert kernels(plan_of(b, b.add("Relu", y), z)) == ["Relu"]


def test_what_lies_scattered_is_copied_before_it_is_reshaped() -> None:
    b = Builder()
    pairs = b.add("Transpose", b.add("Reshape", "x", b.constant([1, 2, 2, -1])), perm=[0, 2, 1, 3])
    assert kernels(plan_of(b, b.add("Reshape", pairs, b.constant([1, 4, -1])))) == ["Copy"]


def test_a_convolution_of_one_tap_gathers_nothing() -> None:
    b = Builder()
    plan = plan_of(b, b.add("Conv", b.add("Conv", "x", b.floats(4, 4, 3)), b.floats(4, 4, 1)))
    assert kernels(plan) == ["Delay", "Conv", "Conv"]
    assert plan.steps[2].writes[2] is None


# --- places -------------------------------------------------------------------------------------------------------


def lives_of(plan: Plan) -> dict[int, tuple[int, int]]:
    return lives(plan.steps, plan.inputs.values(), plan.outputs.values())


def overlap(a: Slot, b: Slot) -> bool:
    return a.offset < b.offset + b.size and b.offset < a.offset + a.size


@EXAMPLES
@given(network=networks())
def test_slots_that_live_at_the_same_time_lie_apart(network: Network) -> None:
    plan = compiled(network.model, network.pulse)
    for room in ("state", "weights"):
        for a, b in combinations([slot for slot in plan.slots if slot.room == room], 2):
            assert not overlap(a, b)
    arena = [(slot, life) for slot, life in lives_of(plan).items() if plan.slots[slot].room == "arena"]
    for (one, a), (other, b) in combinations(arena, 2):
        if a[0] <= b[1] and b[0] <= a[1]:
            assert not overlap(plan.slots[one], plan.slots[other])


def test_slots_that_do_not_meet_share_memory() -> None:
    b = Builder()
    y = "x"
    for _ in range(20):
        y = b.add("Tanh", y)
    assert max(slot.offset + slot.size for slot in plan_of(b, y).slots) <= 4 * 16


@EXAMPLES
@given(network=networks())
def test_the_same_model_gives_the_same_plan(network: Network) -> None:
    one, two = (compiled(network.model, network.pulse) for _ in range(2))
    assert one._content() == two._content()


def test_more_memory_than_a_satellite_has_is_refused() -> None:
    b = Builder()
    y = b.add("Conv", "x", b.floats(5000, 4, 1))
    with pytest.raises(GraphError, match=r"lower: an array of the shape \(1, 4096, 5000\) is too large"):
        plan_of(b, y, pulse=4096)
    b = Builder()
    wide = b.add("Pad", "x", b.constant([0, 4000, 0, 0, 0, 0]))
    with pytest.raises(GraphError, match="numbers of state, over 16777216"):
        plan_of(b, *(b.add("MaxPool", wide, kernel_shape=[size]) for size in (2500, 2501)), pulse=1)
    b = Builder()
    with pytest.raises(PlanError, match="a golden vector of 30004 pulses would be too large"):
        plan_of(b, b.front(b.add("Pad", "x", b.constant([0, 1000, 0, 0, 0, 0])), 30000), pulse=1)


def test_the_receptive_field_is_what_one_output_sees() -> None:
    b = Builder()
    y = b.add("Conv", "x", b.floats(4, 4, 3), dilations=[2], strides=[2])
    y = b.add("MaxPool", y, kernel_shape=[2], strides=[2])
    plan = plan_of(b, b.add("Relu", y), pulse=8)
    assert (plan.receptive_field, plan.stride) == (7, (4,))


@EXAMPLES
@given(network=networks(4))
def test_nothing_beyond_the_receptive_field_is_seen(network: Network) -> None:
    """An impulse moves no more output items than the receptive field says, where nothing is remembered for good."""
    plan = compiled(network.model, network.pulse)
    if {"CumSum", "GRU", "LSTM", "RNN", "Store"} & set(kernels(plan)):
        return
    x = np.random.default_rng(5).standard_normal((1, network.channels, graphs.enough(plan))).astype(np.float32)
    moved = x.copy()
    at = x.shape[2] // 2
    moved[:, :, at] += 1
    one, two = (graphs.streamed(plan, stream, network.axes)[0] for stream in (x, moved))
    differs = np.flatnonzero(np.moveaxis(one != two, network.axes[0], 0).reshape(one.shape[network.axes[0]], -1).any(1))
    if len(differs):
        assert (differs[-1] - differs[0]) * plan.stride[0] <= plan.receptive_field


def test_thousands_of_values_beside_each_other_find_their_places() -> None:
    b = Builder()
    y = b.add("Sum", *(b.add("Tanh", b.add("Mul", "x", b.floats(1))) for _ in range(1200)))
    start = perf_counter()
    assert len(compiled(b.model((1, 3, "S"), [y]), 1).steps) > 2400
    assert perf_counter() - start < 15


def test_indices_without_order_are_no_endless_list_of_steps() -> None:
    b = Builder()
    places = np.random.default_rng(1).integers(0, 3, 1 << 18)
    with pytest.raises(GraphError, match="'Gather0' is one step more than 40000; the network is too large"):
        compiled(b.model((1, 3, "S"), [b.add("Gather", "x", b.constant(places), axis=1)]), 1)


@given(slide=st.builds(Window, *(st.integers(1, 5) for _ in range(3)), *(st.integers(0, 6) for _ in range(3))))
def test_taps_are_counted(slide: Window) -> None:
    for padding in (False, True):
        first, end = (-slide.before, 20 + slide.after) if padding else (0, 20)
        taps = [
            sum(first <= start + tap * slide.dilation < end for tap in range(slide.kernel))
            for start in range(-slide.before, slide.length(20) * slide.stride - slide.before, slide.stride)
        ]
        assert slide.counted(20, padding=padding) == taps
