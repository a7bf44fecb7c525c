"""Every value gets a fact, and the fact is true for every length of the stream."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulse.dim import STREAM, Dim
from pulse.errors import GraphError, NotStreamable, PulseError
from pulse.graph import Graph
from pulse.infer import infer
from tests import graphs
from tests.graphs import END, FLOAT, Builder, batch_graph
from tests.networks import Network, networks


def inferred(b: Builder, *outputs: str, shape: tuple[int | str, ...] = (1, 4, "S")) -> Graph:
    return infer(batch_graph(b.model(shape, list(outputs))))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(network=networks(), extra=st.integers(0, 9))
def test_shapes_are_those_of_onnxruntime(network: Network, extra: int) -> None:
    graph = infer(batch_graph(network.model))
    items = 60 + extra
    x = np.zeros((1, network.channels, items), np.float32)
    for value, found in zip(graph.outputs.values(), graphs.whole(network.model, x), strict=True):
        shape = [length.at(items) if isinstance(length, Dim) else length for length in graph.facts[value].shape]
        assert shape == list(found.shape)


def test_the_arithmetic_of_shapes_is_known() -> None:
    """x.reshape(x.shape[0], -1, x.shape[2]) as exporters write it, and half of the channels by their number."""
    b = Builder()
    shape = b.add("Shape", "x")
    first, last = (b.add("Gather", shape, b.constant(axis), axis=0) for axis in (0, 2))
    rows = [b.add("Unsqueeze", item, b.constant([0])) for item in (first, last)]
    y = b.add("Reshape", "x", b.add("Concat", rows[0], b.constant([-1]), rows[1], axis=0))
    channels = b.add("Gather", shape, b.constant([1]), axis=0)
    half = b.add("Div", b.add("Add", channels, b.constant([1])), b.constant([2]))
    z = b.add("Slice", "x", b.constant([0]), half, b.constant([1]))
    to_the_end = b.add("Slice", "x", b.constant([2]), rows[1], b.constant([2]))
    graph = inferred(b, y, z, to_the_end)
    assert str(graph.facts[last].value) == "S"
    assert [graph.facts[name].shape for name in (y, z, to_the_end)] == [
        (1, 4, STREAM),
        (1, 2, STREAM),
        (1, 4, STREAM - 2),
    ]


@pytest.mark.parametrize(
    ("op", "attributes", "lengths"),
    [
        ("MaxPool", {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}, "(S-1)//2+1"),
        ("AveragePool", {"kernel_shape": [2]}, "S-1"),
        ("MaxPool", {"kernel_shape": [4], "auto_pad": "SAME_UPPER"}, "S"),
    ],
)
def test_windows_count(op: str, attributes: dict[str, object], lengths: str) -> None:
    b = Builder()
    y = b.add(op, "x", **attributes)
    wanted = {"(S-1)//2+1": (STREAM - 1) // 2 + 1, "S-1": STREAM - 1, "S": STREAM}[lengths]
    assert inferred(b, y).facts[y].shape == (1, 4, wanted)


REFUSED: list[tuple[str, type[PulseError], str]] = [
    ("bad channels", GraphError, r"node 'Conv0' \(Conv\) gets 4 channels; its weights \(2, 3, 3\) in 1 groups"),
    ("bad sum", GraphError, r"node 'Add0' \(Add\) combines \(1, 4, S\) and \(3, 1\), and 4 does not fit 3"),
    ("fixed time", GraphError, r"combines \(1, 4, S\) and \(1, 1, 7\), and S does not fit 7"),
    ("last items", NotStreamable, r"node 'Slice0' \(Slice\) starts counting at the end of time"),
    ("first items", NotStreamable, "stops at item 7 of an endless stream; slice to the end instead"),
    ("backwards", NotStreamable, "takes time backwards, from its end, which never comes; use a positive step"),
    ("split time", NotStreamable, "splits time, which has no end"),
    ("join time", NotStreamable, "joins along time, which has no end"),
    ("mean over time", NotStreamable, "reduces over time, so nothing comes out before the stream ends"),
    ("global pool", NotStreamable, "reduces over time, so nothing comes out before the stream ends"),
    ("interpolation", NotStreamable, "interpolates along axis 2, which is time; repeat its"),
    ("half as much again", NotStreamable, "repeat its items by a whole factor to 64, with mode"),
    ("output shape", NotStreamable, "cuts time to a length of its own; export it with explicit pads"),
    ("wrap", NotStreamable, "pads with wrap, which needs the end of time; pad with constant or edge"),
    ("stream as weight", NotStreamable, "computes its weights \\(input 1\\) from an input"),
    ("attention", NotStreamable, "multiplies time with time, as attention over all of it does"),
    ("attention by letters", NotStreamable, "multiplies time with time"),
    ("matmul", NotStreamable, "multiplies along time; transpose so that time is not the axis it sums over"),
    ("vector", NotStreamable, "multiplies along time"),
    ("same with stride", NotStreamable, "pads by auto_pad with stride 2"),
    ("same with dilation", NotStreamable, "dilates and pads by auto_pad, of which onnxruntime makes something else"),
    ("same with a small kernel", NotStreamable, "makes more by auto_pad than it reaches, .*; export it with explicit"),
    ("ceil", NotStreamable, "rounds its length up where nothing may be left; export it with ceil_mode=False"),
    ("four axes", NotStreamable, "slides a window of 4 axes over 4; 1 to 3 are supported"),
    ("gather", NotStreamable, "takes single items of time, which has no end; slice from the front instead"),
    ("lookup", NotStreamable, "looks up by the stream; only rows of a constant, by integers, are supported"),
    ("integers as floats", GraphError, "computes with float32, not int64; cast it before"),
    ("integers as weights", GraphError, "combines float32 and int64; cast them to one type"),
    ("two types", GraphError, "combines float32 and int64; cast them to one type"),
    ("range", NotStreamable, r"counts along time by -1 from 0; only numbers above 0 go forwards"),
    ("band", NotStreamable, r"\(Sub\) makes a value of shape \(S, S\), .*, even if a mask then hides most, .*unfold"),
    ("two indices", NotStreamable, "looks up along several axes at once; index one axis after the other"),
    ("layer norm", NotStreamable, "normalises over time, so nothing comes out before the stream ends"),
    ("group norm", NotStreamable, "normalises over time"),
    ("einsum over time", NotStreamable, "sums over time"),
    ("hard max over time", NotStreamable, "works along axis 2, which is time; it would need the whole stream at once"),
    ("einsum with dots", NotStreamable, "only letters and dots are supported"),
    ("tile time", NotStreamable, "repeats time, which has no end"),
    ("arg of time", NotStreamable, "reduces over time"),
    ("half", NotStreamable, "turns the stream into a type that is not supported; keep it in float32"),
    ("bad reshape", NotStreamable, "makes a length that cannot be written down"),
    ("bad axis", GraphError, "names the axis 5 of a value with 3 axes"),
    ("huge", GraphError, "which is too large"),
    ("endless scale", GraphError, "does not fit its inputs .* cannot convert float infinity to integer"),
    ("bias of another size", GraphError, "has a bias that does not fit its weights"),
    ("half of its length", NotStreamable, "makes a length that cannot be written down: 0.5 is no part of a length"),
    ("no kernel", NotStreamable, "has a kernel, dilation, stride or pad that makes no sense"),
    ("bent by nothing", GraphError, "divides by its alpha, which is 0"),
    ("training", NotStreamable, r"in training mode; call model.eval\(\)"),
]  # fmt: skip


def refused(what: str, b: Builder) -> str:
    def ints(*numbers: int) -> str:
        return b.constant(numbers)

    four = b.constant(np.ones(4), np.float32)
    match what:
        case "bad channels":
            return b.add("Conv", "x", b.floats(2, 3, 3))
        case "bad sum":
            return b.add("Add", "x", b.floats(3, 1))
        case "fixed time":
            return b.add("Add", "x", b.floats(1, 1, 7))
        case "last items":
            return b.front("x", -5)
        case "first items":
            return b.front("x", 0, 7)
        case "backwards":
            return b.add("Slice", "x", ints(0), ints(END), ints(2), ints(-1))
        case "split time":
            return b.add_many("Split", 2, "x", axis=2, num_outputs=2)[0]
        case "join time":
            return b.add("Concat", "x", "x", axis=2)
        case "mean over time":
            return b.add("ReduceMean", "x", ints(2))
        case "global pool":
            return b.add("GlobalAveragePool", "x")
        case "interpolation":
            return b.add("Resize", "x", "", b.constant([1, 1, 2], np.float32), mode="linear")
        case "half as much again":
            return b.add("Resize", "x", "", b.constant([1, 1, 1.5], np.float32), mode="nearest")
        case "output shape":
            return b.add("ConvTranspose", "x", b.floats(4, 2, 3), output_shape=[40], strides=[2])
        case "wrap":
            return b.add("Pad", "x", ints(0, 0, 1, 0, 0, 0), mode="wrap")
        case "stream as weight":
            return b.add("Conv", "x", b.add("Relu", "x"))
        case "attention":
            return b.add("MatMul", b.add("Transpose", "x", perm=[0, 2, 1]), "x")
        case "attention by letters":
            return b.add("Einsum", "x", "x", equation="nct,ncs->nts")
        case "matmul":
            return b.add("MatMul", "x", b.floats(4, 4))
        case "vector":
            return b.add("MatMul", "x", b.floats(4))
        case "same with stride":
            return b.add("Conv", "x", b.floats(2, 4, 3), auto_pad="SAME_UPPER", strides=[2])
        case "same with dilation":
            return b.add("MaxPool", "x", kernel_shape=[3], auto_pad="SAME_UPPER", dilations=[2])
        case "same with a small kernel":
            return b.add("ConvTranspose", "x", b.floats(4, 2, 2), auto_pad="SAME_UPPER", strides=[3])
        case "ceil":
            return b.add("MaxPool", "x", kernel_shape=[2], strides=[3], ceil_mode=1)
        case "half of its length":
            items = b.add("Cast", b.add("Shape", "x", start=2, end=3), to=FLOAT)
            half = b.add("Cast", b.add("Mul", items, b.constant([0.5], np.float32)), to=7)
            return b.add("Range", ints(0), half, ints(1))
        case "no kernel":
            return b.add("ConvTranspose", "x", b.floats(4, 2, 0))
        case "bent by nothing":
            return b.add("Celu", "x", alpha=0.0)
        case "four axes":
            return b.add("Conv", b.add("Unsqueeze", "x", ints(0, 1, 2)), b.floats(2, 1, 1, 1, 3, 3))
        case "gather":
            return b.add("Gather", "x", b.constant(0), axis=2)
        case "lookup":
            return b.add("Gather", b.floats(4, 4), b.add("Cast", "x", to=7), axis=1)
        case "integers as floats":
            return b.add("Tanh", b.add("Cast", "x", to=7))
        case "integers as weights":
            return b.add("Conv", "x", b.constant(np.ones((2, 4, 3))))
        case "two types":
            return b.add("Add", "x", b.constant(1))
        case "range":
            length = b.add("Squeeze", b.add("Shape", "x", start=2))
            return b.add("Range", b.constant(0), length, b.constant(-1))
        case "band":
            times = b.add("Range", b.constant(0), b.add("Squeeze", b.add("Shape", "x", start=2)), b.constant(1))
            return b.add("Sub", b.add("Unsqueeze", times, ints(1)), times)
        case "two indices":
            return b.add("GatherND", "x", b.add("Cast", b.add("Transpose", "x", perm=[0, 2, 1]), to=7))
        case "layer norm":
            return b.add("LayerNormalization", "x", b.floats(1), axis=-1)
        case "group norm":
            return b.add("InstanceNormalization", "x", b.floats(4), b.floats(4))
        case "einsum over time":
            return b.add("Einsum", "x", "x", equation="nct,ndt->cd")
        case "hard max over time":
            return b.add("Hardmax", "x", axis=-1)
        case "einsum with dots":
            return b.add("Einsum", "x", equation="...t->t")
        case "tile time":
            return b.add("Tile", "x", ints(1, 1, 2))
        case "arg of time":
            return b.add("ArgMax", "x", axis=2)
        case "half":
            return b.add("Cast", "x", to=10)
        case "bad reshape":
            return b.add("Reshape", "x", ints(1, 3, -1))
        case "bad axis":
            return b.add("Squeeze", "x", ints(5))
        case "huge":
            return b.add("Pad", "x", ints(0, 2**40, 0, 0, 0, 0))
        case "endless scale":
            return b.add("Resize", "x", "", b.constant([1, 1, np.inf], np.float32))
        case "bias of another size":
            return b.add("ConvTranspose", "x", b.floats(4, 2, 3), b.floats(3))
        case "training":
            return b.add("BatchNormalization", "x", four, four, four, four, training_mode=1)
    raise AssertionError(what)


@pytest.mark.parametrize(("what", "kind", "message"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_does_not_stream_is_a_sentence(what: str, kind: type[PulseError], message: str) -> None:
    b = Builder()
    y = refused(what, b)
    with pytest.raises(kind, match=message) as caught:
        inferred(b, y)
    assert str(caught.value).startswith("infer: ")


def test_many_large_constants_are_refused() -> None:
    b = Builder()
    y = "x"
    for _ in range(9):
        y = b.add("Add", y, b.add("ReduceMax", b.add("ConstantOfShape", b.constant([2**22]))))
    with pytest.raises(GraphError, match="one constant too many"):
        inferred(b, y)


def test_constants_that_grow_are_refused() -> None:
    b = Builder()
    wide = b.add("Add", b.constant(np.zeros((3000, 1)), np.float32), b.constant(np.zeros((1, 3000)), np.float32))
    with pytest.raises(GraphError, match="a constant of more than 4194304 elements"):
        inferred(b, b.add("Add", "x", wide))
    b = Builder()
    with pytest.raises(GraphError, match="a constant of more than 4194304 elements"):
        inferred(b, b.add("Add", "x", b.add("ConstantOfShape", b.constant([2**31, 2**31]))))
