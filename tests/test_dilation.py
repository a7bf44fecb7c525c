"""Convolutions of phases, as tf2onnx writes SpaceToBatchND and BatchToSpaceND, are dilated convolutions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

import pulse
from pulse.errors import PulseError
from tests import graphs
from tests.graphs import END, Builder, batch_graph

CHANNELS = 3
LENGTH = 61


def phases(b: Builder, image: str, parts: int, base: int = 0) -> tuple[str, str]:
    """An image (1, 1, time, channels) as (parts, 1, time / parts, channels), and the items that fill the last part."""
    time = _item(b, b.add("Cast", b.add("Shape", image), to=TensorProto.INT32), 2)
    parts32 = b.constant(parts, np.int32)
    time = b.add("Add", time, b.constant(base, np.int32))
    over = b.add("Sub", time, b.add("Mul", b.add("Div", time, parts32), parts32))
    missing = b.add("Sub", parts32, over)
    missing = b.add("Sub", missing, b.add("Mul", b.add("Div", missing, parts32), parts32))
    missing = b.add("Cast", b.add("Unsqueeze", missing, b.constant([0])), to=TensorProto.INT64)
    amounts = b.add("Concat", b.constant([0, 0, base, 0, 0, 0]), missing, b.constant([0]), axis=0)
    padded = b.add("Pad", image, amounts)
    height, width, channels = _sizes(b, padded)
    width = b.add("Div", width, b.constant([parts]))
    wide = [height, b.constant([1]), width, b.constant([parts]), channels]
    y = b.add("Reshape", padded, b.add("Concat", b.constant([-1]), *wide, axis=0))
    y = b.add("Transpose", y, perm=[2, 4, 0, 1, 3, 5])
    return b.add("Reshape", y, b.add("Concat", b.constant([-1]), height, width, channels, axis=0)), missing


def joined(b: Builder, y: str, parts: int, missing: str) -> str:
    """The way back."""
    height, width, channels = _sizes(b, y)
    wide = [b.constant([1, parts]), b.constant([-1]), height, width, channels]
    y = b.add("Transpose", b.add("Reshape", y, b.add("Concat", *wide, axis=0)), perm=[2, 3, 0, 4, 1, 5])
    whole = b.add("Mul", width, b.constant([parts]))
    y = b.add("Reshape", y, b.add("Concat", b.constant([-1]), height, whole, channels, axis=0))
    end = b.add("Concat", height, b.add("Sub", whole, missing), axis=0)
    return b.add("Slice", y, b.constant([0, 0]), end, b.constant([1, 2]))


def _item(b: Builder, shape: str, index: int) -> str:
    return b.add("Squeeze", b.add("Slice", shape, *(b.constant([n]) for n in (index, index + 1, 0))), b.constant([0]))


def _sizes(b: Builder, image: str) -> list[str]:
    shape = b.add("Shape", image)
    return [b.add("Slice", shape, *(b.constant([number]) for number in (axis, axis + 1, 0))) for axis in (1, 2, 3)]


def windows(b: Builder, y: str, **attributes: list[int]) -> str:
    """A convolution along the phases with its bias and what follows it, between transposes."""
    y = b.add("Transpose", y, perm=[0, 3, 1, 2])
    y = b.add("Conv", y, b.floats(4, CHANNELS, 1, 3), b.floats(4), **attributes)
    return b.add("Relu", b.add("Add", b.add("Transpose", y, perm=[0, 2, 3, 1]), b.floats(4)))


def network(b: Builder, parts: int, base: int = 0, **attributes: list[int]) -> str:
    y, missing = phases(b, b.add("Unsqueeze", "x", b.constant([1])), parts, base)
    return b.add("Squeeze", joined(b, windows(b, y, **attributes), parts, missing), b.constant([1]))


@pytest.mark.parametrize("parts", [2, 4, 5])
@pytest.mark.parametrize("base", [0, 3])
def test_phases_are_a_dilation(parts: int, base: int) -> None:
    b = Builder()
    plan = graphs.assert_streams(b, network(b, parts, base), (1, "S", CHANNELS), 1)
    assert [step.kernel for step in plan.steps] == ["Delay", "Conv"]
    assert plan.receptive_field == 1 + 2 * parts


def test_padded_phases_are_a_padded_dilation() -> None:
    b = Builder()
    plan = graphs.assert_streams(b, network(b, 4, pads=[0, 2, 0, 0]), (1, "S", CHANNELS), 1)
    assert (plan.receptive_field, plan.delay) == (9, (0,))


def test_phases_of_a_fixed_length_are_a_dilation(tmp_path: Path) -> None:
    b = Builder()
    model = b.model((1, LENGTH, CHANNELS), [network(b, 4)])
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    plan = pulse.compile(path, 1, stream="x:1")
    x = np.random.default_rng(5).standard_normal((1, LENGTH, CHANNELS)).astype(np.float32)
    graphs.assert_law(plan, graphs.whole(model, x), graphs.streamed(plan, x, [1]), [1])


def test_several_layers_of_phases(tmp_path: Path) -> None:
    b = Builder()
    image = b.add("Unsqueeze", "x", b.constant([1]))
    y, missing = phases(b, image, 2)
    filtered, gate = (joined(b, b.add(op, windows(b, y)), 2, missing) for op in ("Tanh", "Sigmoid"))
    image = b.add("Mul", filtered, gate)
    image = b.add("Slice", image, *(b.constant([number]) for number in (0, 3, 3)))
    y, missing = phases(b, image, 4)
    graphs.assert_streams(b, b.add("Squeeze", joined(b, windows(b, y), 4, missing), b.constant([1])), (1, "S", 3), 1)


def _strided(b: Builder) -> str:
    return network(b, 2, strides=[1, 2])


def _halves(b: Builder) -> str:
    """The halves of time, one behind the other: what is next to what in them is not what phases say."""
    image = b.add("Reshape", "x", b.constant([1, 2, -1, CHANNELS]))
    y = b.add("Reshape", b.add("Transpose", image, perm=[1, 0, 2, 3]), b.constant([2, 1, -1, CHANNELS]))
    y = b.add("Transpose", windows(b, y), perm=[1, 0, 2, 3])
    return b.add("Reshape", y, b.constant([1, -1, 4]))


def _asked(b: Builder) -> str:
    """A number that depends on how many phases there are."""
    y, missing = phases(b, b.add("Unsqueeze", "x", b.constant([1])), 2)
    y = windows(b, y)
    many = b.add("Cast", b.add("Slice", b.add("Shape", y), b.constant([0]), b.constant([1])), to=TensorProto.FLOAT)
    return b.add("Mul", joined(b, y, 2, missing), many)


@pytest.mark.parametrize("network", [_strided, _halves, _asked])
def test_what_only_looks_like_phases_is_refused(network: Callable[[Builder], str]) -> None:
    b = Builder()
    model = b.model((1, "S", CHANNELS), [network(b)])
    with pytest.raises(PulseError):
        graphs.compiled(model, 4)


def test_the_graph_is_plain_when_it_is_loaded() -> None:
    b = Builder()
    graph = batch_graph(b.model((1, "S", CHANNELS), [network(b, 4)]))
    ops = [node.op for node in graph.nodes]
    assert ops == ["Unsqueeze", "Pad", "Transpose", "Conv", "Transpose", "Add", "Relu", "Slice", "Squeeze"]
    assert END in graph.constants[graph.nodes[7].inputs[2]]
