"""Graphs: what is legal, and in which order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from pulse.dim import STREAM
from pulse.errors import GraphError, NotStreamable
from pulse.graph import Fact, Graph, Node, Stream, fact, known, ordered

X = fact((1, 2, STREAM))


def graph(*nodes: Node, outputs: tuple[str, ...] = ("y",), facts: Mapping[str, Fact] | None = None) -> Graph:
    return Graph(nodes, {"x": X}, {name: name for name in outputs}, {}, facts or {})


def relu(x: str, y: str) -> Node:
    return Node("Relu", f"{x}->{y}", (x,), (y,))


def test_time_is_the_axis_with_the_stream() -> None:
    assert X.stream == Stream(2, STREAM)
    assert fact((1, 2)).stream is None
    with pytest.raises(NotStreamable, match="more than one axis"):
        fact((STREAM, STREAM))


def test_sizes_are_for_shapes_in_numbers() -> None:
    assert known(np.zeros((2, 3))).sizes == (2, 3)
    with pytest.raises(GraphError, match=r"\(1, 2, S\) is not known"):
        _ = X.sizes


def test_nodes_are_put_in_order_and_the_useless_are_dropped() -> None:
    nodes = (relu("b", "y"), relu("x", "a"), relu("x", "unused"), relu("a", "b"))
    assert [node.name for node in ordered(graph(*nodes)).nodes] == ["x->a", "a->b", "b->y"]


def test_an_order_that_is_good_stays() -> None:
    nodes = (relu("x", "a"), relu("x", "b"), Node("Add", "sum", ("b", "a"), ("y",)))
    assert ordered(graph(*nodes)).nodes == nodes


def test_a_loop_is_an_error() -> None:
    with pytest.raises(GraphError, match="part of a loop"):
        ordered(graph(relu("b", "a"), relu("a", "b"), relu("b", "y")))


def test_a_long_chain_needs_no_deep_stack() -> None:
    nodes = [relu("x" if index == 0 else f"v{index}", f"v{index + 1}") for index in range(4000)]
    assert len(ordered(graph(*reversed(nodes), outputs=("v4000",))).nodes) == 4000


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ((relu("nothing", "y"),), "test: node 'nothing->y' \\(Relu\\) reads 'nothing', which nothing before"),
        ((relu("x", "y"), relu("x", "y")), "which exists already"),
        ((relu("x", "z"),), "nothing produces the output 'y'"),
        ((relu("x", "a"), Node("Tanh", "x->a", ("a",), ("y",))), "two nodes have one name"),
    ],
)
def test_an_illegal_graph_says_after_which_stage(nodes: tuple[Node, ...], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        graph(*nodes).check("test")


def test_streams_with_different_delays_do_not_meet() -> None:
    late = Fact("float32", (1, 2, 8), Stream(2, STREAM, 3))
    facts = {"x": Fact("float32", (1, 2, 8), Stream(2, STREAM)), "late": late, "y": late}
    nodes = (Node("Delay", "late", ("x",), ("late",)), Node("Add", "sum", ("x", "late"), ("y",)))
    with pytest.raises(GraphError, match=r"different delays \[0, 3\]"):
        graph(*nodes, facts=facts).check("pulsify")


def test_a_graph_prints_one_line_per_node() -> None:
    node = Node("Conv", "c", ("x", ""), ("y",), {"stride": 2, "w": np.zeros((2, 3))})
    late = Fact("float32", (1, 2, 8), Stream(2, STREAM, 3))
    assert graph(node, facts={"x": X, "y": late}).dump().splitlines() == [
        "input   x: float32 (1, 2, S) @2",
        "Conv 'c': x, -, stride=2, w=array(2, 3) -> y: float32 (1, 2, 8) @2 Δ3",
        "output  y: float32 (1, 2, 8) @2 Δ3",
    ]


def test_an_attribute_of_the_wrong_kind_is_an_error() -> None:
    node = Node("Conv", "c", ("x",), ("y",), {"group": "two", "pads": (1, 2), "alpha": 1})
    assert node.integers("pads", ()) == (1, 2)
    assert node.number("alpha", 0.0) == 1.0
    assert node.integer("axis", -1) == -1
    for wrong in (lambda: node.integer("group", 1), lambda: node.integers("alpha", ()), lambda: node.text("pads", "")):
        with pytest.raises(GraphError, match="node 'c'"):
            wrong()
