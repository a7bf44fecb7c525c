"""Networks that were exported with a fixed length of time hear an endless stream, if told where time is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import pulse
from pulse.cli import main
from pulse.errors import LoadError
from tests import graphs, wavenet
from tests.graphs import Builder

LENGTH = 50
Network = Callable[[Builder], str]


def _reshaped(b: Builder) -> str:
    y = b.add("Reshape", b.add("Conv", "x", b.floats(4, 4, 3)), b.constant([2, 2, LENGTH - 2]))
    return b.add("Reshape", b.add("Softmax", y, axis=1), b.constant([1, 4, -1]))


def _cut(b: Builder) -> str:
    y = b.add("Conv", "x", b.floats(4, 4, 3), pads=[2, 0])
    return b.add("Add", b.front(y, 3, LENGTH - 1), b.front("x", 0, LENGTH - 4))


def _expanded(b: Builder) -> str:
    one = b.add("ReduceMean", "x", b.constant([1]), keepdims=1)
    return b.add("Concat", b.add("Expand", one, b.constant([1, 2, LENGTH])), "x", axis=1)


def _computed(b: Builder) -> str:
    """Half of the channels, by shape arithmetic, and time by its length."""
    shape = b.add("Shape", "x")
    time = b.add("Gather", shape, b.constant([2]))
    flat = b.add("Reshape", "x", b.add("Concat", b.constant([1, 2, 2]), time, axis=0))
    return b.add("ReduceMax", flat, b.constant([2]), keepdims=0)


def _cut_as_computed(b: Builder) -> str:
    """An end that follows the length, and one that does not."""
    end = b.add("Sub", b.add("Gather", b.add("Shape", "x"), b.constant([2])), b.constant([1]))
    y = b.add("Slice", "x", b.constant([1]), end, b.constant([2]))
    return b.add("Sub", y, b.add("Slice", "x", b.constant([0, 0]), b.constant([4, LENGTH - 2]), b.constant([1, 2])))


def _plain(b: Builder) -> str:
    return b.add("Relu", b.add("Conv", "x", b.floats(3, 4, 2), strides=[2]))


@pytest.mark.parametrize("network", [_reshaped, _cut, _expanded, _computed, _cut_as_computed, _plain])
def test_a_fixed_length_is_forgotten(network: Network, tmp_path: Path) -> None:
    b = Builder()
    y = network(b)
    path = tmp_path / "net.onnx"
    model = b.model((1, 4, LENGTH), [y])
    path.write_bytes(model.SerializeToString())
    plan = pulse.compile(path, 4, stream="x:2")
    x = np.random.default_rng(5).standard_normal((1, 4, LENGTH)).astype(np.float32)
    heard = np.concatenate([x, np.zeros((1, 4, 2), np.float32)], 2)
    graphs.assert_law(plan, graphs.whole(model, x), _cut_off(plan, graphs.streamed(plan, heard, [2])), [2])


def _cut_off(plan: pulse.Plan, found: list[np.ndarray]) -> list[np.ndarray]:
    """Without what was heard behind the fixed length."""
    return [y[..., : plan.delay[0] + (LENGTH - plan.receptive_field) // plan.stride[0]] for y in found]


def test_the_wake_word_network_is_reopened(tmp_path: Path) -> None:
    fixed, opened = tmp_path / "fixed.onnx", tmp_path / "open.onnx"
    wavenet.snips(opened, 4)
    model = onnx.load(opened)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 200
    onnx.save(model, fixed)
    plans = [pulse.compile(opened), pulse.compile(fixed, stream="features:1")]
    assert [step.kernel for step in plans[0].steps] == [step.kernel for step in plans[1].steps]
    np.testing.assert_array_equal(plans[0].weights, plans[1].weights)


@pytest.mark.parametrize("dynamo", [False, True])
def test_torch_with_a_fixed_length_is_reopened(dynamo: bool, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    wavenet.export(path, dynamo=dynamo, layers=2, length=96)
    plan = pulse.compile(path, stream="features:1")
    x = torch.randn(1, 96, wavenet.FEATURES, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = wavenet.network(2)(x).numpy()
    graphs.assert_law(plan, [wanted], graphs.streamed(plan, x.numpy(), [1]), [1])


def test_of_several_dynamic_axes_the_named_one_is_time(tmp_path: Path) -> None:
    b = Builder()
    path = tmp_path / "net.onnx"
    path.write_bytes(b.model(("N", 4, "T"), [b.add("Conv", "x", b.floats(2, 4, 3))]).SerializeToString())
    with pytest.raises(LoadError, match="say stream='x:1' if axis 1 is time"):
        pulse.compile(path)
    assert pulse.compile(path, stream="x:2").delay == (2,)
    assert main([str(path), "--summary", "--stream", "x:2"]) == 0


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ("x", "'x' names no axis of time; write NAME:AXIS, such as x:1"),
        ("x:-1", "names no axis of time"),
        ("x:3", "has 3 axes, and none is 3"),
        ("z:1", "has the inputs x; name them all"),
    ],
)
def test_a_wrong_name_is_refused(stream: str, message: str, tmp_path: Path) -> None:
    b = Builder()
    path = tmp_path / "net.onnx"
    path.write_bytes(b.model((1, 4, 9), [b.add("Relu", "x")]).SerializeToString())
    with pytest.raises(LoadError, match=message):
        pulse.compile(path, stream=stream)
