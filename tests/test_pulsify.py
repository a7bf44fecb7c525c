"""Delays, overlaps and pads by their formulas; and a sentence where there is no streaming form."""

from __future__ import annotations

from typing import Any

import pytest

from pulse.declutter import declutter
from pulse.errors import NotStreamable, PulseError
from pulse.graph import Graph, Node
from pulse.infer import infer
from pulse.pulsify import pulsify
from pulse.sliding import LOWEST
from pulse.window import Window
from tests.graphs import Builder, batch_graph


def pulsed(b: Builder, *outputs: str, pulse: int = 12, shape: tuple[int | str, ...] = (1, 4, "S")) -> Graph:
    return pulsify(declutter(infer(batch_graph(b.model(shape, list(outputs))))), pulse)


def nodes(graph: Graph, op: str) -> list[Node]:
    return [node for node in graph.nodes if node.op == op]


def conv(b: Builder, x: str, kernel: int, **attributes: Any) -> str:
    return b.add("Conv", x, b.floats(4, 4, kernel), **attributes)


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("before", [0, 1, 7])
@pytest.mark.parametrize("delay", [0, 1, 5])
def test_a_window_waits_no_longer_than_it_must(
    kernel: int, dilation: int, stride: int, before: int, delay: int
) -> None:
    window = Window(kernel, dilation, stride, before, 0)
    extra = window.extra(delay)
    fits = [e for e in range(40) if (late := delay + e + window.overlap - before) >= 0 and late % stride == 0]
    assert window.overlap == max(0, (kernel - 1) * dilation + 1 - stride)
    assert extra == fits[0]
    assert window.delay(delay) == (delay + extra + window.overlap - before) // stride


def test_delays_add_up() -> None:
    b = Builder()
    first = conv(b, "x", 3, dilations=[2])
    second = conv(b, first, 3, strides=[2])
    graph = pulsed(b, second)
    assert [dict(node.attributes) for node in nodes(graph, "Delay")] == [
        {"extra": 0, "overlap": 4, "value": 0.0},
        {"extra": 1, "overlap": 1, "value": 0.0},
    ]
    assert [graph.delay_of(name) for name in (first, second)] == [4, 3]
    assert graph.facts[second].shape == (1, 4, 6)


def test_a_causal_convolution_at_the_front_needs_no_fill() -> None:
    b = Builder()
    graph = pulsed(b, conv(b, "x", 3, pads=[2, 0]))
    assert not nodes(graph, "Fill")
    assert graph.delay_of(*graph.outputs) == 0


def test_padding_behind_a_delay_is_written() -> None:
    b = Builder()
    graph = pulsed(b, conv(b, conv(b, "x", 3), 3, pads=[2, 0]))
    (fill,) = nodes(graph, "Fill")
    assert dict(fill.attributes) == {"until": 2, "value": 0.0}
    assert graph.delay_of(*graph.outputs) == 2


def test_a_max_pool_pads_with_the_lowest_number() -> None:
    b = Builder()
    graph = pulsed(b, b.add("MaxPool", "x", kernel_shape=[3], pads=[2, 0]))
    assert [node.attributes["value"] for node in nodes(graph, "Delay")] == [LOWEST["float32"]]


def test_branches_meet_at_the_later_one() -> None:
    b = Builder()
    y = b.add("Add", "x", conv(b, "x", 5, pads=[2, 2]))
    z = b.add("Mul", y, b.add("Relu", "x"))
    graph = pulsed(b, z)
    assert [node.attributes["extra"] for node in nodes(graph, "Delay")] == [0, 2, 2]
    assert {graph.delay_of(name) for name in (y, z)} == {2}


def test_one_delay_serves_all_who_need_it() -> None:
    b = Builder()
    late = conv(b, "x", 3, pads=[1, 1])
    graph = pulsed(b, b.add("Add", late, "x"), b.add("Mul", late, "x"))
    assert [node.inputs for node in nodes(graph, "Delay")] == [("x",), ("x",)]
    assert sorted(node.attributes["overlap"] for node in nodes(graph, "Delay")) == [0, 2]


def test_a_slice_from_the_front_costs_only_delay() -> None:
    b = Builder()
    y = b.front("x", 5)
    graph = pulsed(b, y)
    assert [node.op for node in graph.nodes] == ["Skip"]
    assert graph.delay_of(y) == 5


def test_what_is_cut_off_the_end_is_waited_for() -> None:
    b = Builder()
    y = b.front("x", 0, -2)
    assert pulsed(b, y).delay_of(y) == 2
    b = Builder()
    chomped = b.front(conv(b, "x", 3, pads=[2, 2]), 0, -2)  # a causal convolution as older networks write it
    assert pulsed(b, chomped).delay_of(chomped) == 0
    b = Builder()
    middle = b.add("Add", b.front("x", 1, -1), conv(b, "x", 3))
    assert pulsed(b, middle).delay_of(middle) == 2


@pytest.mark.parametrize(("size", "works"), [(1, 4), (2, 4), (6, 8), (4, None), (8, None)])
def test_a_pulse_that_does_not_fit_the_stride_says_which_would(size: int, works: int | None) -> None:
    b = Builder()
    y = conv(b, conv(b, "x", 2, strides=[2]), 2, strides=[2])
    if works is None:
        assert pulsed(b, y, pulse=size).facts[y].shape == (1, 4, size // 4)
        return
    with pytest.raises(NotStreamable, match=f"pulse of {size} is no whole .* a multiple of 4 works, such as {works}"):
        pulsed(b, y, pulse=size)


@pytest.mark.parametrize("size", [0, -8, 5000])
def test_an_impossible_pulse_is_refused(size: int) -> None:
    b = Builder()
    with pytest.raises(NotStreamable, match="1 to 4096 are allowed"):
        pulsed(b, b.add("Relu", "x"), pulse=size)


REFUSED: list[tuple[str, tuple[int | str, ...], str]] = [
    ("softmax", (1, 4, "S"), r"node 'Softmax0' \(Softmax\) works along axis 2, which is time; it would need the whole"),
    ("conv", (1, "S", 4), r"\(Conv\) gets S channels; its weights .* do not fit"),
    ("reshape", (1, "S", 4), r"\(Reshape\) mixes time with another axis; transpose so that time stays an axis"),
    ("flatten", (1, "S", 4), r"\(Flatten\) mixes time with another axis"),
    ("clip", (1, 4, "S"), "has bounds that are no single numbers"),
    ("late", (1, 4, "S"), r"\(Slice\) would be 1000000 items late; at most 32768"),
    ("constant", (1, 4, "S"), "the output .* does not depend on time"),
]


def refused(what: str, b: Builder) -> str:
    match what:
        case "softmax":
            return b.add("Softmax", "x", axis=-1)
        case "conv":
            return conv(b, "x", 3)
        case "reshape":
            return b.add("Reshape", "x", b.constant([1, 4, -1]))
        case "flatten":
            return b.add("Flatten", "x")
        case "clip":
            return b.add("Clip", "x", b.floats(1, 4, 1))
        case "late":
            return b.front("x", 1000000)
        case "constant":
            return b.add("Exp", b.floats(3))
    raise AssertionError(what)


@pytest.mark.parametrize(("what", "shape", "message"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_has_no_streaming_form_is_a_sentence(what: str, shape: tuple[int | str, ...], message: str) -> None:
    b = Builder()
    y = refused(what, b)
    with pytest.raises(PulseError, match=message):
        pulsed(b, y, shape=shape)
