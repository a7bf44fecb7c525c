"""Every rule makes the graph smaller, and the network stays the same function."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from pulse.declutter import REMOVED, declutter
from pulse.errors import GraphError
from pulse.graph import Graph
from pulse.infer import infer
from pulse.rewrite import Patch, Site, rewrite
from tests import graphs
from tests.graphs import Builder, batch_graph
from tests.networks import Network, networks


def decluttered(b: Builder, *outputs: str) -> Graph:
    return declutter(infer(batch_graph(b.model((1, 4, "S"), list(outputs)))))


def ops(graph: Graph) -> dict[str, int]:
    return dict(Counter(node.op for node in graph.nodes))


def obeys_the_law(b: Builder, y: str) -> bool:
    model = b.model((1, 4, "S"), [y])
    plan = graphs.compiled(model, 4)
    x = np.random.default_rng(3).standard_normal((1, 4, graphs.enough(plan))).astype(np.float32)
    graphs.assert_law(plan, graphs.whole(model, x), graphs.streamed(plan, x, [2]), [2])
    return True


def _normalised(b: Builder, x: str, channels: int = 4) -> str:
    variance = b.constant(b.noise.uniform(0.5, 2, channels), np.float32)
    return b.add("BatchNormalization", x, *(b.floats(channels) for _ in range(3)), variance)


def _conv(b: Builder, x: str, **attributes: Any) -> str:
    return b.add("Conv", x, b.floats(4, 4, 3), b.floats(4), **attributes)


def example(what: str, b: Builder) -> str:
    channel = b.floats(1, 4, 1)
    match what:
        case "normalisation behind a convolution":
            return _normalised(b, _conv(b, "x", pads=[1, 1]))
        case "normalisation in front of a convolution":
            return _conv(b, _normalised(b, "x"))
        case "scale in front of padding":
            return _conv(b, b.add("Mul", channel, "x"), pads=[2, 0])
        case "offset in front of padding":
            return _conv(b, b.add("Add", channel, "x"), pads=[2, 0])
        case "scale and shift without a bias":
            y = b.add("Conv", "x", b.floats(4, 1, 3), group=4)
            return b.add("Sub", b.add("Div", y, b.constant(2.0, np.float32)), channel)
        case "pad in front of a convolution":
            return _conv(b, b.add("Pad", "x", b.constant([0, 0, 2, 0, 0, 1])), dilations=[2], pads=[1, 0])
        case "pad that is not zero":
            return _conv(b, b.add("Pad", "x", b.constant([0, 0, 2, 0, 0, 1]), b.constant(1.0, np.float32)))
        case "pad that is cut off again":
            pad = b.add("Pad", "x", b.constant([0, 0, 3, 0, 0, 1]), b.constant(0.5, np.float32))
            return b.add("Add", b.front(pad, 3, -1), b.front(pad, 1, -3))
        case "more cut off than was padded":
            return b.front(b.add("Pad", b.add("Exp", "x"), b.constant([0, 0, 2, 0, 0, 0])), 4, -1)
        case "what does nothing":
            y = b.add("Cast", b.add("Dropout", b.add("Identity", "x")), to=1)
            y = b.add("Slice", b.add("Transpose", y, perm=[0, 1, 2]), *(b.constant([n]) for n in (0, graphs.END, 2)))
            return b.add("Relu", b.add("Reshape", b.add("Sum", y), b.constant([1, 4, -1])))
        case "three that are summed":
            return b.add("Sum", "x", b.add("Relu", "x"), b.add("Tanh", "x"))
        case "two transposes":
            return b.add("Relu", b.add("Transpose", b.add("Transpose", "x", perm=[2, 0, 1]), perm=[1, 2, 0]))
        case "a split":
            return b.add("Concat", *reversed(b.add_many("Split", 2, "x", axis=1, num_outputs=2)), axis=1)
        case "a constant with a long story":
            root = b.add("Sqrt", b.add("Add", b.constant(np.ones((4, 1)), np.float32), b.constant(3.0, np.float32)))
            return b.add("Mul", "x", root)
        case "a flip":
            return b.add("Slice", "x", *(b.constant([n]) for n in (-1, -graphs.END, 1, -1)))
        case "gelu":
            return b.add("Gelu", "x")
        case "gemm":
            rows = b.add("Transpose", b.add("Squeeze", "x", b.constant([0])), perm=[1, 0])
            y = b.add("Gemm", rows, b.floats(3, 4), b.floats(3), transB=1, alpha=0.5, beta=3.0)
            return b.add("Unsqueeze", b.add("Transpose", y, perm=[1, 0]), b.constant([0]))
        case "a filter and a gate":
            bias, filtered = b.floats(4), _conv(b, "x", dilations=[2], pads=[1, 0])
            gate = b.add("Add", _conv(b, "x", dilations=[2], pads=[1, 0]), b.add("Reshape", bias, b.constant([4, 1])))
            return b.add("Mul", b.add("Sigmoid", gate), b.add("Tanh", filtered))
        case "a filter and a gate of another kind":
            return b.add("Mul", b.add("Sigmoid", _conv(b, "x", pads=[1, 1])), b.add("Tanh", _conv(b, "x", pads=[2, 0])))
    raise AssertionError(what)


EXAMPLES: list[tuple[str, dict[str, int]]] = [
    ("normalisation behind a convolution", {"Conv": 1}),
    ("normalisation in front of a convolution", {"Conv": 1}),
    ("scale in front of padding", {"Conv": 1}),
    ("offset in front of padding", {"Add": 1, "Conv": 1}),
    ("scale and shift without a bias", {"Conv": 1}),
    ("pad in front of a convolution", {"Conv": 1}),
    ("pad that is not zero", {"Pad": 1, "Conv": 1}),
    ("pad that is cut off again", {"Pad": 2, "Slice": 2, "Add": 1}),
    ("more cut off than was padded", {"Exp": 1, "Slice": 1}),
    ("what does nothing", {"Relu": 1}),
    ("three that are summed", {"Relu": 1, "Tanh": 1, "Add": 2}),
    ("two transposes", {"Relu": 1}),
    ("a split", {"Slice": 2, "Concat": 1}),
    ("a constant with a long story", {"Mul": 1}),
    ("a flip", {"Slice": 1}),
    ("gelu", {"Mul": 3, "Erf": 1, "Add": 1}),
    ("gemm", {"Conv": 1}),
    ("a filter and a gate", {"Conv": 1, "Slice": 2, "Tanh": 1, "Sigmoid": 1, "Mul": 1}),
    ("a filter and a gate of another kind", {"Conv": 2, "Tanh": 1, "Sigmoid": 1, "Mul": 1}),
]


@pytest.mark.parametrize(("what", "left"), EXAMPLES, ids=[row[0] for row in EXAMPLES])
def test_a_rule_leaves_less_and_changes_nothing(what: str, left: dict[str, int]) -> None:
    b = Builder()
    y = example(what, b)
    assert ops(decluttered(b, y)) == left
    assert obeys_the_law(b, y)


def test_a_convolution_that_others_read_keeps_its_weights() -> None:
    b = Builder()
    y = _conv(b, "x")
    graph = decluttered(b, _normalised(b, y), b.add("Relu", y))
    assert ops(graph) == {"Conv": 1, "Mul": 1, "Add": 1, "Relu": 1}


def test_rules_explain_themselves() -> None:
    b = Builder()
    y = _normalised(b, _conv(b, "x"))
    told: list[str] = []
    declutter(infer(batch_graph(b.model((1, 4, "S"), [y]))), told.append)
    assert told[0] == "node 'BatchNormalization1' (BatchNormalization) becomes scale and offset"
    assert told[1].endswith("goes into node 'Conv0' (Conv)")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(network=networks())
def test_what_is_removed_stays_away(network: Network) -> None:
    graph = declutter(infer(batch_graph(network.model)))
    assert not set(ops(graph)) & set(REMOVED)
    assert declutter(graph) == graph


def test_rules_that_feed_each_other_are_an_error() -> None:
    def forever(site: Site) -> Patch | None:
        return Patch("again", (site.node,), (site.node,))

    b = Builder()
    graph = infer(batch_graph(b.model((1, 4, "S"), [b.add("Relu", "x")])))
    with pytest.raises(GraphError, match=r"the rules \['forever'\] never settle"):
        rewrite(graph, (forever,), infer)
