"""Ops written in plainer ones, and numbers that are whole or true: each streams as onnxruntime computes it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.graphs import Builder, assert_streams

Example = Callable[[Builder], str]


def _floats(b: Builder, *numbers: float) -> str:
    return b.constant(numbers, np.float32)


def _whole(b: Builder, y: str) -> str:
    return b.add("Cast", y, to=7)


def _float(b: Builder, y: str) -> str:
    return b.add("Cast", y, to=1)


# time is axis 0 of (S, 4, 6)
EXAMPLES: dict[str, Example] = {
    "argmax": lambda b: _float(b, b.add("ArgMax", "x", axis=1)),
    "argmax of the last": lambda b: _float(b, b.add("ArgMax", b.add("Sign", "x"), axis=-1, select_last_index=1)),
    "argmin": lambda b: _float(b, b.add("ArgMin", b.add("Sign", "x"), axis=2, keepdims=0)),
    "group normalisation": lambda b: b.add(
        "GroupNormalization", "x", *(_floats(b, 1, 2, 3, 4) for _ in range(2)), num_groups=2
    ),
    "instance normalisation": lambda b: b.add(
        "InstanceNormalization", "x", *(_floats(b, 1, 2, 3, 4) for _ in range(2)), epsilon=1e-3
    ),
    "layer normalisation without a bias": lambda b: b.add("LayerNormalization", "x", b.floats(4, 6), axis=1),
    "mean of three": lambda b: b.add("Mean", "x", b.add("Relu", "x"), b.add("Abs", "x")),
    "swish as exporters write it": lambda b: b.add("Mul", "x", b.add("Sigmoid", "x")),
    "logarithm of a sum": lambda b: b.add("ReduceLogSum", b.add("Exp", "x"), b.constant([1, 2])),
    "logarithm of a sum of large numbers": lambda b: b.add(
        "ReduceLogSumExp", b.add("Mul", "x", _floats(b, 100)), b.constant([2]), keepdims=0
    ),
    "gathered by a table": lambda b: b.add("Gather", "x", b.constant([[0, 2, 4], [1, 1, 5]]), axis=2),
    "one gathered": lambda b: b.add("Gather", "x", b.constant(-1), axis=1),
    "whole division": lambda b: _float(b, b.add("Div", _whole(b, b.add("Mul", "x", _floats(b, 9))), b.constant([2]))),
    "remainder": lambda b: _float(b, b.add("Mod", _whole(b, b.add("Mul", "x", _floats(b, 9))), b.constant([4]))),
    "remainder with the sign of x": lambda b: b.add("Mod", "x", _floats(b, 0.7), fmod=1),
    "truth from numbers": lambda b: _float(b, b.add("Cast", _whole(b, "x"), to=9)),
    "product of batches": lambda b: b.add("MatMul", "x", b.add("Transpose", "x", perm=[0, 2, 1])),
    "product with a vector of the stream": lambda b: b.add(
        "Gemm", b.add("Transpose", b.add("ReduceMean", "x", b.constant([2]), keepdims=0)), b.floats(4, 3), transA=1
    ),
    "product with a vector": lambda b: b.add("MatMul", "x", b.floats(6)),
    "product of a vector": lambda b: b.add("MatMul", b.floats(4), "x"),
    "product without an arrow": lambda b: b.add("Einsum", "x", b.floats(6, 2), equation="abc, cd"),
    "product with dots": lambda b: b.add("Einsum", "x", b.floats(6, 2), equation="...i,ij->...j"),
    "diagonal with dots": lambda b: b.add(
        "Einsum", b.add("Slice", "x", *(b.constant([number]) for number in (0, 4, 2))), equation="...ii->...i"
    ),
    "product with dots and without an arrow": lambda b: b.add("Einsum", "x", b.floats(6, 2), equation="...b,ba"),
    "the largest as 1": lambda b: b.add("Hardmax", b.add("Sign", "x"), axis=1),
    "shrunk": lambda b: b.add("Shrink", "x", bias=0.2, lambd=0.3),
    "of length 1": lambda b: b.add("LpNormalization", "x", axis=1),
    "of length 0": lambda b: b.add("LpNormalization", b.add("Mul", "x", _floats(b, 0)), axis=1),
    "of sum 1": lambda b: b.add("LpNormalization", "x", axis=2, p=1),
    "no number": lambda b: _float(b, b.add("IsNaN", b.add("Sqrt", "x"))),
    "infinite": lambda b: _float(b, b.add("IsInf", b.add("Div", "x", _floats(b, 0)), detect_negative=0)),
    "wrapped": lambda b: b.add("Pad", "x", b.constant([0, 5, 0, 0, 1, 2]), mode="wrap"),
    "deviation of a normalisation": lambda b: b.add_many("LayerNormalization", 3, "x", b.floats(4, 6), axis=1)[2],
}


@pytest.mark.parametrize("what", EXAMPLES)
def test_it_streams(what: str) -> None:
    b = Builder(opset=22)
    y = EXAMPLES[what](b)
    assert_streams(b, y, ("S", 4, 6), 0)
