"""What is known is computed as onnxruntime would."""

from __future__ import annotations

import numpy as np
import pytest

from pulse.infer import infer
from tests import graphs
from tests.graphs import Builder, batch_graph

FLOATS = np.array([[1.5, 2.0, 0.5], [3.0, 0.25, 1.0]], np.float32)


def ints(b: Builder, *numbers: int) -> str:
    return b.constant(numbers)


UNARY = ("Abs", "Ceil", "Cos", "Exp", "Floor", "Identity", "Log", "Neg", "Reciprocal", "Sin", "Sqrt", "Transpose")
UNARY += ("Round", "Sign", "Tanh")
BINARY = ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min")
COMPARING = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
LOGICAL = ("And", "Or", "Xor")


def made(b: Builder, op: str) -> str:
    x = b.constant(FLOATS, np.float32)
    match op:
        case _ if op in UNARY:
            return b.add(op, x)
        case _ if op in BINARY:
            return b.add(op, x, b.constant([[2.0], [3.0]], np.float32))
        case _ if op in COMPARING:
            return b.add("Cast", b.add(op, x, b.constant([[0.5], [3.0]], np.float32)), to=1)
        case _ if op in LOGICAL:
            return b.add("Cast", b.add(op, b.constant([0, 0, 1], bool), b.constant([1, 0, 1], bool)), to=1)
        case "Not" | "Where":
            chosen = b.add("Not", b.constant([1, 0, 1], bool))
            return b.add("Where", chosen, x, b.constant(7, np.float32))
        case "Expand":
            return b.add("Expand", x, ints(b, 2, 1, 3))
        case "Flatten":
            return b.add("Flatten", b.add("Unsqueeze", x, ints(b, 0)), axis=-1)
        case "Mod":
            return b.add("Mod", x, b.constant(0.4, np.float32), fmod=1)
        case "Range":
            return b.add("Range", *(b.constant(number, np.float32) for number in (1, 4, 0.5)))
        case "Tile":
            return b.add("Tile", x, ints(b, 1, 3))
        case "Cast":
            return b.add("Cast", b.add("Cast", x, to=7), to=1)
        case "Concat":
            return b.add("Concat", x, x, axis=-1)
        case "ConstantOfShape":
            return b.add("ConstantOfShape", ints(b, 2, 3))
        case "Gather":
            return b.add("Gather", x, ints(b, 1, 0), axis=1)
        case "Reshape":
            return b.add("Reshape", x, ints(b, 0, -1, 1))
        case "Slice":
            return b.add("Slice", x, ints(b, -1), ints(b, -9), ints(b, 1), ints(b, -1))
        case "Squeeze":
            return b.add("Squeeze", b.add("Unsqueeze", x, ints(b, 0, 2)), ints(b, 2))
        case "Pad":
            return b.add("Pad", x, ints(b, 0, 1, 2, 0))
        case "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceSum":
            sums = b.add(op, b.add(op, x, ints(b, 1)), keepdims=0)
            return b.add("Add", sums, b.add("Cast", b.add(op, b.add("Cast", x, to=6)), to=1))
        case "Division of integers":
            return b.add("Cast", b.add("Div", ints(b, 7, -7, 9), ints(b, 2, 2, 3)), to=1)
    raise AssertionError(op)


OTHERS = ("Cast", "Concat", "ConstantOfShape", "Gather", "Reshape", "Slice", "Squeeze", "Division of integers")
OTHERS += ("Pad", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum")
OTHERS += ("Not", "Where", "Expand", "Flatten", "Mod", "Range", "Tile", *COMPARING, *LOGICAL)


@pytest.mark.parametrize("op", (*UNARY, *BINARY, *OTHERS))
def test_constants_are_computed(op: str) -> None:
    b = Builder()
    y = made(b, op)
    model = b.model((1, 1, "S"), [y])
    (wanted,) = graphs.whole(model, np.zeros((1, 1, 4), np.float32))
    found = infer(batch_graph(model)).facts[y].value
    assert found is not None and found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
