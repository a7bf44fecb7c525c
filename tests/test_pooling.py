"""Means and maxima over all of time, taken over its last items: every item is what the batch makes of that window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pulse
from pulse.cli import main
from pulse.errors import NotStreamable
from tests import graphs
from tests.graphs import Builder

CHANNELS, WINDOW = 3, 6
Net = Callable[[Builder, str], str]


def planned(b: Builder, y: str, tmp_path: Path, window: int | None = WINDOW) -> pulse.Plan:
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


NETS: dict[str, Net] = {
    "flattened": flattened,
    "reshaped": reshaped,
    "reshaped by number": reshaped_by_number,
    "averaged": averaged,
    "image": all_but_the_batch,
}


@pytest.mark.parametrize("what", NETS)
def test_every_item_is_what_the_batch_makes_of_its_window(what: str, tmp_path: Path) -> None:
    b = Builder()
    plan = planned(b, NETS[what](b, "x"), tmp_path)
    x = np.random.default_rng(3).standard_normal((1, CHANNELS, 24)).astype(np.float32)
    (found,) = graphs.streamed(plan, x, [0])
    model = graphs.onnx.load(tmp_path / "net.onnx")
    assert plan.delay == (0,)
    for item in range(24):
        (wanted,) = graphs.whole(model, x[:, :, max(0, item + 1 - WINDOW) : item + 1])
        np.testing.assert_allclose(found[item : item + 1], wanted, atol=1e-5)


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


REFUSED: dict[str, tuple[Callable[[Builder], str], int | None, str]] = {
    "not asked for": (
        lambda b: b.add("GlobalAveragePool", "x"),
        None,
        "use an average pool over a fixed number of items, or compile with a window of as many",
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
    "sum": (lambda b: b.add("ReduceSum", "x", b.constant([2])), WINDOW, "reduces over time"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_window_can_stand_for_is_refused(what: str, tmp_path: Path) -> None:
    make, window, message = REFUSED[what]
    b = Builder()
    y = make(b)
    with pytest.raises(NotStreamable, match=message):
        planned(b, y, tmp_path, window)


def test_the_window_is_an_option(tmp_path: Path, capsys: Any) -> None:
    b = Builder()
    planned(b, flattened(b, "x"), tmp_path)
    assert main([str(tmp_path / "net.onnx"), "--summary"]) == 1
    assert main([str(tmp_path / "net.onnx"), "--summary", "--window", "9"]) == 0
    assert "receptive field  9 items" in capsys.readouterr().out
