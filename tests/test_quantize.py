"""Networks in integers: the same bits on every processor and for every cut, and close to float32."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import pulse
from pulse import NotStreamable
from pulse.calibrate import Lowered, lower_to_int8, report
from pulse.declutter import declutter
from pulse.fuse import fuse
from pulse.graph import Graph
from pulse.infer import infer
from pulse.integer import HIGHEST, LOWEST, STEPS, UNIT, quantize, scaled, tanh_table
from pulse.lower import planned
from pulse.native import BUILT
from pulse.plan import with_golden
from pulse.pulsify import pulsify
from pulse.quantize import CURVED
from pulse.quantize import quantize as in_integers
from pulse.scale import Scale, multiplier, scale_of, shift
from pulse.step import KINDS
from tests.graphs import Builder, batch_graph
from tests.test_native import NAMES

ITEMS = 64  # that networks are calibrated with and run over; whole pulses for all pulses below
PULSES = (1, 2, 4, 8, 16, 64)


def pulsed(b: Builder, channels: int, outputs: list[str], step: int = 4) -> Graph:
    return pulsify(declutter(infer(batch_graph(b.model((1, channels, "S"), outputs)))), step)


def noise(channels: int, items: int = ITEMS, seed: int = 3) -> Any:
    return np.random.default_rng(seed).standard_normal((1, channels, items)).astype(np.float32)


def streamed(plan: pulse.Plan, x: Any, kernels: str | None = "reference") -> tuple[Any, bytes]:
    """What comes out of the first output, and all that is remembered then."""
    state = pulse.State(plan, kernels=kernels)
    parts = [state.run(np.ascontiguousarray(part))[0].copy() for part in np.split(x, x.shape[2] // plan.pulse, 2)]
    return np.concatenate(parts, 2), state.snapshot()


def convolution(b: Builder, draw: Any, x: str, channels: int) -> tuple[str, int]:
    group = draw(st.sampled_from([1, 1, channels]))
    filters = group * draw(st.integers(1, 3 if group > 1 else 35))
    kernel, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    inputs = [x, b.floats(filters, channels // group, kernel)]
    inputs += [b.floats(filters)] if draw(st.booleans()) else []
    pads = [draw(st.sampled_from([0, (kernel - 1) * dilation])), 0]
    y = b.add("Conv", *inputs, dilations=[dilation], group=group, pads=pads)
    return (b.add(draw(st.sampled_from(["Relu", "Tanh", "Sigmoid"])), y) if draw(st.booleans()) else y), filters


def gated(b: Builder, draw: Any, x: str, channels: int) -> tuple[str, int]:
    """A gated layer with its residual and a skip sum, joined at its end."""
    half = draw(st.integers(1, 20))
    a = b.add("Conv", x, b.floats(2 * half, channels, 2), b.floats(2 * half), pads=[1, 0])
    tanh, sigmoid = b.add_many("Split", 2, a, axis=1, num_outputs=2)
    z = b.add("Mul", b.add("Tanh", tanh), b.add("Sigmoid", sigmoid))
    residual = b.add("Add", x, b.add("Conv", z, b.floats(channels, half, 1)))
    skip = b.add("Conv", z, b.floats(5, half, 1), b.floats(5))
    again = b.add("Conv", residual, b.floats(5, channels, 1))
    return b.add("Relu", b.add("Add", skip, again)), 5


def image(b: Builder, draw: Any, x: str, channels: int) -> tuple[str, int]:
    """A convolution over channels and time, as over the rows and columns of an image."""
    filters = draw(st.integers(1, 4))
    rows = min(channels, draw(st.integers(1, 3)))
    y = b.add("Unsqueeze", x, b.constant([1]))
    y = b.add("Conv", y, b.floats(filters, 1, rows, 2), pads=[0, 1, 0, 0])
    return b.add("Reshape", y, b.constant([1, filters * (channels - rows + 1), -1])), filters * (channels - rows + 1)


def moved(b: Builder, draw: Any, x: str, channels: int) -> tuple[str, int]:
    """The same numbers in other places, behind a convolution and in front of others."""
    y, width = b.add("Conv", x, b.floats(6, channels, 1)), 6
    match draw(st.sampled_from(["Gather", "Pad", "Slice", "Transpose", "Split"])):
        case "Gather":
            indices = draw(st.lists(st.integers(0, 5), min_size=1, max_size=9))
            y, width = b.add("Gather", y, b.constant(indices), axis=1), len(indices)
        case "Pad":
            y, width = b.add("Pad", y, b.constant([0, 1, 2, 0, 2, 0])), 9
        case "Slice":
            y, width = b.add("Slice", y, *(b.constant([number]) for number in (1, 6, 1, 2))), 3
        case "Transpose":
            y = b.add("Reshape", y, b.constant([1, 2, 3, -1]))
            y = b.add("Reshape", b.add("Transpose", y, perm=[0, 2, 1, 3]), b.constant([1, 6, -1]))
        case "Split":
            first, second = b.add_many("Split", 2, y, axis=1, num_outputs=2)
            y, width = b.add("Add", b.add("Conv", first, b.floats(3, 3, 2), pads=[1, 0]), second), 3
    return y, width


@st.composite
def networks(draw: Any) -> tuple[Builder, int, str]:
    """A network of nothing but what becomes integers, its channels and its output."""
    b = Builder(draw(st.integers(0, 99)))
    channels = width = draw(st.integers(1, 20))
    y = "x"
    for layer in draw(st.lists(st.sampled_from([convolution, gated, image, moved]), min_size=1, max_size=3)):
        y, width = layer(b, draw, y, width)
    return b, channels, b.add("Conv", y, b.floats(3, width, 1))


Network = tuple[Builder, int, str]


def lowered(network: Network, step: int = 4) -> Lowered:
    b, channels, y = network
    return lower_to_int8(pulsed(b, channels, [y], step), {"x": noise(channels)})


def layers(count: int = 3, *, biased: bool = True) -> Network:
    """Gated layers as in a wake-word network."""
    b = Builder(1)
    x, skips, left = b.add("Conv", "x", b.floats(16, 8, 3)), [], 2 * (2**count - 1)
    for layer in range(count):
        inputs, lost = [x, b.floats(64, 16, 3), *([b.floats(64)] if biased else [])], 2 << layer
        a = b.add("Conv", *inputs, dilations=[1 << layer])
        tanh, sigmoid = b.add_many("Split", 2, a, axis=1, num_outputs=2)
        z = b.add("Mul", b.add("Tanh", tanh), b.add("Sigmoid", sigmoid))
        x = b.add("Add", b.front(x, lost), b.add("Conv", z, b.floats(16, 32, 1)))
        left -= lost
        skips.append(b.front(b.add("Conv", z, b.floats(24, 32, 1)), left))
    total = skips[0]
    for skip in skips[1:]:
        total = b.add("Add", total, skip)
    return b, 8, b.add("Conv", b.add("Relu", total), b.floats(4, 24, 1))


# --- numbers ------------------------------------------------------------------------------------------------------


@given(st.integers(-(1 << 22), 1 << 22), st.floats(1e-6, 300))
@example(-3, 0.5)
@example(3, 0.5)
def test_a_multiplication_is_rounded_once(x: int, factor: float) -> None:
    left = shift(factor)
    number = multiplier(factor, left)
    exact = Fraction(x * number, 1 << (32 - left)) + Fraction(1, 2)
    array = np.array([x])
    scaled(array, number, left)
    assert 0 <= number < 1 << 31
    assert array[0] == math.floor(exact)
    assert abs(Fraction(number, 1 << (32 - left)) - Fraction(factor)) <= Fraction(1, 1 << (33 - left))


def test_ties_go_up() -> None:
    x = np.array([-6, -2, 2, 6])
    scaled(x, multiplier(0.25, shift(0.25)), shift(0.25))
    assert x.tolist() == [-1, 0, 1, 2]


def test_multipliers_are_those_of_the_book() -> None:
    assert [(multiplier(factor, shift(factor)), shift(factor)) for factor in (0.25, 1.5)] == [
        (1 << 30, 0),
        (3 << 29, 2),
    ]


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_a_scale_has_an_exact_zero_and_reaches_its_ends(a: float, b: float) -> None:
    low, high = sorted((a, b))
    scale = scale_of(low, high)
    assert LOWEST <= scale.zero <= HIGHEST
    for number in (low, high):
        nearest = min(max(round(number / scale.step) + scale.zero, LOWEST), HIGHEST)
        assert abs((nearest - scale.zero) * scale.step - number) <= scale.step * 1.001


def test_what_is_quantised_is_rounded_and_kept_within_int8() -> None:
    x = np.array([-np.inf, -1e9, -1.5, -0.5, 0.0, 0.5, 1.5, 1e9, np.inf, np.nan], np.float32)
    out, scratch = np.empty(len(x), np.int8), np.empty_like(x)
    quantize(out, scratch, x, inverse=1.0, zero=5)
    assert out.tolist() == [-128, -128, 3, 5, 5, 5, 7, 127, 127, -128]


def test_tanh_is_straight_between_exact_points() -> None:
    x = np.arange(-UNIT, UNIT)
    table = tanh_table()
    assert np.abs(table / UNIT - np.tanh(x / STEPS)).max() < 1.6e-3
    assert table[UNIT] == 0
    np.testing.assert_array_equal(table[1:], -table[:0:-1])
    assert (np.diff(table) >= 0).all()


# --- the laws -----------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, derandomize=True)
@given(networks())
def test_every_cut_gives_the_same_bits(network: Network) -> None:
    b, channels, y = network
    first = lowered(network, PULSES[0])
    x = noise(channels)
    (wanted, _) = streamed(first.plan, x)
    for step in PULSES[1:]:
        graph = pulsed(b, channels, [y], step)
        plan = planned(graph, in_integers(fuse(graph), first.ranges).graph)
        np.testing.assert_array_equal(streamed(plan, x)[0], wanted)


@pytest.mark.skipif(not BUILT, reason="the kernels are not built")
@settings(max_examples=80, deadline=None, derandomize=True)
@given(networks(), st.sampled_from([1, 2, 4, 8]), st.sampled_from([1.0, 50.0]))
def test_native_is_reference_bit_for_bit(network: Network, step: int, loudness: float) -> None:
    plan, x = lowered(network, step).plan, loudness * noise(network[1], seed=4)
    wanted, kept = streamed(plan, x)
    for name in NAMES:
        found, remembered = streamed(plan, x, name)
        np.testing.assert_array_equal(found, wanted)
        assert remembered == kept


@settings(max_examples=40, deadline=None, derandomize=True)
@given(networks())
def test_weights_keep_clear_of_the_lowest_byte(network: Network) -> None:
    plan = lowered(network).plan
    for step in plan.steps:
        if step.kernel == "QuantizedConv":
            weight = step.reads[2]
            assert weight is not None
            slot = plan.slots[weight.slot]
            assert plan.weights[slot.offset : slot.offset + slot.size].view(np.int8).min() >= -127


@settings(max_examples=40, deadline=None, derandomize=True)
@given(networks())
def test_integers_are_close_to_what_they_stand_for(network: Network) -> None:
    made = lowered(network)
    x = noise(network[1])
    exact = streamed(planned(made.graph, made.fused), x)[0]
    assert np.square(exact - streamed(made.plan, x)[0]).mean() < 0.01 * np.square(exact).mean()


# --- networks -----------------------------------------------------------------------------------------------------


def test_silence_is_the_zero_that_memory_begins_with() -> None:
    plan = lowered(layers(biased=False)).plan
    zeros = np.zeros((1, 8, ITEMS), np.float32)
    found, remembered = streamed(plan, zeros)
    assert remembered == pulse.State(plan, kernels="reference").snapshot()
    assert (found == 0).all()
    rings = [slot for slot in plan.slots if slot.room == "state"]
    assert {slot.kind for slot in rings} == {"int8"}
    assert any(slot.initial for slot in rings)


def test_what_is_louder_than_ever_stays_at_both_ends() -> None:
    plan = lowered(layers()).plan
    state = pulse.State(plan, kernels="reference")
    state.run(np.full((1, 8, 4), 1e6, np.float32) * np.where(np.arange(8) % 2, 1, -1)[:, None].astype(np.float32))
    (ring,) = [step.writes[0] for step in plan.steps if step.kernel == "Delay"][:1]
    assert ring is not None
    assert {state.array(ring).min(), state.array(ring).max()} == {LOWEST, HIGHEST}


def test_a_wake_word_network_is_in_integers_from_end_to_end() -> None:
    plan = lowered(layers()).plan
    kernels = [step.kernel for step in plan.steps]
    assert (kernels[0], kernels[-1]) == ("Quantize", "Dequantize")
    assert set(kernels[1:-1]) == {"Delay", "QuantizedConv", "Requantize"}


def test_a_sum_is_rounded_to_int8_only_where_it_is_read() -> None:
    plan = lowered(layers()).plan
    assert sum(step.kernel == "Requantize" for step in plan.steps) == 3 + 1  # for each layer, and for the end


def test_what_float32_still_asks_for_is_handed_back() -> None:
    b = Builder(2)
    y = b.add("Relu", b.add("Conv", "x", b.floats(6, 8, 3)))
    z = b.add("Add", b.add("Conv", y, b.floats(6, 6, 1)), b.add("Exp", y))
    made = lowered((b, 8, z))
    assert [step.kernel for step in made.plan.steps].count("Dequantize") >= 1
    exact = streamed(planned(made.graph, made.fused), noise(8))[0]
    np.testing.assert_allclose(streamed(made.plan, noise(8))[0], exact, atol=0.05 * np.abs(exact).max())


@pytest.mark.parametrize("name", ["reference", *NAMES])
@pytest.mark.parametrize("curve", CURVED)
def test_a_curve_over_a_sum_is_of_the_whole_sum(curve: str, name: str) -> None:
    b = Builder(3)
    y = b.add("Add", b.add("Conv", "x", b.floats(6, 8, 2), pads=[1, 0]), b.add("Conv", "x", b.floats(6, 8, 1)))
    if curve == "Gate":
        tanh, sigmoid = b.add_many("Split", 2, y, axis=1, num_outputs=2)
        y = b.add("Mul", b.add("Tanh", tanh), b.add("Sigmoid", sigmoid))
    else:
        y = b.add(curve, y)
    graph = pulsed(b, 8, [b.add("Conv", y, b.floats(4, 3 if curve == "Gate" else 6, 1))])
    plan, exact = lower_to_int8(graph, {"x": noise(8)}).plan, streamed(planned(graph, fuse(graph)), noise(8))[0]
    assert np.square(exact - streamed(plan, noise(8), name)[0]).mean() < 0.01 * np.square(exact).mean()


def test_streams_do_not_disturb_each_other() -> None:
    plan = lowered(layers()).plan
    x = np.stack([noise(8, seed=seed) for seed in range(3)])
    together = pulse.State(plan, streams=3)
    parts = [together.run(np.ascontiguousarray(part))[0].copy() for part in np.split(x, ITEMS // 4, 3)]
    for stream, found in enumerate(np.concatenate(parts, 3)):
        np.testing.assert_array_equal(found, streamed(plan, x[stream], None)[0])


def test_a_network_without_convolutions_is_refused() -> None:
    b = Builder()
    with pytest.raises(NotStreamable, match=r"^quantize: there is no convolution"):
        lower_to_int8(pulsed(b, 4, [b.add("Tanh", "x")]), {"x": noise(4)})


def test_what_int32_has_no_room_for_is_refused() -> None:
    b = Builder()
    y = b.add("Tanh", b.add("Conv", "x", b.constant(np.full((1, 4, 1), 1e6), np.float32)))
    with pytest.raises(NotStreamable, match=r"^quantize: 'Conv0' moves so much less"):
        lower_to_int8(pulsed(b, 4, [y]), {"x": noise(4)})


def test_what_has_only_heard_silence_does_not_overflow() -> None:
    b, channels, y = layers(biased=False)
    plan = lower_to_int8(pulsed(b, channels, [y]), {"x": np.zeros((1, 8, 8), np.float32)}).plan
    _, remembered = streamed(plan, 9 * noise(8))
    assert remembered != pulse.State(plan).snapshot()
    assert remembered == streamed(plan, 9 * noise(8), None)[1]


def test_weights_without_end_stay_as_they_are() -> None:
    b = Builder()
    y = b.add("Conv", "x", b.constant(np.full((4, 4, 1), np.inf), np.float32))
    with pytest.raises(NotStreamable, match="there is no convolution"):
        lower_to_int8(pulsed(b, 4, [y]), {"x": noise(4)})


def test_values_without_end_are_refused() -> None:
    b = Builder()
    y = b.add("Conv", b.add("Exp", b.add("Exp", b.add("Exp", "x"))), b.floats(4, 4, 1))
    with pytest.raises(NotStreamable, match=r"^calibrate: .* becomes infinite"):
        lower_to_int8(pulsed(b, 4, [y]), {"x": 2 * np.abs(noise(4)) + 2})


def test_a_plan_in_integers_is_a_file_as_any_other(tmp_path: Path) -> None:
    made = lowered(layers(5))
    made.plan.save(tmp_path / "int8.plan")
    with_golden(planned(made.graph, made.fused)).save(tmp_path / "float.plan")
    loaded = pulse.Plan.load(tmp_path / "int8.plan")
    np.testing.assert_array_equal(streamed(loaded, noise(8))[0], streamed(made.plan, noise(8))[0])
    sizes = [4 * plan.weights.size for plan in (loaded, planned(made.graph, made.fused))]
    assert sizes[0] < 0.4 * sizes[1]  # a byte for each weight, and 8 more for each filter


def test_the_report_names_every_node_that_is_in_integers() -> None:
    made = lowered(layers())
    text = report(made)
    assert text.splitlines()[0].split() == ["node", "as", "from", "to", "scale", "zero", "SQNR", "saturated"]
    for node in made.quantised.graph.nodes:
        assert node.op != "QuantizedConv" or node.name.removesuffix(".int8").removesuffix(".sum")
    qualities = [float(line.split(" dB")[0].split()[-1]) for line in text.splitlines()[1:]]
    assert len(qualities) == len(made.quantised.forms)
    assert min(qualities) > 20


def test_a_report_says_what_is_cut_off() -> None:
    made = lowered(layers())
    loud = [(8 * part,) for (part,) in made.heard]
    text = report(Lowered(made.plan, made.graph, made.fused, made.quantised, made.ranges, loud))
    assert float(text.splitlines()[1].split()[-2]) > 10


def test_kinds_say_their_bytes() -> None:
    assert all(np.dtype(kind).itemsize == size for kind, size in KINDS.items())
    assert Scale(0.5, 3).largest == 0.5 * 131
