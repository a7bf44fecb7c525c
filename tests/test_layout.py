"""Axes go back and forth in a file, and lie still in a plan."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulse.declutter import declutter
from pulse.dim import STREAM
from pulse.errors import NotStreamable
from pulse.infer import infer
from pulse.layout import Move, laid_out
from tests import graphs
from tests.graphs import END, Builder, batch_graph


def _first(b: Builder, *perm: int) -> str:
    """A convolution, so that what follows is no longer the input, and a transpose."""
    return b.add("Transpose", b.add("Conv", "x", b.floats(4, 4, 3), b.floats(4)), perm=perm)


def _back(b: Builder, y: str, *perm: int) -> str:
    return b.add("Conv", b.add("Transpose", y, perm=perm), b.floats(3, 4, 2), b.floats(3))


def example(what: str, b: Builder) -> str:
    match what:
        case "element-wise in between":
            return _back(b, b.add("Relu", b.add("Mul", _first(b, 0, 2, 1), b.add("Abs", b.floats(1, 1, 4)))), 0, 2, 1)
        case "two that are added":
            y = _first(b, 0, 2, 1)
            return _back(b, b.add("Add", b.add("Tanh", y), b.add("Clip", y, b.constant(0.0, np.float32))), 0, 2, 1)
        case "a slice, a pad and a softmax":
            y = b.add("Slice", _first(b, 0, 2, 1), *(b.constant(c) for c in ([0, 2], [graphs.END] * 2, [0, 1])))
            y = b.add("Pad", y, b.constant([0, 3, 0, 0, 0, 0]), b.constant(0.5, np.float32))
            return _back(b, b.add("Softmax", y, axis=-1), 0, 2, 1)
        case "a join":
            y = _first(b, 0, 2, 1)
            y = b.add("Concat", b.add("Tanh", y), b.add("Slice", y, *(b.constant([c]) for c in (1, 3, 2))), axis=2)
            return b.add("Conv", b.add("Transpose", y, perm=[0, 2, 1]), b.floats(3, 6, 2))
        case "a window over an image of height 1":
            image = b.add("Transpose", b.add("Unsqueeze", _first(b, 0, 2, 1), b.constant([1])), perm=[0, 3, 1, 2])
            y = b.add("Conv", image, b.floats(3, 4, 1, 3), b.floats(3), dilations=[1, 2], pads=[0, 2, 0, 0])
            return b.add("Squeeze", b.add("Transpose", b.add("Relu", y), perm=[0, 2, 3, 1]), b.constant([1]))
        case "a product along the channels":
            y = b.add("Add", b.add("MatMul", _first(b, 0, 2, 1), b.floats(4, 3)), b.floats(3))
            return b.add("Transpose", b.add("Relu", y), perm=[0, 2, 1])
        case "a scale in front of the first transpose":
            y = b.add("Add", b.add("Mul", b.add("Transpose", "x", perm=[0, 2, 1]), b.floats(4)), b.floats(4))
            return _back(b, y, 0, 2, 1)
        case "a pad in front of a transpose":
            y = b.add("Pad", b.add("Transpose", "x", perm=[2, 0, 1]), b.constant([2, 0, 0, 0, 0, 0]))
            return _back(b, y, 1, 2, 0)
        case "a sum with what lies otherwise":
            y = _first(b, 0, 2, 1)
            other = b.add("Transpose", b.front("x", 2), perm=[0, 2, 1])
            return b.add("Sub", b.add("ReduceMax", y, b.constant([2])), b.add("Sigmoid", other))
        case "a constant that spreads":
            return b.add("Mul", b.add("Unsqueeze", _first(b, 0, 2, 1), b.constant([1])), b.floats(1, 2, 1, 4))
    raise AssertionError(what)


EXAMPLES: list[tuple[str, dict[str, int]]] = [
    ("element-wise in between", {"Conv": 2, "Relu": 1}),
    ("two that are added", {"Conv": 2, "Tanh": 1, "Clip": 1, "Add": 1}),
    ("a slice, a pad and a softmax", {"Conv": 2, "Slice": 1, "Pad": 1, "Softmax": 1}),
    ("a join", {"Conv": 2, "Slice": 1, "Tanh": 1, "Concat": 1}),
    ("a window over an image of height 1", {"Conv": 2, "Relu": 1, "Transpose": 1}),
    ("a product along the channels", {"Conv": 2, "Relu": 1}),
    ("a scale in front of the first transpose", {"Conv": 1}),
    ("a pad in front of a transpose", {"Conv": 1}),
]
MIXED = ("a sum with what lies otherwise", "a constant that spreads")


def time_of(b: Builder, y: str) -> int:
    stream = infer(batch_graph(b.model((1, 4, "S"), [y]))).facts[y].stream
    assert stream is not None
    return stream.axis


@pytest.mark.parametrize(("what", "left"), EXAMPLES, ids=[row[0] for row in EXAMPLES])
def test_moves_that_meet_are_gone(what: str, left: dict[str, int]) -> None:
    b = Builder()
    y = example(what, b)
    graph = declutter(infer(batch_graph(b.model((1, 4, "S"), [y]))))
    assert Counter(node.op for node in graph.nodes) == left
    assert laid_out(graph) is graph
    graphs.assert_streams(b, y, (1, 4, "S"), time_of(b, y))


def test_a_dense_layer_over_an_image_is_a_convolution() -> None:
    """As tf2onnx writes a Dense behind a Conv2D: rows and the shape behind them are computed from the image's."""
    b = Builder(opset=13)
    conv = b.add("Conv", b.add("Unsqueeze", "x", b.constant([3])), b.floats(6, 4, 3, 1))
    shape = b.add("Gather", b.add("Shape", conv), b.constant([0, 2, 3, 1]))
    y = b.add("Transpose", b.add("Relu", conv), perm=[0, 2, 3, 1])
    front = b.add("Gather", shape, b.constant([0, 1, 2]), axis=0)
    many = b.add("Unsqueeze", b.add("ReduceProd", front, axes=[0], keepdims=0), b.constant([0]))
    rows = b.add("Reshape", y, b.add("Concat", many, b.constant([6]), axis=0))
    y = b.add("Reshape", b.add("MatMul", rows, b.floats(6, 3)), b.add("Concat", front, b.constant([3]), axis=0))
    graph = declutter(infer(batch_graph(b.model((1, 4, "S"), [y]))))
    assert [node.op for node in graph.nodes if node.op not in ("Reshape", "Transpose")] == ["Conv", "Relu", "Conv"]
    graphs.assert_streams(b, y, (1, 4, "S"), 1)


@pytest.mark.parametrize("what", MIXED)
def test_moves_that_cannot_meet_stay_right(what: str) -> None:
    b = Builder()
    y = example(what, b)
    graphs.assert_streams(b, y, (1, 4, "S"), time_of(b, y))


def test_padding_with_what_the_stream_says_is_refused() -> None:
    b = Builder()
    y = b.add("Relu", b.add("Transpose", "x", perm=[0, 2, 1]))
    y = b.add("Transpose", b.add("Pad", y, b.constant([0, 0, 0, 0, 1, 0]), y), perm=[0, 2, 1])
    with pytest.raises(NotStreamable, match="has an input 2 that is not one constant number"):
        graphs.compiled(b.model((1, 1, "S"), [y]), 4)


def test_a_slice_that_names_no_axes_cuts_the_first_ones() -> None:
    b = Builder()
    y = b.add("Transpose", b.add("Relu", "x"), perm=[0, 2, 1])
    y = b.add("Slice", y, b.constant([0]), b.constant([1]))
    y = b.add("Slice", y, b.constant([0, 1]), b.constant([END, END]))
    graphs.assert_streams(b, b.add("Transpose", y, perm=[0, 2, 1]), (1, 4, "S"), 2)


def test_what_is_in_front_of_a_transpose_goes_into_the_weights() -> None:
    for last in ("Pad", "Add"):
        b = Builder()
        y = b.add("Mul", b.floats(1, 1, 4), "x")
        y = b.add("Pad", y, b.constant([0, 3, 0, 0, 0, 0])) if last == "Pad" else b.add("Add", y, b.floats(4))
        y = b.add("Conv", b.add("Transpose", y, perm=[0, 2, 1]), b.floats(3, 4, 3))
        graph = declutter(infer(batch_graph(b.model((1, "S", 4), [y]))))
        assert [node.op for node in graph.nodes] == ["Transpose", "Conv"]
        graphs.assert_streams(b, b.add("Transpose", y, perm=[0, 2, 1]), (1, "S", 4), 1)


MOVES = st.lists(st.tuples(st.sampled_from(["Transpose", "Reshape"]), st.integers(0, 1 << 20)), min_size=1, max_size=5)


def _step(kind: str, number: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A permutation of the axes, or a shape with other axes of one item."""
    noise = np.random.default_rng(number)
    if kind == "Transpose":
        return tuple(int(axis) for axis in noise.permutation(len(shape)))
    sizes = [size for size in shape if size != 1]
    for _ in range(noise.integers(0, 3)):
        sizes.insert(int(noise.integers(0, len(sizes) + 1)), 1)
    return tuple(sizes)


@given(steps=MOVES)
def test_moves_in_a_row_are_one(steps: list[tuple[str, int]]) -> None:
    x = np.arange(24).reshape(2, 3, 4)
    y, whole = x, Move(x.shape, x.shape, (0, 1, 2))
    for kind, number in steps:
        how = _step(kind, number, y.shape)
        moved = y.transpose(how) if kind == "Transpose" else y.reshape(how)
        order = how if kind == "Transpose" else range(y.ndim)
        origins = [axis for axis in order if y.shape[axis] != 1]
        whole = whole.then(Move(y.shape, moved.shape, tuple(origins)))
        y = moved
    nodes, constants = whole.nodes("x", "y", "y")
    values = {"x": x}
    for node in nodes:
        source = values[node.inputs[0]]
        perm = node.integers("perm", ())
        values[node.outputs[0]] = source.transpose(perm) if perm else source.reshape(constants[node.inputs[1]])
    np.testing.assert_array_equal(values["y"], y)
    laid = whole.constant(y)
    assert laid is not None
    np.testing.assert_array_equal(laid, x)
    back = whole.then(whole.back())
    assert back.is_nothing


def test_a_shape_may_hold_time() -> None:
    move = Move((1, 4, STREAM), (4, 1, STREAM), (1, 2))
    nodes, constants = move.nodes("x", "y", "y")
    assert [node.op for node in nodes] == ["Reshape"]
    assert list(constants["y.laid.shape"]) == [4, 1, STREAM]
