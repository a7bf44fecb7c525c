"""A graph that is computed for one item after the other, with what it hands on: any recurrent layer written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import pulse
from pulse.errors import GraphError, LoadError, NotStreamable, PulseError, UnsupportedOp
from tests import graphs
from tests.graphs import Builder, Draw, compiled

SIZE, HIDDEN = 3, 2
Body = tuple[onnx.GraphProto, list[Any], int]  # the graph, what its states begin with, and how many outputs it has


def body(b: Builder, reads: list[str], makes: list[str], types: dict[str, int] | None = None) -> onnx.GraphProto:
    """What was added to `b`, as a graph of its own; all is in floats, but for what `types` says."""
    kinds = types or {}
    inputs, outputs = (
        [helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), None) for name in names]
        for names in (reads, makes)
    )
    return helper.make_graph(b.nodes, "body", inputs, outputs, b.weights)


def floats(*shape: int) -> Any:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def again(b: Builder, name: str) -> str:
    return b.add("Identity", name)


def running(b: Builder, op: str) -> Body:
    """h = max(h, x) or h + x; y = h"""
    new = b.add(op, "h", "item")
    return body(b, ["h", "item"], [new, again(b, new)]), [floats(SIZE)], 1


def leaking(b: Builder) -> Body:
    """h = 0.9*h + 0.1*x; y = (the h before, tanh(h))"""
    old = b.add("Mul", "h", b.constant(0.9, np.float32))
    new = b.add("Add", old, b.add("Mul", b.constant(0.1, np.float32), "item"))
    return body(b, ["h", "item"], [new, again(b, "h"), b.add("Tanh", new)]), [floats(SIZE)], 2


def gated(b: Builder) -> Body:
    """A GRU by matrices, (1, HIDDEN)."""
    row = b.add("Unsqueeze", "item", b.constant([0]))

    def gate(h: str, f: str) -> str:
        y = b.add("Gemm", row, b.floats(HIDDEN, SIZE), b.floats(HIDDEN), transB=1)
        return b.add(f, b.add("Add", y, b.add("MatMul", h, b.floats(HIDDEN, HIDDEN))))

    z, r = gate("h", "Sigmoid"), gate("h", "Sigmoid")
    new = gate(b.add("Mul", r, "h"), "Tanh")
    mixed = b.add("Add", b.add("Mul", z, "h"), b.add("Mul", b.add("Sub", b.constant(1, np.float32), z), new))
    return body(b, ["h", "item"], [mixed, b.add("Squeeze", mixed, b.constant([0]))]), [floats(1, HIDDEN)], 1


def counting(b: Builder) -> Body:
    """Two states that see each other, and one that counts in floats; y = (a, 1/n)"""
    first = b.add("Tanh", b.add("Add", b.add("Mul", "b", b.constant(0.5, np.float32)), "item"))
    second = b.add("Sub", "a", b.add("ReduceMax", "item", b.constant([0]), keepdims=1))
    many = b.add("Add", "n", b.constant(1, np.float32))
    makes = [first, second, many, b.add("Softmax", first, axis=0), b.add("Reciprocal", many)]
    return body(b, ["a", "b", "n", "item"], makes), [floats(SIZE), floats(SIZE), floats()], 2


def clocked(b: Builder) -> Body:
    """A state of integers, which the item moves on, and one of truth; y = (item by the clock, whether it turned)"""
    steps = b.add("Cast", b.add("Ceil", "item"), to=TensorProto.INT64)
    clock = b.add("Mod", b.add("Add", "clock", steps), b.constant(5))
    turned = b.add("Xor", "turned", b.add("Equal", clock, b.constant(0)))
    y = b.add("Mul", "item", b.add("Cast", clock, to=1))
    types = dict.fromkeys(("clock", clock), TensorProto.INT64) | dict.fromkeys(("turned", turned), TensorProto.BOOL)
    graph = body(b, ["clock", "turned", "item"], [clock, turned, y, b.add("Cast", turned, to=1)], types)
    return graph, [np.arange(SIZE), np.arange(SIZE) > 0], 2


def alone(b: Builder) -> Body:
    """No state at all."""
    return body(b, ["item"], [b.add("Sigmoid", b.add("Mul", "item", "item"))]), [], 1


BODIES: dict[str, Callable[[Builder], Body]] = {
    "max": lambda b: running(b, "Max"),
    "sum": lambda b: running(b, "Add"),
    "leaking": leaking,
    "gated": gated,
    "counting": counting,
    "clocked": clocked,
    "alone": alone,
}


def scan(b: Builder, x: str, name: str, axis: int) -> list[str]:
    """What the body hands out, with time as the first axis."""
    graph, states, many = BODIES[name](Builder(b.seed + 1, prefix="in."))
    begin = [b.constant(state, state.dtype) for state in states]
    made = b.add_many("Scan", len(states) + many, *begin, x, body=graph, num_scan_inputs=1, scan_input_axes=[axis])
    return made[len(states) :]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_what_walks_along_time_streams(data: Any) -> None:
    """For any body, pulse and streams, with an input that may be late, and after a reset."""
    draw: Draw = data.draw
    b, axis = Builder(draw(st.integers(0, 9))), draw(st.sampled_from([0, 1]))
    x = b.add("Conv", "x", b.floats(SIZE, SIZE, 3), pads=[0, draw(st.integers(0, 2))]) if draw(st.booleans()) else "x"
    x = b.add("Reshape", x, b.constant([SIZE, -1]))
    x = x if axis else b.add("Transpose", x, perm=[1, 0])
    made = scan(b, x, draw(st.sampled_from(sorted(BODIES))), axis)
    model = b.model((1, SIZE, "S"), made)
    plan = compiled(model, draw(st.integers(1, 5)))
    noise = np.random.default_rng(8).standard_normal((2, 1, SIZE, graphs.enough(plan))).astype(np.float32)
    state = pulse.State(plan)
    for stream in noise:  # the second one after a reset
        axes = [0] * len(made)
        graphs.assert_law(plan, graphs.whole(model, stream), graphs.streamed(plan, stream, axes, state), axes)
        state.reset()


def test_streams_do_not_disturb_each_other() -> None:
    b = Builder()
    late = b.add("Squeeze", b.add("Conv", "x", b.floats(SIZE, SIZE, 2), pads=[0, 1]), b.constant([0]))
    model = b.model((1, SIZE, "S"), scan(b, late, "gated", 1))
    plan = compiled(model, 4)
    noise = np.random.default_rng(8).standard_normal((2, 6, 1, SIZE, 4)).astype(np.float32)
    both, alone = pulse.State(plan, streams=2), pulse.State(plan)
    found = [both.run(noise[:, index])[0][1].copy() for index in range(3)]
    both.reset(0)
    found += [both.run(noise[:, index])[0][1].copy() for index in range(3, 6)]
    for have, x in zip(found, noise[1], strict=True):
        np.testing.assert_allclose(have, alone.run(x)[0], atol=1e-6)


def mixing(b: Builder, *outside: str) -> onnx.GraphProto:
    """h = tanh(h + x + z + what is outside); y = h"""
    total = b.add("Sum", "h", "item", "other", *outside)
    new = b.add("Tanh", total)
    return body(b, ["h", "item", "other"], [new, again(b, new)])


def mixed(b: Builder, *outside: str, begin: str | None = None, x: str = "rows", **attributes: Any) -> list[str]:
    """A state and what is collected, from `rows` (time, SIZE) and `x` (1, SIZE, time)."""
    b.nodes.insert(0, helper.make_node("Transpose", ["flat"], ["rows"], name="rows", perm=[1, 0]))
    b.nodes.insert(0, helper.make_node("Squeeze", ["x", "first"], ["flat"], name="flat"))
    b.weights.append(onnx.numpy_helper.from_array(np.array([0]), "first"))
    axes: dict[str, Any] = {"scan_input_axes": [0, -1], "scan_output_axes": [1], "num_scan_inputs": 2}
    graph = mixing(Builder(prefix="in."), *outside)
    return b.add_many("Scan", 2, begin or b.floats(SIZE), x, "flat", body=graph, **(axes | attributes))


@pytest.mark.parametrize("what", ["constant", "computed", "shape"])
def test_the_graph_within_may_read_constants_outside(what: str) -> None:
    b = Builder()
    match what:
        case "constant":
            outside = b.floats(SIZE)
        case "computed":
            outside = b.add("Softmax", b.add("Transpose", b.floats(1, SIZE), perm=[1, 0]), axis=0)
            outside = b.add("Reshape", outside, b.constant([-1]))
        case "shape":
            outside = b.add("Cast", b.add("Shape", "x", start=1, end=2), to=TensorProto.FLOAT)
    graphs.assert_streams(b, mixed(b, outside)[1], (1, SIZE, "S"), 1)


def test_the_graph_within_may_read_what_has_no_time(tmp_path: Any) -> None:
    """Given anew with every pulse, as what the states begin with may be too."""
    b = Builder()
    model = b.model((1, SIZE, "S"), mixed(b, "z", begin="z")[1:])
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, (SIZE,)))
    plan = compiled(model, 2)
    x, z = (np.random.default_rng(8).standard_normal(size).astype(np.float32) for size in ((1, SIZE, 12), (SIZE,)))
    state = pulse.State(plan)
    found = np.concatenate([state.run(np.ascontiguousarray(part), z)[0].copy() for part in np.split(x, 6, 2)], 1)
    np.testing.assert_allclose(found, graphs.whole(model, x, z)[0], atol=1e-5)


def test_without_time_all_items_are_walked_and_the_last_states_come(tmp_path: Any) -> None:
    b = Builder()
    model = b.model((1, SIZE, 5), mixed(b))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    plan = pulse.compile(path, 1, stream="")
    x = np.random.default_rng(8).standard_normal((1, SIZE, 5)).astype(np.float32)
    state = pulse.State(plan)
    for _ in range(2):  # nothing is left from the run before
        for have, want in zip(state.run(x), graphs.whole(model, x), strict=True):
            np.testing.assert_allclose(have, want, atol=1e-5)


@pytest.mark.parametrize("which", [(1,), (3,), (0, 2), (4,)])
def test_without_time_only_what_is_read_comes(which: tuple[int, ...], tmp_path: Any) -> None:
    b = Builder()
    graph, states, many = counting(Builder(prefix="in."))
    begin = [b.constant(state, state.dtype) for state in states]
    rows = b.add("Squeeze", "x", b.constant([0]))
    made = b.add_many("Scan", len(states) + many, *begin, rows, body=graph, num_scan_inputs=1, scan_input_axes=[1])
    model, path = b.model((1, SIZE, 5), [made[index] for index in which]), tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    x = np.random.default_rng(8).standard_normal((1, SIZE, 5)).astype(np.float32)
    for have, want in zip(pulse.State(pulse.compile(path, 1, stream="")).run(x), graphs.whole(model, x), strict=True):
        np.testing.assert_allclose(have, want, atol=1e-5)


def test_a_time_axis_of_fixed_length_is_opened(tmp_path: Any) -> None:
    b = Builder()
    fixed, opened = b.model((1, SIZE, 7), mixed(b)[1:]), tmp_path / "model.onnx"
    opened.write_bytes(fixed.SerializeToString())
    plan = pulse.compile(opened, 7, stream="x:2")
    x = np.random.default_rng(8).standard_normal((1, SIZE, 7)).astype(np.float32)
    np.testing.assert_allclose(pulse.State(plan).run(x)[0], graphs.whole(fixed, x)[0], atol=1e-5)


def test_a_pulse_costs_what_its_items_cost() -> None:
    """No more than the nodes of the body and what takes an item from the pulse, and one pair of steps for the state."""
    b = Builder()
    flat = b.add("Squeeze", "x", b.constant([0]))
    plans = [compiled(b.model((1, SIZE, "S"), scan(b, flat, "max", 1)), size) for size in (1, 2, 4)]
    one, two, four = ([step.kernel for step in plan.steps] for plan in plans)
    assert one == ["Recall", "Max", "Copy", "Store"]
    assert two == ["Recall", *["Copy", "Max"] * 2, *["Copy"] * 2, "Store"]
    assert len(four) == len(two) + 2 * 3
    assert plans[0].receptive_field == 1  # what it remembers has no end, and is not counted


def within(b: Builder) -> onnx.GraphProto:
    """The graph of the last node."""
    return next(item.g for item in b.nodes[-1].attribute if item.name == "body")


def changed(change: Callable[[onnx.GraphProto], object]) -> Callable[[Builder], str]:
    def build(b: Builder) -> str:
        made = mixed(b)[1]
        change(within(b))
        return made

    return build


def _nest(graph: onnx.GraphProto) -> None:
    inner = body(Builder(prefix="inmost."), ["one"], ["one"])
    graph.node.append(helper.make_node("Scan", ["h"], ["inmost"], body=inner, num_scan_inputs=1))
    graph.output[1].name = "inmost"


def _cut(b: Builder) -> str:
    return b.add("Squeeze", b.front("x", 1), b.constant([0]))


Row = tuple[Callable[[Builder], str], type[PulseError], str]
REFUSED: dict[str, Row] = {
    "last state": (lambda b: mixed(b)[0], NotStreamable, r"\(Scan\) hands out its last state, which never comes; coll"),
    "reverse": (
        lambda b: mixed(b, scan_input_directions=[1, 0])[1],
        UnsupportedOp,
        r"\(Scan\) runs from the end of time, which never comes; export it to run forwards",
    ),
    "axis": (lambda b: mixed(b, scan_input_axes=[1, 0])[1], NotStreamable, "walks along axis 1, which is not time"),
    "outside": (lambda b: mixed(b, "x")[1], NotStreamable, "reads 'x', which depends on time, from outside its graph"),
    "state": (lambda b: mixed(b, begin="x")[1], NotStreamable, "begins with a state that depends on time, from out"),
    "shape": (lambda b: mixed(b, begin=b.floats(1))[1], GraphError, r"makes the state float32 \(3\) of float32 \(1\)"),
    "nested": (changed(_nest), UnsupportedOp, "has a graph with a graph in it .*; export it with one level only"),
    "op": (changed(lambda graph: setattr(graph.node[1], "op_type", "Det")), UnsupportedOp, r"\(Det, opset 20\) is an"),
    "inputs": (changed(lambda graph: graph.input.pop()), LoadError, "that does not fit its inputs and outputs"),
    "outputs": (changed(lambda graph: graph.output.pop()), LoadError, "that does not fit its inputs and outputs"),
    "axes": (lambda b: mixed(b, scan_output_axes=[0, 0])[1], LoadError, "has 2 scan_output_axes for 1 values"),
    "lengths": (lambda b: mixed(b, x=b.add("Transpose", _cut(b), perm=[1, 0]))[1], GraphError, "S and S-1 items"),
    "within": (lambda b: mixed(b, b.floats(7))[1], GraphError, r"^infer: node 'Scan\d' \(Scan\): node .* combines"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_stream_is_a_sentence(what: str) -> None:
    build, kind, message = REFUSED[what]
    b = Builder()
    with pytest.raises(kind, match=message) as caught:
        compiled(b.model((1, SIZE, "S"), [build(b)]), 4)
    assert "\n" not in str(caught.value)


def test_a_pulse_that_makes_too_many_nodes_is_refused() -> None:
    b = Builder()
    inner, y = Builder(prefix="in."), "item"
    for _ in range(100):
        y = inner.add("Tanh", y)
    flat = b.add("Squeeze", "x", b.constant([0]))
    made = b.add("Scan", flat, body=body(inner, ["item"], [y]), num_scan_inputs=1, scan_input_axes=[1])
    with pytest.raises(NotStreamable, match="makes 25600 nodes of 256 items, more than 16384; a pulse that is 2 times"):
        compiled(b.model((1, SIZE, "S"), [made]), 256)


def test_the_nodes_within_are_counted(tmp_path: Any) -> None:
    b = Builder()
    inner, y = Builder(prefix="in."), "item"
    for _ in range(4000):
        y = inner.add("Tanh", y)
    made = b.add("Scan", "x", body=body(inner, ["item"], [y]), num_scan_inputs=1, scan_input_axes=[2])
    with pytest.raises(LoadError, match="4001 nodes, more than 4000"):
        compiled(b.model((1, SIZE, "S"), [made]), 4)


def test_it_is_one_line_for_people() -> None:
    b = Builder()
    graph = graphs.batch_graph(b.model((1, SIZE, "S"), mixed(b)[1:]))
    (line,) = (line for line in graph.dump().splitlines() if line.startswith("Scan"))
    assert "body=3 nodes" in line
