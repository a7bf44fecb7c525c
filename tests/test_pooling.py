"""Means and maxima over all of time, taken over its last items: every item is what the batch makes of that window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pulse
from pulse.cli import main
from pulse.errors import NotStreamable
from pulse.reference import KERNELS
from tests import graphs
from tests.graphs import Builder
from tests.networks import Network, networks

CHANNELS, WINDOW = 3, 6
Net = Callable[[Builder, str], str]


def planned(b: Builder, y: str, tmp_path: Path, window: Any = WINDOW) -> pulse.Plan:
    path = tmp_path / "net.onnx"
    path.write_bytes(b.model((1, CHANNELS, "S"), [y]).SerializeToString())
    return pulse.compile(path, 4, window)


def flattened(b: Builder, x: str) -> str:
    """As classifiers end in PyTorch: pool, flatten, classify."""
    y = b.add("Flatten", b.add("GlobalAveragePool", x))
    return b.add("Softmax", b.add("Gemm", y, b.floats(4, CHANNELS), b.floats(4), transB=1))


def reshaped(b: Builder, x: str) -> str:
    """y.view(y.size(0), -1), written out as exporters do."""
    y = b.add("GlobalMaxPool", b.add("Neg", x))
    rows = b.add("Gather", b.add("Shape", y), b.constant([0]))
    return b.add("MatMul", b.add("Reshape", y, b.add("Concat", rows, b.constant([-1]), axis=0)), b.floats(CHANNELS, 2))


def averaged(b: Builder, x: str) -> str:
    y = b.add("ReduceMean", b.add("Transpose", x, perm=[0, 2, 1]), b.constant([1]), keepdims=0)
    return b.add("Relu", b.add("Gemm", y, b.floats(CHANNELS, 2)))


def all_but_the_batch(b: Builder, x: str) -> str:
    image = b.add("Unsqueeze", x, b.constant([1]))
    w = b.add("Reshape", b.add("Conv", image, b.floats(4, 1, 2, 1)), b.constant([1, 4, 2, -1]))
    return b.add("Gemm", b.add("ReduceMax", w, b.constant([2, 3]), keepdims=0), b.floats(4, 2))


def reshaped_by_number(b: Builder, x: str) -> str:
    """The same, where the exporter knew the batch."""
    y = b.add("Reshape", b.add("Relu", b.add("GlobalMaxPool", x)), b.constant([1, -1]))
    return b.add("MatMul", y, b.floats(CHANNELS, 2))


def apart(b: Builder, x: str) -> str:
    return b.add("Sub", x, b.add("ReduceMean", x, b.constant([2]), keepdims=1))


def spread(b: Builder, x: str) -> str:
    """The square root of the variance, as exporters write it, beside mean and maximum."""
    far = apart(b, b.add("Add", x, b.constant(3.0, np.float32)))
    variance = b.add("ReduceMean", b.add("Mul", far, far), b.constant([2]), keepdims=0)
    parts = [b.add("Sqrt", b.add("Add", variance, b.constant(0.1, np.float32)))]
    parts += [b.add(op, x, b.constant([2]), keepdims=0) for op in ("ReduceMean", "ReduceMax")]
    return b.add("Concat", *parts, axis=1)


def spread_by_power(b: Builder, x: str) -> str:
    far = b.add("Sub", b.add("ReduceMean", x, b.constant([2]), keepdims=1), x)
    squares = b.add("Pow", far, b.constant(2.0, np.float32))
    return b.add("Flatten", b.add("ReduceMean", squares, b.constant([2]), keepdims=1))


def normalised(b: Builder, x: str) -> str:
    """A variance off time, which stays what it is, in front of a pool."""
    mean = b.add("ReduceMean", x, b.constant([1]), keepdims=1)
    far = b.add("Sub", x, mean)
    variance = b.add("ReduceMean", b.add("Mul", far, far), b.constant([1]), keepdims=1)
    even = b.add("Div", far, b.add("Sqrt", b.add("Add", variance, b.constant(0.1, np.float32))))
    return b.add("Flatten", b.add("GlobalMaxPool", even))


def corrected(b: Builder, x: str, axis: int = 2) -> str:
    """The variance of n items as torch.var writes it: divided by n - 1."""
    far = b.add("Sub", x, b.add("ReduceMean", x, b.constant([axis]), keepdims=1))
    variance = b.add("ReduceMean", b.add("Mul", far, far), b.constant([axis]), keepdims=1)
    many = b.add("Cast", b.add("ReduceProd", b.add("Gather", b.add("Shape", x), b.constant([axis])), keepdims=0), to=1)
    return b.add("Div", b.add("Mul", variance, many), b.add("Sub", many, b.constant(1.0, np.float32)))


def behind_a_mean_of_channels(b: Builder, x: str) -> str:
    """A reshape whose first axis is none of time, in front of the pool."""
    mean = b.add("Expand", b.add("ReduceMean", x, b.constant([1]), keepdims=1), b.constant([1, 2, 1]))
    apart = b.add("Tanh", b.add("Reshape", mean, b.constant([2, 1, -1])))
    return b.add("Flatten", b.add("GlobalAveragePool", b.add("Reshape", apart, b.constant([1, 2, -1]))))


NETS: dict[str, Net] = {
    "behind a mean of channels": behind_a_mean_of_channels,
    "corrected off time": lambda b, x: b.add("Flatten", b.add("GlobalAveragePool", corrected(b, x, 1))),
    "spread": spread,
    "spread by power": spread_by_power,
    "normalised": normalised,
    "flattened": flattened,
    "reshaped": reshaped,
    "reshaped by number": reshaped_by_number,
    "averaged": averaged,
    "image": all_but_the_batch,
}


@pytest.mark.parametrize("window", [WINDOW, "running"])
@pytest.mark.parametrize("what", NETS)
def test_every_item_is_what_the_batch_makes_of_its_window(what: str, window: Any, tmp_path: Path) -> None:
    b = Builder()
    plan = planned(b, NETS[what](b, "x"), tmp_path, window)
    x = np.random.default_rng(3).standard_normal((1, CHANNELS, 24)).astype(np.float32)
    (found,) = graphs.streamed(plan, x, [0])
    model = graphs.onnx.load(tmp_path / "net.onnx")
    assert plan.delay == (0,)
    for item in range(24):
        first = 0 if window == "running" else max(0, item + 1 - WINDOW)
        (wanted,) = graphs.whole(model, x[:, :, first : item + 1])
        np.testing.assert_allclose(found[item : item + 1], wanted, atol=1e-4)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("window", [WINDOW, "running"])
def test_a_corrected_variance_is_that_of_the_items_there_are(window: Any, late: bool, tmp_path: Path) -> None:
    b = Builder()
    y = b.add("Exp", b.add("Conv", "x", b.floats(CHANNELS, CHANNELS, 4))) if late else "x"
    plan = planned(b, b.add("Flatten", corrected(b, y)), tmp_path, window)
    x = np.random.default_rng(3).standard_normal((1, CHANNELS, 24)).astype(np.float32)
    (found,) = graphs.streamed(plan, x, [0])
    model, (delay,) = graphs.onnx.load(tmp_path / "net.onnx"), plan.delay
    assert delay == (3 if late else 0)
    np.testing.assert_allclose(found[delay], 0, atol=1e-5)  # of one item, where the batch divides by 0
    for item in range(1, 24 - delay):
        first = 0 if window == "running" else max(0, item + 1 - WINDOW)
        (wanted,) = graphs.whole(model, x[:, :, first : item + delay + 1])
        np.testing.assert_allclose(found[item + delay : item + delay + 1], wanted, atol=1e-4)


@pytest.mark.parametrize("what", ["flattened", "reshaped", "spread"])
def test_what_runs_behind_a_delay_starts_with_the_first_item(what: str, tmp_path: Path) -> None:
    b = Builder()
    late = b.add("Log", b.add("Exp", b.add("Conv", "x", b.floats(CHANNELS, CHANNELS, 6))))
    plan = planned(b, NETS[what](b, late), tmp_path, "running")
    x = np.random.default_rng(3).standard_normal((1, CHANNELS, 24)).astype(np.float32)
    state = pulse.State(plan)
    graphs.streamed(plan, 9 * x, [0], state)
    state.reset()
    (found,) = graphs.streamed(plan, x, [0], state)
    model = graphs.onnx.load(tmp_path / "net.onnx")
    assert plan.delay == (5,)
    for item in range(19):
        (wanted,) = graphs.whole(model, x[:, :, : item + 6])
        np.testing.assert_allclose(found[item + 5 : item + 6], wanted, atol=1e-4)


def pooled(network: Network, op: str) -> graphs.onnx.ModelProto:
    """The network with its first output reduced over time, and no other."""
    model = graphs.onnx.ModelProto.FromString(network.model.SerializeToString())
    x, axes = model.graph.output[0].name, graphs.numpy_helper.from_array(np.array([network.axes[0]]), "axes")
    nodes = [("Identity", [x], "of")] if op != "Variance" else [
        ("ReduceMean", [x, "axes"], "m"), ("Sub", [x, "m"], "d"), ("Mul", ["d", "d"], "of")
    ]  # fmt: skip
    nodes += [(f"Reduce{op}" if op != "Variance" else "ReduceMean", ["of", "axes"], "pooled")]
    made = [graphs.helper.make_node(kind, reads, [name], name=f"{kind} {name}") for kind, reads, name in nodes]
    model.graph.node.extend(made)
    model.graph.initializer.append(axes)
    del model.graph.output[:]
    model.graph.output.append(graphs.helper.make_tensor_value_info("pooled", 1, None))
    return model


def so_far(op: str, y: Any) -> Any:
    """What a reduction makes of all items of y (items, ...) so far."""
    cut = [y[: item + 1].astype(np.float64) for item in range(len(y))]
    function = {"Mean": np.mean, "Max": np.max, "Variance": np.var}[op]
    return np.stack([function(items, axis=0) for items in cut])


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(network=networks(4), op=st.sampled_from(["Mean", "Max", "Variance"]))
def test_the_law_of_what_runs(network: Network, op: str, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "pooled.onnx"
    path.write_bytes(pooled(network, op).SerializeToString())
    plan = pulse.compile(path, network.pulse, "running")
    x = np.random.default_rng(1).standard_normal((1, network.channels, graphs.enough(plan) + 3 * network.pulse))
    x = x.astype(np.float32)
    y = np.moveaxis(graphs.whole(network.model, x)[0], network.axes[0], 0)
    found = np.moveaxis(graphs.streamed(plan, x, [0])[0], network.axes[0], 1)[:, 0][plan.delay[0] :]
    wanted = so_far(op, y[: len(found)])[:, 0]
    assert 0 < len(found) <= len(y)
    scale = max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(found.reshape(wanted.shape) / scale, wanted / scale, atol=1e-3)


def test_streams_run_apart(tmp_path: Path) -> None:
    b = Builder()
    plan = planned(b, spread(b, "x"), tmp_path, "running")
    x = np.random.default_rng(3).standard_normal((2, 1, CHANNELS, 24)).astype(np.float32)
    both = pulse.State(plan, streams=2)
    found = [both.run(x[..., at : at + 4])[0].copy() for at in range(0, 24, 4)]
    for stream in range(2):
        (alone,) = graphs.streamed(plan, x[stream], [0])
        np.testing.assert_array_equal(np.concatenate([part[stream] for part in found]), alone)


def test_a_mean_does_not_drift_over_weeks() -> None:
    """After as many items as a year has hundredths of a second, one more still counts."""
    many = 365 * 24 * 3600 * 100
    count, mean, scratch = np.full(1, many, np.float64), np.ones((), np.float64), np.zeros((), np.float64)
    out, left, x = np.zeros(4, np.float32), np.zeros(1, np.float32), np.full(4, 2, np.float32)
    for _ in range(250):
        KERNELS["RunningMean"](out, left, count, mean, scratch, x)
    np.testing.assert_allclose(mean - 1, 1000 / (many + 1000), rtol=1e-6)
    assert count[0] == many + 1000


def test_squeeze_and_excite_weighs_items_by_what_came_before(tmp_path: Path) -> None:
    b = Builder()
    weight = b.add("Conv", b.add("GlobalAveragePool", "x"), b.constant(np.eye(CHANNELS)[:, :, None], np.float32))
    plan = planned(b, b.add("Mul", "x", b.add("Sigmoid", weight)), tmp_path)
    x = np.random.default_rng(3).standard_normal((1, CHANNELS, 24)).astype(np.float32)
    (found,) = graphs.streamed(plan, x, [2])
    for item in range(24):
        mean = x[:, :, max(0, item + 1 - WINDOW) : item + 1].mean(axis=2)
        np.testing.assert_allclose(found[:, :, item], x[:, :, item] / (1 + np.exp(-mean)), atol=1e-5)


def test_a_window_behind_a_delay_starts_with_the_first_item(tmp_path: Path) -> None:
    b = Builder()
    late = b.add("Conv", "x", b.floats(CHANNELS, CHANNELS, 3))
    plan = planned(b, flattened(b, late), tmp_path)
    x = np.random.default_rng(3).standard_normal((1, CHANNELS, 24)).astype(np.float32)
    (found,) = graphs.streamed(plan, x, [0])
    model = graphs.onnx.load(tmp_path / "net.onnx")
    assert plan.delay == (2,)
    for item in range(22):
        (wanted,) = graphs.whole(model, x[:, :, max(0, item + 1 - WINDOW) : item + 3])
        np.testing.assert_allclose(found[item + 2 : item + 3], wanted, atol=1e-5)


def variance_of_an_image(b: Builder) -> str:
    far = b.add("Sub", "x", b.add("ReduceMean", "x", b.constant([1, 2]), keepdims=1))
    return b.add("ReduceMean", b.add("Mul", far, far), b.constant([1, 2]), keepdims=1)


REFUSED: dict[str, tuple[Callable[[Builder], str], Any, str]] = {
    "not asked for": (
        lambda b: b.add("GlobalAveragePool", "x"),
        None,
        "use an average pool over a fixed number of items, or compile with a window of as many, or a running one",
    ),
    "no items": (lambda b: b.add("GlobalAveragePool", "x"), 0, "a window of 0 items is impossible; 1 to 8192"),
    "time is dropped and met again": (
        lambda b: b.add("Sub", "x", b.add("ReduceMean", "x", b.constant([2]), keepdims=0)),
        WINDOW,
        "drops the axis of time, which goes on behind it; export it with keepdim=True",
    ),
    "with the batch": (
        lambda b: b.add("ReduceMax", "x", b.constant([0, 2])),
        WINDOW,
        "reduces the batch together with time; reduce time alone",
    ),
    "variance over an image": (variance_of_an_image, "running", "over time and other axes at once"),
    "sum": (lambda b: b.add("ReduceSum", "x", b.constant([2])), WINDOW, "reduces over time"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_window_can_stand_for_is_refused(what: str, tmp_path: Path) -> None:
    make, window, message = REFUSED[what]
    b = Builder()
    y = make(b)
    with pytest.raises(NotStreamable, match=message):
        planned(b, y, tmp_path, window)


def test_hundreds_of_reductions_over_time_are_refused(tmp_path: Path) -> None:
    b = Builder()
    y = b.add("Sum", *(b.add("GlobalMaxPool", b.add("Tanh", "x")) for _ in range(257)))
    with pytest.raises(NotStreamable, match="is one reduction over time more than 256; use fewer"):
        planned(b, y, tmp_path)


def test_the_window_is_an_option(tmp_path: Path, capsys: Any) -> None:
    b = Builder()
    planned(b, flattened(b, "x"), tmp_path)
    assert main([str(tmp_path / "net.onnx"), "--summary"]) == 1
    assert main([str(tmp_path / "net.onnx"), "--summary", "--window", "9"]) == 0
    assert "receptive field  9 items" in capsys.readouterr().out
    assert main([str(tmp_path / "net.onnx"), "--show", "lower", "--window", "running"]) == 0
    assert "= RunningMean(" in capsys.readouterr().out
