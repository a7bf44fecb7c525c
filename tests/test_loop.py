"""Loops over the items of time, as tf2onnx writes the recurrent layers of Keras: each becomes a scan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pulse.errors import LoadError, NotStreamable, PulseError, UnsupportedOp
from tests import graphs
from tests.graphs import Builder, compiled

SIZE = 3
INT, FLOAT, BOOL = TensorProto.INT32, TensorProto.FLOAT, TensorProto.BOOL


@dataclass
class Written:
    """What may be different in a loop: h = tanh(h * weight + x), from 0 to the length of time."""

    trips: str = "length"
    begin: int = 0
    step: int = 1
    axis: int = 0
    nested: bool = False
    condition: Callable[[Builder, str], str] = lambda b, holds: holds
    mixed: Callable[[Builder, str], str] = lambda b, new: new
    source: str = "rows"


def looped(b: Builder, how: Written) -> list[str]:
    """The states that a loop ends with (count, h, weight), and what it collects."""
    b.weights.append(onnx.numpy_helper.from_array(np.array([0]), "first"))
    rows = b.add("Transpose", b.add("Squeeze", "x", "first"), perm=[1, 0] if how.axis == 0 else [0, 1])
    length = b.add("Squeeze", b.add("Slice", b.add("Cast", b.add("Shape", rows), to=INT), *_cut(b, how.axis)), "first")
    times = b.add("Cast", length, to=TensorProto.INT64) if how.trips == "length" else b.constant(int(how.trips))
    goes = b.add("Less", b.constant(0, np.float32), b.add("Cast", length, to=FLOAT))
    inner = Builder(prefix="in.")
    following = inner.add("Add", "count", inner.constant(how.step, np.int32))
    item = inner.add("Gather", rows if how.source == "rows" else how.source, "count", axis=how.axis)
    new = inner.add("Tanh", inner.add("Add", inner.add("Mul", "h", "weight"), item))
    new = how.mixed(inner, new)
    holds = inner.add("Less", inner.add("Cast", following, to=FLOAT), inner.add("Cast", length, to=FLOAT))
    before = inner.add("Less", inner.add("Cast", "round", to=FLOAT), inner.add("Cast", length, to=FLOAT))
    holds = how.condition(inner, inner.add("And", before, holds))
    reads = {"round": TensorProto.INT64, "goes": BOOL, "count": INT, "h": FLOAT, "weight": FLOAT}
    makes = {holds: BOOL, following: INT, new: FLOAT, "weight": FLOAT, inner.add("Identity", new): FLOAT}
    inputs, outputs = (
        [helper.make_tensor_value_info(name, kind, (SIZE,) if kind == FLOAT else ()) for name, kind in values.items()]
        for values in (reads, makes)
    )
    body = helper.make_graph(inner.nodes, "body", inputs, outputs, inner.weights)
    begin = [b.constant(how.begin, np.int32), b.floats(SIZE), b.floats(SIZE)]
    return b.add_many("Loop", 4, times, b.add("And", goes, goes), *begin, body=body)


def _cut(b: Builder, axis: int) -> list[str]:
    return [b.constant([axis]), b.constant([axis + 1]), b.constant([0])]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("pulse_size", [1, 4])
def test_a_loop_over_all_items_streams(axis: int, pulse_size: int) -> None:
    b = Builder()
    collected = looped(b, Written(axis=axis))[3]
    plan = graphs.assert_streams(b, collected, (1, SIZE, "S"), 0, pulse_size)
    assert plan.delay == (0,)
    kernels = [step.kernel for step in plan.steps]
    assert kernels.count("Recall") == 1 and kernels.count("Tanh") == pulse_size  # nothing counts or compares
    assert set(kernels) <= {"Recall", "Mul", "Add", "Tanh", "Copy", "Store"}


def _cut_off(b: Builder, new: str) -> str:
    """What stays the same, cast to integers and back, is not the same any more."""
    whole = b.add("Cast", b.add("Mul", "weight", b.constant(3, np.float32)), to=INT)
    return b.add(
        "Add",
        b.add("Add", new, b.add("Cast", whole, to=FLOAT)),
        b.add("Cast", b.add("Cast", "weight", to=INT), to=FLOAT),
    )


def test_what_is_cast_is_not_the_same() -> None:
    b = Builder()
    graphs.assert_streams(b, looped(b, Written(mixed=_cut_off))[3], (1, SIZE, "S"), 0)


def test_layers_follow_each_other() -> None:
    b = Builder()
    first = looped(b, Written())[3]
    second = b.add("Unsqueeze", b.add("Transpose", first, perm=[1, 0]), b.constant([0]))
    late = b.add("Conv", second, b.floats(SIZE, SIZE, 3), pads=[0, 1])
    assert graphs.assert_streams(b, late, (1, SIZE, "S"), 2).delay == (2,)


Row = tuple[Callable[[], Written], type[PulseError], str]
NO_WALK = r"\(Loop\) is a graph within the graph that does not walk along time; export a layer that walks along time as"
REFUSED: dict[str, Row] = {
    "trips": (lambda: Written(trips="7"), NotStreamable, "does not walk along all of time; let it go on to the last"),
    "begin": (lambda: Written(begin=1), UnsupportedOp, NO_WALK),
    "step": (lambda: Written(step=2), UnsupportedOp, NO_WALK),
    "stops": (lambda: Written(condition=_stops), UnsupportedOp, NO_WALK),
    "maybe": (lambda: Written(condition=_maybe), UnsupportedOp, NO_WALK),
    "fixed": (lambda: Written(condition=_fixed), UnsupportedOp, NO_WALK),
    "counts": (lambda: Written(mixed=_counts), UnsupportedOp, NO_WALK),
    "round": (lambda: Written(mixed=_rounds), UnsupportedOp, NO_WALK),
    "nothing taken": (lambda: Written(source="h"), UnsupportedOp, NO_WALK),
    "no time": (lambda: Written(source="table"), NotStreamable, "does not walk along all of time"),
}


def _stops(b: Builder, holds: str) -> str:
    return b.add("And", holds, b.add("Squeeze", b.add("Less", b.add("ReduceMax", "h"), b.constant([9], np.float32))))


def _maybe(b: Builder, holds: str) -> str:
    return b.add("Or", holds, holds)


def _fixed(b: Builder, holds: str) -> str:
    return b.add("And", holds, b.add("Less", b.add("Cast", "round", to=FLOAT), b.constant(7, np.float32)))


def _counts(b: Builder, new: str) -> str:
    return b.add("Add", new, b.add("Cast", "count", to=FLOAT))


def _rounds(b: Builder, new: str) -> str:
    return b.add("Add", new, b.add("Cast", "round", to=FLOAT))


@pytest.mark.parametrize("what", REFUSED)
def test_other_loops_are_refused(what: str) -> None:
    how, kind, message = REFUSED[what]
    b = Builder()
    b.weights.append(onnx.numpy_helper.from_array(np.ones((9, SIZE), np.float32), "table"))
    with pytest.raises(kind, match=message):
        compiled(b.model((1, SIZE, "S"), [looped(b, how())[3]]), 4)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_a_loop_ends_with_never_comes(which: int) -> None:
    b = Builder()
    model = b.model((1, SIZE, "S"), [looped(b, Written())[which]])
    with pytest.raises(NotStreamable, match="hands out its last state, which never comes"):
        compiled(model, 4)


def test_a_loop_that_fits_nothing_is_refused() -> None:
    b = Builder()
    made: Any = looped(b, Written())
    next(item.g for item in b.nodes[-1].attribute if item.name == "body").output.pop()
    with pytest.raises(LoadError, match="has a graph that does not fit its inputs and outputs"):
        compiled(b.model((1, SIZE, "S"), [made[3]]), 4)
