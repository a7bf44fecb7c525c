"""Windows of time written with indices, as frameworks and people write them, and values that count along time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulse.declutter import declutter
from pulse.errors import NotStreamable
from pulse.graph import Graph
from pulse.infer import infer
from tests.graphs import Builder, assert_streams, batch_graph, compiled

Draw = Callable[[st.SearchStrategy[Any]], Any]
SHAPES = {1: (1, "S", 3), 2: (1, 3, "S")}  # by the axis of time


def plain(b: Builder, y: str, shape: tuple[int | str, ...] = (1, "S", 3)) -> Graph:
    return declutter(infer(batch_graph(b.model(shape, [y]))))


def counting(b: Builder, x: str, axis: int, less: int = 0, step: int = 1) -> str:
    """0, step, 2*step, ... to the length of time without the last `less` items."""
    length = b.add("Squeeze", b.add("Shape", x, start=axis, end=axis + 1))
    return b.add("Range", b.constant(0), b.add("Sub", length, b.constant(less)), b.constant(step))


def padded(b: Builder, axis: int, first: int, last: int = 0, value: float = 0.0) -> str:
    amounts = [0] * 6
    amounts[axis], amounts[axis + 3] = first, last
    return b.add("Pad", "x", b.constant(amounts), b.constant(value, np.float32))


def indices(b: Builder, times: str, offsets: Any, last: bool) -> str:
    """`times` plus offsets, (time, offsets) or the other way round."""
    rows = b.add("Unsqueeze", times, b.constant([1 if last else 0]))
    return b.add("Add", rows, b.constant(np.reshape(offsets, (1, -1) if last else (-1, 1))))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_window_by_indices_streams(data: Any) -> None:
    draw: Draw = data.draw
    b, axis = Builder(), draw(st.sampled_from([1, 2]))
    before, after = draw(st.integers(0, 4)), draw(st.integers(0, 2))
    x = padded(b, axis, before, after, draw(st.sampled_from([0.0, 0.5])))
    offsets = draw(st.lists(st.integers(0, 5), min_size=1, max_size=5))
    step = draw(st.sampled_from([1, 1, 2]))
    times = counting(b, x, axis, max(offsets), step)
    places, last = indices(b, times, offsets, time_first := draw(st.booleans())), time_first
    if draw(st.booleans()):
        y = b.add("Gather", x, places, axis=axis)
    else:  # as the newer exporter of PyTorch writes it
        perm = [1, 0, 2] if axis == 1 else [2, 0, 1]
        y = b.add("GatherND", b.add("Transpose", x, perm=perm), b.add("Unsqueeze", places, b.constant([-1])))
        y = b.add("Transpose", y, perm=[2, 0, 1, 3] if axis == 1 else [2, 3, 0, 1])
    assert_streams(b, b.add("Tanh", y), SHAPES[axis], axis + (0 if last else 1), draw(st.sampled_from([2, 4, 6])))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_window_of_bounded_indices_streams(data: Any) -> None:
    """Places in front of time show its first item, and places behind the end its last, which never comes."""
    draw: Draw = data.draw
    b, axis = Builder(), draw(st.sampled_from([1, 2]))
    x = "x" if draw(st.booleans()) else b.add("Conv" if axis == 2 else "Relu", *_late(b, axis))
    step = draw(st.sampled_from([1, 1, 2]))
    offsets = draw(st.lists(st.integers(-4, 2 if step == 1 else 0), min_size=1, max_size=4))
    places = indices(b, counting(b, "x", axis, step=step), offsets, True)
    end = b.add("Sub", b.add("Squeeze", b.add("Shape", "x", start=axis, end=axis + 1)), b.constant(1))
    if draw(st.booleans()):
        places = b.add("Clip", places, b.constant(0), end)
    else:
        places = b.add("Min", b.add("Max", places, b.constant(0)), end)
    y = b.add("Gather", x, places, axis=axis)
    assert_streams(b, b.add("Tanh", y), SHAPES[axis], axis, step * draw(st.sampled_from([1, 3])))


def _late(b: Builder, axis: int) -> list[str]:
    """The inputs of a node that is late, where one can be."""
    if axis == 1:
        return ["x"]
    return [b.add("Pad", "x", b.constant([0, 0, 0, 0, 0, 2])), b.floats(3, 3, 3)]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_window_over_flat_numbers_streams(data: Any) -> None:
    """As a view of the memory is written: places count numbers, of which each item has as many."""
    draw: Draw = data.draw
    b = Builder()
    offsets = draw(st.lists(st.integers(0, 11), min_size=1, max_size=4))
    if draw(st.booleans()):
        offsets = list(range(3 * draw(st.integers(1, 4))))
    flat = b.add("Reshape", padded(b, 1, draw(st.integers(0, 3))), b.constant([-1]))
    times = b.add("Mul", counting(b, "x", 1, max(offsets) // 3), b.constant(3))
    y = b.add("Gather", flat, indices(b, times, offsets, first := draw(st.booleans())), axis=0)
    assert_streams(b, b.add("Tanh", y), SHAPES[1], 0 if first else 1, draw(st.sampled_from([1, 3])))


def test_a_window_costs_no_copies() -> None:
    """Keys and values of one past are two views of it."""
    b = Builder()
    y = b.add("Gather", padded(b, 1, 3), indices(b, counting(b, "x", 1), [0, 1, 2, 3], True), axis=1)
    plan = compiled(b.model((1, "S", 3), [b.add("ReduceSum", y, b.constant([2]), keepdims=0)]), 4)
    assert [step.kernel for step in plan.steps] == ["Delay", "ReduceSum"]
    assert (plan.delay, plan.receptive_field) == ((0,), 4)


@pytest.mark.parametrize("back", ["Reshape", "Squeeze", "Expand", "Cast", "Transpose", "Flatten"])
def test_indices_are_read_back_through_what_moves_them(back: str) -> None:
    b = Builder()
    places = indices(b, counting(b, "x", 1, 2), [0, 1, 2], True)
    match back:
        case "Reshape":
            places = b.add("Reshape", places, b.constant([-1, 1, 3]))
        case "Squeeze":
            places = b.add("Squeeze", b.add("Unsqueeze", places, b.constant([0])), b.constant([0]))
        case "Expand":
            places = b.add("Expand", places, b.constant([2, 1, 3]))
        case "Cast":
            places = b.add("Cast", b.add("Cast", places, to=6), to=7)
        case "Transpose":
            places = b.add("Transpose", places, perm=[1, 0])
        case "Flatten":
            places = b.add("Flatten", b.add("Unsqueeze", places, b.constant([2])), axis=1)
    y = b.add("Gather", "x", places, axis=1)
    ahead = {"Expand": 2, "Transpose": 2}.get(back, 1)
    assert_streams(b, b.add("Tanh", y), (1, "S", 3), ahead)
    assert "Unfold" in [node.op for node in plain(b, y).nodes]


@pytest.mark.parametrize("start", [0, 3, -2])
@pytest.mark.parametrize("step", [1, 2])
def test_places_are_values_too(start: int, step: int) -> None:
    """As in an encoding of positions: a sum of ones."""
    b = Builder()
    length = b.add("Squeeze", b.add("Shape", "x", start=2))
    end = b.add("Add", b.add("Mul", length, b.constant(step)), b.constant(start))
    times = b.add("Cast", b.add("Range", b.constant(start), end, b.constant(step)), to=1)
    late = b.add("Conv", "x", b.floats(4, 4, 3))
    y = b.add("Add", late, b.add("Sin", b.front(b.add("Unsqueeze", times, b.constant([0, 1])), 2)))
    assert_streams(b, y, (1, 4, "S"), 2)


@pytest.mark.parametrize("far", [40_000, 1 << 40])
def test_a_window_that_reaches_too_far_is_refused(far: int) -> None:
    """Before anything is as long as it."""
    b = Builder()
    y = b.add("Gather", "x", indices(b, counting(b, "x", 1, far), [0, far], True), axis=1)
    with pytest.raises(NotStreamable, match=r"would be \d+ items late; at most 32768 are allowed"):
        compiled(b.model((1, "S", 3), [y]), 4)


def test_a_bound_that_never_comes_is_refused() -> None:
    b = Builder()
    places = b.add("Clip", counting(b, "x", 2), b.constant(0), b.add("Squeeze", b.add("Shape", "x", start=2)))
    with pytest.raises(NotStreamable, match=r"\(Clip\) has an input 2 that is not one constant number"):
        compiled(b.model((1, 4, "S"), [b.add("Add", "x", b.add("Cast", places, to=1))]), 2)


@pytest.mark.parametrize("what", ["wrap", "computed", "too far", "backwards", "below", "above", "twice"])
def test_other_places_are_refused(what: str) -> None:
    b = Builder()
    times = counting(b, "x", 1)
    match what:
        case "wrap":  # -1 is the last item of all
            times = b.add("Sub", times, b.constant(1))
        case "computed":
            times = b.add("Cast", b.add("Squeeze", b.add("ReduceSum", "x", b.constant([0, 2]))), to=7)
        case "too far":
            times = b.add("Add", times, b.constant(1))
        case "below":
            times = b.add("Clip", times, b.constant(2))
        case "above":
            times = b.add("Min", times, b.constant(5))
        case "twice":
            times = b.add("Max", b.add("Max", b.add("Sub", times, b.constant(1)), b.constant(0)), b.constant(1))
        case "backwards":
            times = b.add("Sub", b.constant(5), times)
    with pytest.raises(NotStreamable, match=r"takes items of time at places that it computes; .* torch.arange\(S\)"):
        compiled(b.model((1, "S", 3), [b.add("Gather", "x", times, axis=1)]), 2)


@pytest.mark.parametrize(("indices", "batch"), [([[0, 1], [0, -1]], 0), ([0, 2], 0), ([[[1], [3]]], 1), ([[0]], 0)])
def test_places_off_time_are_rows_of_a_table(indices: Any, batch: int) -> None:
    """Several axes at once, from the end, and for each row of a batch others."""
    b = Builder()
    y = b.add("GatherND", "x", b.constant(indices), batch_dims=batch)
    time = np.ndim(indices) - 1 + (2 - batch - np.shape(indices)[-1])
    assert_streams(b, b.add("Tanh", y), (1, 4, "S"), time)
