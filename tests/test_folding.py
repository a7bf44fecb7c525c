"""What is made of constants alone is a constant, also by ops that have no row; and never more than may be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from pulse import evaluate, folding, opset
from pulse.errors import LoadError, PulseError, UnsupportedOp
from pulse.graph import MAX_ELEMENTS
from tests.graphs import Builder, assert_streams, batch_graph, compiled

F = np.float32


def square(b: Builder) -> str:
    return b.constant(np.random.default_rng(3).standard_normal((4, 4)), F)


# op, what it reads, its attributes, how many outputs it has; of the last one a matrix (4, 4) or its like comes out
CASES: list[tuple[str, list[Any], dict[str, Any], int]] = [
    ("Trilu", ["square"], {"upper": 0}, 1),
    ("EyeLike", ["square"], {"k": 1}, 1),
    ("Hardmax", ["square"], {"axis": 0}, 1),
    ("OneHot", [np.array([0, 2, 1, 3]), np.array(4), np.array([0.25, 1.5], F)], {}, 1),
    ("ScatterND", ["square", np.array([[1], [2]]), np.ones((2, 4), F)], {}, 1),
    ("ScatterElements", ["square", np.array([[0, 1, 2, 3]]), np.ones((1, 4), F)], {}, 1),
    ("GatherElements", ["square", np.array([[0, 1, 2, 3]] * 4)], {}, 1),
    ("ReverseSequence", ["square", np.array([4, 3, 2, 1])], {}, 1),
    ("Shrink", ["square"], {"lambd": 0.3}, 1),
    ("CenterCropPad", [np.ones((6, 3), F), np.array([4, 4])], {}, 1),
    ("MelWeightMatrix", [np.array(4), np.array(6), np.array(16000), np.array(0, F), np.array(8000, F)], {}, 1),
    ("Compress", [np.arange(24, dtype=F).reshape(6, 4), np.array([1, 0, 1, 1, 0, 1], bool)], {"axis": 0}, 1),
    ("Unique", [np.array([[3, 1, 1, 3], [0, 2, 1, 5]], F)], {"axis": 1}, 1),
    ("TopK", ["square", np.array([4])], {"axis": 0}, 2),
    ("Einsum", ["square", "square"], {"equation": "ij,kj->ik"}, 1),
    ("Softmax", ["square"], {}, 1),
    ("Clip", ["square", np.array(-0.5, F), np.array(0.5, F)], {}, 1),
    ("CumSum", ["square", np.array(0)], {"reverse": 1}, 1),
    ("MatMul", ["square", "square"], {}, 1),
]


def made(b: Builder, op: str, reads: list[Any], attributes: dict[str, Any], outputs: int) -> str:
    given = [square(b) if isinstance(item, str) else b.constant(item, item.dtype) for item in reads]
    return b.add_many(op, outputs, *given, **attributes)[0]


@pytest.mark.parametrize(("op", "reads", "attributes", "outputs"), CASES, ids=[row[0] for row in CASES])
def test_what_is_made_of_constants_is_one(op: str, reads: list[Any], attributes: dict[str, Any], outputs: int) -> None:
    """It stands where only a constant can: as the weights of a convolution."""
    b = Builder()
    matrix = b.add("Reshape", made(b, op, reads, attributes, outputs), b.constant([-1, 4, 1]))
    y = b.add("Conv", "x", matrix)
    plan = assert_streams(b, y, (1, 4, "S"), 2)
    assert [step.kernel for step in plan.steps] == ["Conv"]


def test_indices_that_are_found_are_constants() -> None:
    """As exporters write a mask of channels; through ops of our own, and a shape without time."""
    b = Builder()
    channels = b.add("Shape", "x", start=1, end=2)
    chosen = b.add("Greater", b.add("Range", b.constant(0), b.add("Squeeze", channels), b.constant(1)), b.constant(1))
    found = b.add("Squeeze", b.add("NonZero", chosen), b.constant([0]))
    assert_streams(b, b.add("Gather", "x", found, axis=1), (1, 4, "S"), 2)


def test_only_what_needs_no_row_is_left() -> None:
    b = Builder()
    ones = b.add("Trilu", b.add("Expand", b.constant(1, F), b.constant([4, 4])))
    graph = batch_graph(b.model((1, "S", 4), [b.add("MatMul", "x", ones)]))
    assert [node.op for node in graph.nodes] == ["MatMul"]
    np.testing.assert_array_equal(graph.constants[ones], np.triu(np.ones((4, 4))))


@pytest.mark.parametrize(
    ("op", "remedy"),
    [("EyeLike", "supported are Abs"), ("NonZero", "depends on the data; keep"), ("Trilu", "attend to")],
)
def test_what_depends_on_the_stream_is_refused(op: str, remedy: str) -> None:
    b = Builder()
    y = b.add(op, b.add("Relu", "x"))
    with pytest.raises(
        UnsupportedOp, match=rf"node '{op}1' \({op}, opset 20\) is an op that is not supported; .*{remedy}"
    ):
        compiled(b.model((1, 4, "S"), [y]), 4)


def test_what_depends_on_the_length_of_time_is_refused() -> None:
    b = Builder()
    mask = b.add(
        "Trilu", b.add("Expand", b.constant(1, F), b.add("Concat", *[b.add("Shape", "x", start=2)] * 2, axis=0))
    )
    with pytest.raises(UnsupportedOp, match=r"\(Trilu, opset 20\) is an op that is not supported"):
        compiled(b.model((1, 4, "S"), [b.add("MatMul", "x", mask)]), 4)


HOSTILE: dict[str, tuple[str, list[Any], dict[str, Any], str]] = {
    "huge top": (
        "OneHot",
        [np.array([1]), np.array(1 << 40), np.array([0, 1], F)],
        {},
        "more of constants than may be",
    ),
    "huge window": ("HannWindow", [np.array(1 << 33)], {}, "more of constants than may be"),
    "does not fit": ("HannWindow", [np.array([4, 4])], {}, "does not fit its inputs"),
    "other type": ("HannWindow", [np.array(4)], {"output_datatype": 10}, "a type that is not supported"),
    "wrong attribute": ("Trilu", [np.ones((1, 1), F)], {"lower": 1}, "has the attribute 'lower'"),
    "wrong index": ("ScatterND", [np.ones(1, F), np.array([[7]]), np.ones(1, F)], {}, "cannot be computed"),
    "random": ("RandomNormal", [], {"shape": [1]}, "op that is not supported"),
    "text": ("StringNormalizer", [np.ones(1, F)], {}, "op that is not supported"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_no_more_is_computed_than_may_be(what: str) -> None:
    op, reads, attributes, message = HOSTILE[what]
    b = Builder()
    y = b.add("Mul", "x", b.add("Cast", made(b, op, reads, attributes, 1), to=TensorProto.FLOAT))
    with pytest.raises(LoadError, match=message):
        compiled(b.model((1, 1, "S"), [y]), 4)


def test_many_nodes_together_compute_no_more_than_one() -> None:
    b = Builder()
    y = square(b)
    for _ in range(5):
        y = b.add("Trilu", b.add("Expand", b.add("ReduceMax", y), b.constant([1024, 1024])))
    with pytest.raises(LoadError, match="more of constants than may be"):
        compiled(b.model((1, 1, "S"), [b.add("Mul", "x", b.add("ReduceMax", y))]), 4)


@pytest.mark.parametrize("equation", ["ab,cd,ef,gh->a", "a...,c...->a"])
def test_a_sum_that_is_too_long_stays_what_it_is(equation: str) -> None:
    """It has a row, so it may be computed elsewhere, or be refused there."""
    b = Builder()
    rows = b.constant(np.ones((4096, 64), F))
    y = b.add("ReduceMax", b.add("Einsum", *[rows] * (equation.count(",") + 1), equation=equation))
    assert "Einsum" in [node.op for node in batch_graph(b.model((1, 1, "S"), [b.add("Mul", "x", y)])).nodes]


def test_a_graph_in_an_attribute_is_not_run() -> None:
    b = Builder()
    body = helper.make_graph([], "body", [], [])
    y = b.add("Mul", "x", b.add("Trilu", square(b), upper=body))
    with pytest.raises(PulseError, match="of a kind that is not supported"):
        compiled(b.model((1, 1, 4, "S"), [y]), 4)


def test_the_tables_fit_each_other() -> None:
    assert opset.FOLDED.isdisjoint(evaluate.EVALUATIONS)
    assert opset.FOLDED.isdisjoint(opset.WITH_BODIES)
    assert set(opset.REMEDIES).isdisjoint(opset.OPS)
    assert set(opset.SHRINKING) <= opset.FOLDED
    assert folding.MAX_FOLDED >= MAX_ELEMENTS
