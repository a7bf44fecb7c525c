"""Streaming equals batch: the law of the compiler and the engine, over random networks, pulses and cuts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pulse
from pulse.errors import NotStreamable
from tests import graphs, wavenet
from tests.graphs import Builder
from tests.networks import Network, networks

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
# a night has time for more of them, and for others every time: EXAMPLES=5000
MANY = int(os.environ.get("EXAMPLES", "250"))
SURE = "EXAMPLES" not in os.environ
EXAMPLES = settings(max_examples=MANY, deadline=None, derandomize=SURE, suppress_health_check=SLOW)
FEW = settings(EXAMPLES, max_examples=MANY // 5)
PULSES = (1, 8, 13)


def noise(plan: pulse.Plan, channels: int) -> Any:
    """A stream that is long enough for every output to start, (1, channels, time)."""
    return np.random.default_rng(1).standard_normal((1, channels, graphs.enough(plan))).astype(np.float32)


@EXAMPLES
@given(network=networks())
def test_streaming_equals_batch(network: Network) -> None:
    plan = graphs.compiled(network.model, network.pulse)
    x = noise(plan, network.channels)
    found = graphs.streamed(plan, x, network.axes)
    graphs.assert_law(plan, graphs.whole(network.model, x), found, network.axes)


@FEW
@given(network=networks(), heard=st.integers(0, 5))
def test_a_reset_forgets_everything(network: Network, heard: int) -> None:
    plan = graphs.compiled(network.model, network.pulse)
    x = noise(plan, network.channels)
    fresh = graphs.streamed(plan, x, network.axes)
    used = pulse.State(plan)
    for _ in range(heard):
        used.run(np.full_like(x[:, :, : plan.pulse], 3.0))
    used.reset()
    assert_equal(graphs.streamed(plan, x, network.axes, used), fresh)


@FEW
@given(network=networks())
def test_two_states_do_not_disturb_each_other(network: Network) -> None:
    plan = graphs.compiled(network.model, network.pulse)
    x = noise(plan, network.channels)
    alone = graphs.streamed(plan, x, network.axes)
    state, other = pulse.State(plan), pulse.State(plan)
    pieces = []
    for piece in np.split(x, x.shape[2] // plan.pulse, 2):
        pieces.append([y.copy() for y in state.run(piece)])
        other.run(-piece)
    found = [np.concatenate(parts, axis) for parts, axis in zip(zip(*pieces, strict=True), network.axes, strict=True)]
    assert_equal(found, alone)


@FEW
@given(network=networks())
def test_the_pulse_does_not_matter(network: Network) -> None:
    """A pulse of twice the size gives the same items, behind a delay that is the same."""
    single, double = (graphs.compiled(network.model, network.pulse * times) for times in (1, 2))
    assert single.delay == double.delay
    assert single.receptive_field == double.receptive_field
    x = noise(double, network.channels)
    found = graphs.streamed(single, x, network.axes)
    for one, two, axis, delay in zip(
        found, graphs.streamed(double, x, network.axes), network.axes, single.delay, strict=True
    ):
        one, two = (np.moveaxis(y, axis, -1)[..., delay:] for y in (one, two))
        np.testing.assert_allclose(one, two, rtol=graphs.TOLERANCE, atol=graphs.TOLERANCE)


def test_two_inputs_meet() -> None:
    b = Builder()
    late = b.add("Conv", "x", b.floats(3, 3, 4))
    model = b.model((1, 3, "S"), [b.add("Add", late, b.front("z", 2, -1))])
    model.graph.input.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, (1, 3, "S")))
    plan = graphs.compiled(model, 5)
    x, z = np.random.default_rng(6).standard_normal((2, 1, 3, 40)).astype(np.float32)
    state = pulse.State(plan)
    found = [state.run(x[:, :, at : at + 5], z[:, :, at : at + 5])[0].copy() for at in range(0, 40, 5)]
    graphs.assert_law(plan, graphs.whole(model, x, z), [np.concatenate(found, 2)], [2])


def test_the_oldest_spelling_streams_too() -> None:
    b = Builder(opset=9)
    parts = b.add_many("Split", 2, b.add("Pad", "x", pads=[0, 0, 2, 0, 0, 1], value=0.5), axis=1, split=[1, 2])
    y = b.add("Clip", b.add("Concat", *reversed(parts), axis=1), min=-0.5, max=0.8)
    y = b.add("Unsqueeze", b.add("Squeeze", y, axes=[0]), axes=[0])
    y = b.add("Conv", b.add("Slice", y, starts=[1], ends=[graphs.END], axes=[2]), b.floats(4, 3, 3))
    y = b.add("Softmax", b.add("Transpose", b.add("Dropout", y), perm=[0, 2, 1]), axis=2)
    model = b.model((1, 3, "S"), [b.add("ReduceMax", y, axes=[2])])
    plan = graphs.compiled(model, 4)
    x = noise(plan, 3)
    graphs.assert_law(plan, graphs.whole(model, x), graphs.streamed(plan, x, [1]), [1])


def test_padding_by_name_streams_too() -> None:
    b = Builder()
    y = b.add("Conv", "x", b.floats(3, 3, 4), auto_pad="SAME_UPPER")
    y = b.add("Conv", y, b.floats(3, 3, 4), auto_pad="SAME_LOWER")
    y = b.add("Conv", y, b.floats(3, 3, 4), auto_pad="VALID", strides=[2])
    model = b.model((1, 3, "S"), [y])
    plan = graphs.compiled(model, 4)
    x = noise(plan, 3)
    graphs.assert_law(plan, graphs.whole(model, x), graphs.streamed(plan, x, [2]), [2])


IMAGES: dict[str, tuple[tuple[int | str, ...], int, dict[str, Any]]] = {
    "time last": ((1, 2, 5, "S"), 3, {"pads": [2, 1, 1, 0]}),
    "time before frequency": ((1, 2, "S", 5), 2, {"pads": [2, 1, 0, 1], "strides": [1, 2]}),
    "padding by name": ((1, 2, "S", 5), 2, {"auto_pad": "SAME_UPPER", "strides": [1, 2]}),
    "items are no neighbours": (("S", 2, 5, 4), 0, {"pads": [1, 1, 1, 1]}),
}


@pytest.mark.parametrize("what", IMAGES)
def test_a_window_over_an_image_slides_along_time_wherever_it_is(what: str) -> None:
    shape, axis, attributes = IMAGES[what]
    b = Builder()
    y = b.add("Relu", b.add("Conv", "x", b.floats(4, 2, 3, 2), b.floats(4), **attributes))
    graphs.assert_streams(b, y, shape, axis)
    b = Builder()
    graphs.assert_streams(b, b.add("MaxPool", "x", kernel_shape=[3, 2], **attributes), shape, axis)
    b = Builder()
    y = b.add("AveragePool", b.add("Neg", "x"), kernel_shape=[3, 2], **attributes)
    graphs.assert_streams(b, y, shape, axis)


def test_an_average_divides_by_the_items_that_are_there() -> None:
    b = Builder()
    late = b.add("Conv", "x", b.floats(2, 3, 3))
    graphs.assert_streams(b, b.add("AveragePool", late, kernel_shape=[4], pads=[3, 0], strides=[2]), (1, 3, "S"), 2)


def test_a_pool_that_rounds_up_streams_what_is_whole() -> None:
    b = Builder()
    y = b.add("AveragePool", "x", kernel_shape=[3], strides=[2], ceil_mode=1, pads=[1, 0])
    graphs.assert_streams(b, y, (1, 3, "S"), 2)


def test_all_of_an_image_but_time_is_pooled() -> None:
    b = Builder()
    rows = b.add("Transpose", "x", perm=[2, 1, 0])
    y = b.add("Add", b.add("GlobalAveragePool", rows), b.add("GlobalMaxPool", rows))
    graphs.assert_streams(b, y, (4, 3, "S"), 0)


def test_a_constant_may_be_as_long_as_time() -> None:
    b = Builder()
    late = b.add("Conv", "x", b.floats(3, 3, 3))
    zeros = b.add("ConstantOfShape", b.add("Shape", late), value=onnx.helper.make_tensor("", 1, [1], [0.5]))
    many = b.add("Expand", b.floats(1, 3, 1), b.add("Shape", late))
    y = b.add("Concat", b.add("Add", zeros, late), many, axis=1)
    graphs.assert_streams(b, b.add("Conv", y, b.floats(2, 6, 2), pads=[1, 0]), (1, 3, "S"), 2)


def test_a_constant_as_long_as_padded_time_has_no_front() -> None:
    b = Builder()
    longer = b.add("Conv", "x", b.floats(3, 3, 3), pads=[3, 0])
    many = b.add("Add", b.add("Expand", b.floats(1, 3, 1), b.add("Shape", longer)), longer)
    graphs.assert_streams(b, many, (1, 3, "S"), 2)


def test_inputs_may_come_at_different_rates() -> None:
    b = Builder()
    fast = b.add("Conv", "fast", b.floats(3, 2, 4), strides=[2], pads=[2, 1])
    model = b.model((1, 3, "S"), [b.add("Sum", "x", fast), b.add("Conv", "fast", b.floats(1, 2, 3))])
    model.graph.input.append(onnx.helper.make_tensor_value_info("fast", onnx.TensorProto.FLOAT, (1, 2, "2*S")))
    plan = graphs.compiled(model, 4)
    assert (plan.pulse, plan.stride) == (4, (1, Fraction(1, 2)))
    noise = np.random.default_rng(6)
    x, z = (noise.standard_normal((1, *shape)).astype(np.float32) for shape in ((3, 40), (2, 80)))
    state = pulse.State(plan)
    pieces = zip(np.split(x, 10, 2), np.split(z, 10, 2), strict=True)
    found = [[y.copy() for y in state.run(*piece)] for piece in pieces]
    joined = [np.concatenate(parts, 2) for parts in zip(*found, strict=True)]
    graphs.assert_law(plan, graphs.whole(model, x, z), joined, [2, 2])


def test_an_input_may_be_slower() -> None:
    b = Builder()
    model = b.model((1, 3, "S//3"), [b.add("Relu", "x")])
    with pytest.raises(NotStreamable, match="a multiple of 3 works, such as 6"):
        graphs.compiled(model, 4)
    plan = graphs.compiled(model, 6)
    assert (plan.pulse, plan.inputs["x"].shape, plan.stride) == (6, (1, 3, 2), (3,))


def test_an_output_may_have_more_items_than_the_input(tmp_path: Path) -> None:
    b = Builder()
    fast = b.add("ConvTranspose", b.add("Conv", "x", b.floats(2, 3, 2)), b.floats(2, 4, 4), strides=[3], pads=[1, 1])
    plan = graphs.assert_streams(b, fast, (1, 3, "S"), 2)
    assert plan.stride == (Fraction(1, 3),)
    plan.save(tmp_path / "fast.plan")
    assert pulse.Plan.load(tmp_path / "fast.plan").stride == plan.stride


def test_what_is_halved_and_doubled_meets_what_was_neither() -> None:
    """As in a U-net; a length is doubled again only where it was even, so the batch form cuts what is left over."""
    b = Builder()
    half = b.add("MaxPool", "x", kernel_shape=[2], strides=[2])
    scales = b.constant([1, 1, 2], np.float32)
    back = b.add("Resize", half, "", scales, coordinate_transformation_mode="half_pixel")
    fast = b.add("ConvTranspose", half, b.floats(3, 3, 2), strides=[2])
    y = b.add("Concat", back, fast, axis=1)
    graphs.assert_streams(b, b.add("Conv", y, b.floats(2, 6, 3), pads=[2, 0]), (1, 3, "S"), 2)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_channels_become_blocks_of_an_image(mode: str) -> None:
    b = Builder()
    y = b.add("DepthToSpace", b.add("Conv", "x", b.floats(8, 2, 3, 3)), blocksize=2, mode=mode)
    graphs.assert_streams(b, y, (1, 2, 5, "S"), 3)


@pytest.mark.parametrize("pad", ["SAME_UPPER", "SAME_LOWER"])
def test_an_upsampling_that_pads_by_name(pad: str) -> None:
    b = Builder()
    late = b.add("Conv", "x", b.floats(2, 2, 1, 2))
    y = b.add("ConvTranspose", late, b.floats(2, 3, 3, 4), auto_pad=pad, strides=[2, 3], dilations=[2, 1])
    graphs.assert_streams(b, y, (1, 2, 5, "S"), 3)


def test_an_upsampling_to_a_length_off_time() -> None:
    b = Builder()
    y = b.add("ConvTranspose", "x", b.floats(2, 3, 3), strides=[3], output_shape=[13])
    graphs.assert_streams(b, y, ("S", 2, 4), 0)


def test_the_oldest_upsampling_streams_too() -> None:
    b = Builder(opset=9)
    y = b.add("Upsample", "x", b.constant([1, 1, 2], np.float32), mode="nearest")
    graphs.assert_streams(b, y, (1, 2, "S"), 2)


def test_an_image_is_upsampled_along_both_axes() -> None:
    b = Builder()
    y = b.add("ConvTranspose", "x", b.floats(2, 3, 3, 4), b.floats(3), strides=[2, 2], pads=[1, 1, 1, 1])
    graphs.assert_streams(b, y, (1, 2, "S", 5), 2)


RESIZED: dict[str, tuple[list[float], dict[str, Any]]] = {
    "nearest, time too": ([1, 1, 1.6, 2], {"mode": "nearest", "nearest_mode": "floor"}),
    "linear": ([1, 1, 1.6, 1], {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}),
    "linear, smaller": ([1, 2, 0.4, 1], {"mode": "linear", "antialias": 1}),
    "cubic": ([1, 1, 2, 1], {"mode": "cubic", "coordinate_transformation_mode": "align_corners"}),
    "cubic within": ([1, 1, 0.6, 1], {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5}),
}


@pytest.mark.parametrize("what", RESIZED)
def test_axes_off_time_are_resized_as_they_like(what: str) -> None:
    scales, how = RESIZED[what]
    b = Builder()
    how = {"coordinate_transformation_mode": "asymmetric", **how}
    y = b.add("Resize", b.add("Conv", "x", b.floats(2, 2, 1, 2)), "", b.constant(scales, np.float32), **how)
    graphs.assert_streams(b, y, (1, 2, 5, "S"), 3)


def test_upsampling_off_time_costs_no_delay() -> None:
    b = Builder()
    y = b.add("ConvTranspose", "x", b.floats(2, 3, 3, 2), strides=[2, 2], pads=[1, 0, 1, 0], group=2)
    y = b.add("Resize", y, "", b.constant([1, 1, 2, 3], np.float32), coordinate_transformation_mode="half_pixel")
    assert graphs.assert_streams(b, y, ("S", 2, 4, 3), 0).delay == (0,)


def test_a_convolution_in_the_manner_of_keras() -> None:
    """Channels last, and images of one row for what has no rows."""
    b = Builder()
    y = b.add("Transpose", b.add("Unsqueeze", "x", b.constant([1])), perm=[0, 3, 1, 2])  # (1, 3, 1, S)
    y = b.add("Pad", y, b.constant([0, 0, 0, 4, 0, 0, 0, 0]))
    y = b.add("Conv", y, b.floats(4, 3, 1, 3), dilations=[1, 2])
    y = b.add("Transpose", y, perm=[0, 2, 3, 1])
    y = b.add("Relu", b.add("Add", b.add("Squeeze", y, b.constant([1])), b.floats(4)))
    plan = graphs.assert_streams(b, b.add("MatMul", y, b.floats(4, 2)), (1, "S", 3), 1)
    assert plan.delay == (0,)


def assert_equal(found: list[Any], wanted: list[Any]) -> None:
    for have, want in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(have, want)


@pytest.fixture(scope="module", params=[True, False], ids=["dynamo", "torchscript"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The network of 24 layers as one of the two exporters of PyTorch writes it."""
    path = tmp_path_factory.mktemp("wavenet") / "wavenet.onnx"
    wavenet.export(path, dynamo=request.param)
    yield path


@pytest.mark.parametrize("size", PULSES)
def test_the_wake_word_network_streams(exported: Path, size: int) -> None:
    plan = pulse.compile(exported, size)
    assert (plan.pulse, plan.delay, plan.stride, plan.receptive_field) == (size, (182,), (1,), 183)
    assert len(plan.steps) <= 101
    x = np.random.default_rng(2).standard_normal((1, 25 * 13, wavenet.FEATURES)).astype(np.float32)
    x = x[:, : x.shape[1] // size * size]
    found = graphs.streamed(plan, x, [1])
    graphs.assert_law(plan, graphs.whole(onnx.load(exported), x), found, [1])


def test_both_exporters_give_one_program(tmp_path: Path) -> None:
    """The names in it differ, and nothing else."""
    plans = []
    for dynamo in (False, True):
        wavenet.export(tmp_path / "wavenet.onnx", dynamo=dynamo, layers=2)
        plans.append(pulse.compile(tmp_path / "wavenet.onnx"))
    assert [step.kernel for step in plans[0].steps] == [step.kernel for step in plans[1].steps]
    assert plans[0].slots == plans[1].slots
    np.testing.assert_array_equal(plans[0].weights, plans[1].weights)
