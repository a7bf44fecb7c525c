"""Recurrent layers and sums over time: their memory begins with the first item, not with what warm-up leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pulse
from pulse.errors import GraphError, NotStreamable, PulseError
from tests import graphs
from tests.graphs import Builder, assert_streams, compiled

CHANNELS, HIDDEN = 3, 4
PARTS = {"GRU": 3, "LSTM": 4, "RNN": 1}


def recurrent(b: Builder, op: str, x: str, extra: dict[int, str] | None = None, **attributes: Any) -> str:
    """A layer over x (time, 1, CHANNELS); `extra` are inputs by their place."""
    rows = PARTS[op] * HIDDEN
    inputs = [x, b.floats(1, rows, CHANNELS), b.floats(1, rows, HIDDEN), b.floats(1, 2 * rows)]
    for index, name in sorted((extra or {}).items()):
        inputs += [""] * (index - len(inputs)) + [name]
    return b.add(op, *inputs, hidden_size=HIDDEN, **attributes)


def late(b: Builder) -> str:
    """The input behind a convolution, so that warm-up is wrong; (time, 1, CHANNELS)."""
    y = b.add("Conv", b.add("Exp", "x"), b.floats(CHANNELS, CHANNELS, 3))
    return b.add("Transpose", y, perm=[2, 0, 1])


def start(b: Builder) -> str:
    return b.constant(b.noise.standard_normal((1, 1, HIDDEN)), np.float32)


LAYERS: dict[str, Callable[[Builder, str], str]] = {
    "LSTM": lambda b, x: recurrent(b, "LSTM", x),
    "LSTM from a state": lambda b, x: recurrent(b, "LSTM", x, {5: start(b), 6: start(b)}),
    "LSTM with peepholes": lambda b, x: recurrent(b, "LSTM", x, {7: b.floats(1, 3 * HIDDEN)}),
    "LSTM with a bound": lambda b, x: recurrent(b, "LSTM", x, clip=0.3),
    "LSTM with other activations": lambda b, x: recurrent(b, "LSTM", x, activations=["Sigmoid", "Relu", "Tanh"]),
    "GRU": lambda b, x: recurrent(b, "GRU", x),
    "GRU as torch writes it": lambda b, x: recurrent(b, "GRU", x, linear_before_reset=1),
    "GRU from a state": lambda b, x: recurrent(b, "GRU", x, {5: start(b)}, linear_before_reset=1, clip=0.5),
    "RNN": lambda b, x: recurrent(b, "RNN", x, {5: start(b)}, activations=["Relu"], direction="forward"),
}


@pytest.mark.parametrize("what", LAYERS)
@pytest.mark.parametrize("size", [1, 5])
def test_a_layer_streams(what: str, size: int) -> None:
    b = Builder()
    y = b.add("Squeeze", LAYERS[what](b, late(b)), b.constant([1]))
    assert_streams(b, y, (1, CHANNELS, "S"), 0, size)


@pytest.mark.parametrize("op", PARTS)
@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
def test_a_layer_off_time_walks_both_ways(direction: str, op: str) -> None:
    """Time is the batch here, and so every item of it is walked over anew."""
    b, many = Builder(), 1 + (direction == "bidirectional")
    rows = PARTS[op] * HIDDEN
    weights = [b.floats(many, rows, CHANNELS), b.floats(many, rows, HIDDEN), b.floats(many, 2 * rows)]
    late = b.add("Transpose", b.add("Conv", "x", b.floats(5 * CHANNELS, 1, 2)), perm=[2, 0, 1])
    items = b.add("Transpose", b.add("Reshape", late, b.constant([-1, 5, CHANNELS])), perm=[1, 0, 2])
    names = ["Sigmoid", "Tanh", "Relu", "Sigmoid", "Relu", "Tanh"] if op == "LSTM" and many == 2 else None
    y = b.add_many(
        op, 2, items, *weights, hidden_size=HIDDEN, direction=direction, **({"activations": names} if names else {})
    )
    both = b.add("Add", y[1], b.add("ReduceSum", y[0], b.constant([0]), keepdims=0))
    assert_streams(b, both, (1, 1, "S"), 1)


def test_a_walk_off_time_begins_with_what_the_stream_says() -> None:
    b = Builder()
    weights = [b.floats(2, 4 * HIDDEN, CHANNELS), b.floats(2, 4 * HIDDEN, HIDDEN), "", ""]
    late = b.add("Conv", "x", b.floats(2 * HIDDEN, 5 * CHANNELS, 2), pads=[0, 1])
    begin = b.add("Reshape", late, b.constant([2, HIDDEN, -1]))
    begin = b.add("Transpose", begin, perm=[0, 2, 1])
    items = b.add("Transpose", b.add("Reshape", "x", b.constant([5, CHANNELS, -1])), perm=[0, 2, 1])
    y = b.add_many("LSTM", 3, items, *weights, begin, begin, hidden_size=HIDDEN, direction="bidirectional")
    assert_streams(b, b.add("Add", y[1], y[2]), (1, 5 * CHANNELS, "S"), 1)


@pytest.mark.parametrize("op", PARTS)
def test_a_layer_may_hear_several_at_once(op: str) -> None:
    b = Builder()
    first = b.constant(b.noise.standard_normal((1, 2, HIDDEN)), np.float32)
    states = {5: first, 6: first} if op == "LSTM" else {5: first}
    assert_streams(b, recurrent(b, op, "x", states), ("S", 2, CHANNELS), 0)


def test_a_layer_may_have_the_batch_first() -> None:
    """Against the same layer with time first: onnxruntime knows that form only."""
    first, second = Builder(seed=4), Builder(seed=4)
    y = recurrent(first, "GRU", first.add("Transpose", "x", perm=[2, 0, 1]))
    z = recurrent(second, "GRU", second.add("Transpose", "x", perm=[0, 2, 1]), layout=1)
    models = [first.model((1, CHANNELS, "S"), [y]), second.model((1, CHANNELS, "S"), [z])]
    plans = [compiled(model, 4) for model in models]
    x = np.random.default_rng(2).standard_normal((1, CHANNELS, 12)).astype(np.float32)
    one, two = (graphs.streamed(plan, x, [axis])[0] for plan, axis in zip(plans, (0, 1), strict=True))
    np.testing.assert_allclose(one.reshape(-1), two.reshape(-1), atol=1e-6)


def test_a_reset_brings_the_first_state_back() -> None:
    b = Builder()
    y = recurrent(b, "LSTM", b.add("Transpose", "x", perm=[2, 0, 1]), {5: start(b), 6: start(b)})
    plan = compiled(b.model((1, CHANNELS, "S"), [y]), 2)
    state, x = pulse.State(plan), np.ones((1, CHANNELS, 2), np.float32)
    first = state.run(x)[0].copy()
    assert not np.array_equal(state.run(x)[0], first)
    state.reset()
    np.testing.assert_array_equal(state.run(x)[0], first)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("size", [1, 4])
def test_a_sum_over_all_that_came(exclusive: int, size: int) -> None:
    b = Builder()
    y = b.add("Conv", "x", b.floats(CHANNELS, CHANNELS, 3))
    y = b.add("CumSum", b.add("Log", b.add("Exp", y)), b.constant(2), exclusive=exclusive)
    assert_streams(b, y, (1, CHANNELS, "S"), 2, size)


def test_a_sum_off_time_may_go_backwards() -> None:
    b = Builder()
    y = b.add("CumSum", "x", b.constant(1), reverse=1, exclusive=1)
    assert_streams(b, y, (1, CHANNELS, "S"), 2)


@pytest.mark.parametrize("mode", ["edge", "reflect"])
@pytest.mark.parametrize(("first", "size"), [(0, 4), (1, 1), (3, 2), (5, 4), (2, 7)])
def test_the_front_of_time_is_mirrored(mode: str, first: int, size: int) -> None:
    b = Builder()
    y = b.add("Conv", "x", b.floats(CHANNELS, CHANNELS, 2))
    y = b.add("Pad", y, b.constant([0, 1, first, 0, 2, 1]), mode=mode)
    assert_streams(b, y, (1, CHANNELS, "S"), 2, size)


@pytest.mark.parametrize("step", [2, 3])
@pytest.mark.parametrize(("first", "last"), [(0, graphs.END), (1, graphs.END), (4, -3), (0, -2)])
def test_every_second_item_of_time(step: int, first: int, last: int) -> None:
    b = Builder()
    y = b.add("Conv", "x", b.floats(CHANNELS, CHANNELS, 2))
    y = b.add("Slice", y, *(b.constant([number]) for number in (first, last, 2, step)))
    plan = assert_streams(b, y, (1, CHANNELS, "S"), 2, 6)
    assert plan.stride == (step,)


def test_blocks_of_an_image_become_channels() -> None:
    b = Builder()
    y = b.add("SpaceToDepth", "x", blocksize=2)
    assert_streams(b, y, (1, CHANNELS, 4, "S"), 3)


REFUSED: dict[str, tuple[Callable[[Builder], str], type[PulseError], str]] = {
    "backwards": (
        lambda b: recurrent(b, "GRU", late(b), direction="reverse"),
        NotStreamable,
        "runs reverse, from the end of time, which never comes; train it with bidirectional=False",
    ),
    "time as numbers": (
        lambda b: recurrent(b, "LSTM", "x"),
        NotStreamable,
        "walks along axis 0, and time is what it reads; transpose in front of it",
    ),
    "last state": (
        lambda b: b.add_many(
            "RNN", 2, late(b), b.floats(1, HIDDEN, CHANNELS), b.floats(1, HIDDEN, HIDDEN), hidden_size=HIDDEN
        )[1],
        NotStreamable,
        "hands out its last state, which never comes; use all of its states instead",
    ),
    "activation": (
        lambda b: recurrent(b, "RNN", late(b), activations=["Softsign"]),
        NotStreamable,
        "has the activations Softsign; only Relu, Sigmoid, Tanh are supported",
    ),
    "weights": (
        lambda b: recurrent(b, "LSTM", b.add("Concat", late(b), late(b), axis=2)),
        GraphError,
        "that do not fit its input of 6",
    ),
    "sum from the end": (
        lambda b: b.add("CumSum", "x", b.constant(2), reverse=1),
        NotStreamable,
        "sums backwards from the end of time",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_needs_the_end_of_time_is_refused(what: str) -> None:
    make, kind, message = REFUSED[what]
    b = Builder()
    y = make(b)
    with pytest.raises(kind, match=message):
        compiled(b.model((1, CHANNELS, "S"), [y]), 4)
