"""Values without time: inputs that are given anew with every pulse, and models that have no time at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pulse
from pulse.cli import main
from pulse.errors import GraphError, LoadError, NotStreamable
from tests import graphs, itemwise
from tests.graphs import Builder, Draw
from tests.networks import Network, networks
from tests.test_streaming import EXAMPLES, FEW

NUMBERS = 6  # of what is given anew
LENGTH = 48  # of a whole stream that is computed at once
STILL = (
    "dense",
    "softmax",
    "sum",
    "recurrent",
    "convolved",
    "pooled",
    "padded",
    "cut",
    "reduced",
    "evened out",
    "twice",
)


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def still(model: onnx.ModelProto, name: str, shape: tuple[int, ...]) -> onnx.ModelProto:
    """The model with one more input, of a fixed shape."""
    model.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    return model


def computed(b: Builder, draw: Draw, row: str) -> str:
    """What is computed of a row (1, NUMBERS) and is one itself."""
    image = b.add("Unsqueeze", row, b.constant([1]))  # (1, 1, NUMBERS)
    match draw(st.sampled_from(STILL)):
        case "dense":
            return b.add("Tanh", b.add("Gemm", row, b.floats(NUMBERS, NUMBERS), b.floats(NUMBERS)))
        case "softmax":
            return b.add(draw(st.sampled_from(["Softmax", "LogSoftmax"])), row, axis=-1)
        case "sum":
            flags = {key: draw(st.integers(0, 1)) for key in ("exclusive", "reverse")}
            return b.add("CumSum", row, b.constant(1), **flags)
        case "recurrent":
            items = b.add("Transpose", image, perm=[2, 0, 1])  # (NUMBERS, 1, 1)
            last = draw(st.booleans())
            y = b.add_many("GRU", 2, items, b.floats(1, 3, 1), b.floats(1, 3, 1), hidden_size=1)[last]
            return b.add("Add", row, b.add("Reshape", y, b.constant([1, -1])))
        case "convolved":
            how = {"strides": [2]} if draw(st.booleans()) else {"auto_pad": "SAME_UPPER"}
            y = (
                b.add("Conv", image, b.floats(3, 1, 3), pads=[2, 1], **how)
                if "strides" in how
                else b.add("Conv", image, b.floats(1, 1, 3), **how)
            )
            y = b.add("Reshape", y, b.constant([1, -1]))
            return y if "auto_pad" in how else b.add("MatMul", y, b.floats(12, NUMBERS))
        case "pooled":
            op = draw(st.sampled_from(["MaxPool", "AveragePool"]))
            return b.add("Squeeze", b.add(op, image, kernel_shape=[3], pads=[1, 1]), b.constant([1]))
        case "padded":
            y = b.add("Pad", row, b.constant([0, 2, 0, 1]), mode=draw(st.sampled_from(["constant", "edge", "reflect"])))
            return b.add("MatMul", y, b.floats(NUMBERS + 3, NUMBERS))
        case "cut":
            return b.add("Slice", row, *(b.constant([number]) for number in (-1, -graphs.END, 1, -1)))
        case "reduced":
            return b.add("Add", row, b.add(draw(st.sampled_from(itemwise.REDUCE)), row, b.constant([0, 1]), keepdims=0))
        case "evened out":
            return b.add("LayerNormalization", row, b.floats(NUMBERS), b.floats(NUMBERS), epsilon=0.1)
    twice = b.add("ConvTranspose", image, b.floats(1, 1, 3), strides=[2], pads=[1, 0])
    return b.add("MatMul", b.add("Squeeze", twice, b.constant([1])), b.floats(2 * NUMBERS, NUMBERS))


def met(b: Builder, draw: Draw, x: str, row: str) -> str:
    """A stream (1, NUMBERS, time) that a row has met."""
    column = b.add("Unsqueeze", row, b.constant([2]))
    match draw(st.sampled_from(["added", "scaled", "joined", "bounded", "evened out", "begun"])):
        case "added":
            return b.add("Add", column, x)
        case "scaled":
            return b.add("Mul", x, b.add("Tanh", column))
        case "bounded":
            bound = b.add("ReduceSum", b.add("Tanh", row), b.constant([0, 1]), keepdims=0)
            return b.add("Add", b.add("Clip", x, bound), b.add("Clip", x, "", bound))
        case "begun":
            weights, first = [b.floats(1, 3 * NUMBERS, NUMBERS)] * 2, b.add("Reshape", row, b.constant([1, 1, -1]))
            items = b.add("Transpose", x, perm=[2, 0, 1])
            y = b.add("GRU", items, *weights, "", "", first, hidden_size=NUMBERS)
            return b.add("Transpose", b.add("Squeeze", y, b.constant([1])), perm=[1, 2, 0])
        case "evened out":
            weights = [b.add("Squeeze", row, b.constant([0])), b.floats(NUMBERS)]
            y = b.add("LayerNormalization", b.add("Transpose", x, perm=[0, 2, 1]), *weights, epsilon=0.1)
            return b.add("Transpose", b.add("PRelu", y, row), perm=[0, 2, 1])
    along = b.add("Expand", column, b.add("Shape", x))
    return b.add("Conv", b.add("Concat", along, x, axis=1), b.floats(NUMBERS, 2 * NUMBERS, 1))


@st.composite
def conditioned(draw: Draw) -> onnx.ModelProto:
    """A network over the stream x (1, NUMBERS, time) and the row c (1, NUMBERS)."""
    b = Builder(draw(st.integers(0, 99)))
    x, row = "x", "c"
    for _ in range(draw(st.integers(1, 3))):
        for _ in range(draw(st.integers(1, 2))):
            row = computed(b, draw, row)
        x = met(b, draw, b.add("Conv", x, b.floats(NUMBERS, NUMBERS, 3), pads=[draw(st.integers(0, 3)), 0]), row)
    return still(b.model((1, NUMBERS, "S"), [x]), "c", (1, NUMBERS))


@EXAMPLES
@given(model=conditioned(), size=st.integers(1, 9))
def test_a_stream_meets_what_has_no_time(model: onnx.ModelProto, size: int) -> None:
    plan = graphs.compiled(model, size)
    noise = np.random.default_rng(3)
    x = noise.standard_normal((1, NUMBERS, graphs.enough(plan))).astype(np.float32)
    c = noise.standard_normal((1, NUMBERS)).astype(np.float32)
    state = pulse.State(plan)
    pieces = [state.run(piece, c)[0].copy() for piece in np.split(x, x.shape[2] // size, 2)]
    graphs.assert_law(plan, graphs.whole(model, x, c), [np.concatenate(pieces, 2)], [2])


@FEW
@given(network=networks())
def test_a_whole_stream_at_once_is_the_same_network(network: Network, tmp_path_factory: Any) -> None:
    """Without time nothing waits and nothing is remembered: a second run gives the same again."""
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = LENGTH
    plan = pulse.compile(saved(model, tmp_path_factory.getbasetemp()), stream="")
    assert (plan.pulse, plan.receptive_field) == (1, 1)
    assert {*plan.delay, *plan.stride} == {0, 1}
    x = np.random.default_rng(4).standard_normal((1, network.channels, LENGTH)).astype(np.float32)
    state = pulse.State(plan)
    for _ in range(2):
        for have, want in zip(state.run(x), graphs.whole(network.model, x), strict=True):
            np.testing.assert_allclose(have, want, rtol=graphs.TOLERANCE, atol=graphs.TOLERANCE)


def test_every_pulse_may_be_given_another_one() -> None:
    b = Builder()
    model = still(b.model((1, 3, "S"), [b.add("Mul", "x", "gain")]), "gain", ())
    plan = graphs.compiled(model, 2)
    state, ones = pulse.State(plan, streams=2), np.ones((2, 1, 3, 2), np.float32)
    for gain in (2.0, 3.0):
        (y,) = state.run(ones, np.array([gain, -gain], np.float32))
        np.testing.assert_array_equal(y[:, 0, 0, 0], [gain, -gain])


def test_what_is_pooled_over_time_meets_what_has_none(tmp_path: Path) -> None:
    b = Builder()
    mean = b.add("ReduceMean", "x", b.constant([2]), keepdims=0)
    model = still(b.model((1, 3, "S"), [b.add("Gemm", b.add("Mul", mean, "c"), b.floats(3, 2))]), "c", (1, 3))
    plan = pulse.compile(saved(model, tmp_path), 4, window="running")
    noise = np.random.default_rng(5)
    x, c = noise.standard_normal((1, 3, 4), np.float32), noise.standard_normal((1, 3), np.float32)
    (y,) = pulse.State(plan).run(x, c)
    np.testing.assert_allclose(y[-1:], graphs.whole(model, x, c)[0], rtol=1e-5)


def test_a_plan_without_time_is_saved_and_proved(tmp_path: Path) -> None:
    b = Builder()
    y = b.add("Gemm", "x", b.floats(3, 2))
    model = b.model((1, 3), [y, b.add("Cast", b.add("Shape", "x"), to=1)])
    path = saved(model, tmp_path)
    with pytest.raises(LoadError, match=r"0 dynamic axes; .* and stream='' if nothing is"):
        pulse.compile(path)
    pulse.compile(path, stream="").save(tmp_path / "net.plan")
    plan = pulse.Plan.load(tmp_path / "net.plan")
    found = pulse.State(plan).run(np.ones((1, 3), np.float32))
    np.testing.assert_allclose(found[0], graphs.whole(model, np.ones((1, 3), np.float32))[0], rtol=1e-6)
    np.testing.assert_array_equal(found[1], [1, 3])
    assert main([str(path), "--summary", "--explain", "--profile", "--stream", ""]) == 0


def test_what_is_empty_is_known(tmp_path: Path) -> None:
    b = Builder()
    most, total = (b.add(op, b.add("Abs", "x"), b.constant([1]), keepdims=0) for op in ("ReduceMax", "ReduceSum"))
    none = b.add("Reshape", "x", b.constant([2, 3, 0]), allowzero=1)
    model = b.model((2, 0, 3), [most, total, none, b.add("Concat", none, b.floats(2, 3, 2), axis=2)])
    pulse.compile(saved(model, tmp_path), stream="").save(tmp_path / "net.plan")
    found = pulse.State(pulse.Plan.load(tmp_path / "net.plan")).run(np.zeros((2, 0, 3), np.float32))
    for have, want in zip(found, graphs.whole(model, np.zeros((2, 0, 3), np.float32)), strict=True):
        np.testing.assert_array_equal(have, want)


def test_no_kernel_is_asked_for_the_mean_of_nothing(tmp_path: Path) -> None:
    b = Builder()
    path = saved(b.model((2, 0), [b.add("ReduceMean", "x", b.constant([1]))]), tmp_path)
    with pytest.raises(GraphError, match="'ReduceMean0' computes with a value without elements"):
        pulse.compile(path, stream="")


def test_a_batch_is_of_one_where_nothing_is_time(tmp_path: Path) -> None:
    b = Builder()
    path = saved(b.model(("N", 3), [b.add("Relu", "x")]), tmp_path)
    assert pulse.compile(path, stream="").inputs["x"].shape == (1, 3)


def test_the_last_state_of_a_walk_that_ends_comes_out_alone() -> None:
    """Time is the batch here: every item of it is walked over anew, whatever came before."""
    b = Builder()
    weights = [b.floats(1, 8, 3), b.floats(1, 8, 2)]
    b.nodes.append(onnx.helper.make_node("LSTM", ["x", *weights], ["", "h", "c"], name="LSTM0", hidden_size=2))
    y = b.add("Add", "h", "c")
    graphs.assert_streams(b, y, (5, "S", 3), 1)


@pytest.mark.parametrize(
    "how",
    [
        {"kernel_shape": [3, 2]},
        {"kernel_shape": [2, 3], "strides": [2, 1], "pads": [1, 2, 0, 1]},
        {"kernel_shape": [3, 2], "dilations": [2, 3], "storage_order": 1, "ceil_mode": 1, "strides": [1, 2]},
    ],
    ids=str,
)
def test_a_pool_says_where_its_maxima_lie(how: dict[str, Any], tmp_path: Path) -> None:
    b = Builder()
    y = b.add_many("MaxPool", 2, "x", **how)
    model = b.model((2, 3, 6, 7), [y[0], b.add("Cast", y[1], to=1)])
    x = np.random.default_rng(7).standard_normal((2, 3, 6, 7), np.float32)
    found = pulse.State(pulse.compile(saved(model, tmp_path), stream="")).run(x)
    for have, want in zip(found, graphs.whole(model, x), strict=True):
        np.testing.assert_array_equal(have, want)
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "S"
    with pytest.raises(NotStreamable, match="where its maxima lie in an endless stream; use the maxima alone"):
        graphs.compiled(model, 4)


def test_nothing_is_dropped_and_that_is_said() -> None:
    b = Builder()
    y, mask = b.add_many("Dropout", 2, "x", b.constant(0.5, np.float32))
    graphs.assert_streams(b, b.add("Where", mask, y, b.floats(1)), (1, 3, "S"), 2)


def test_an_output_of_a_stream_must_depend_on_it() -> None:
    b = Builder()
    model = still(b.model((1, 3, "S"), [b.add("Relu", "x"), b.add("Relu", "c")]), "c", (1, 3))
    with pytest.raises(NotStreamable, match="the output 'y1' does not depend on time"):
        graphs.compiled(model, 2)


def test_an_input_that_moves_must_be_named_with_the_others(tmp_path: Path) -> None:
    b = Builder()
    model = b.model((1, 3, 40), [b.add("Add", "x", b.add("ReduceMean", "z", b.constant([1]), keepdims=1))])
    model.graph.input.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, (1, 3, "S")))
    with pytest.raises(LoadError, match="has the inputs x, z; name them all, but for those without time"):
        pulse.compile(saved(model, tmp_path), stream="x:2")
