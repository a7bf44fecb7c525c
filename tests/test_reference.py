"""Kernels against their formulas, where no network reaches all of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pulse.reference import KERNELS, UNARY

X = np.linspace(-4, 4, 81, dtype=np.float32).reshape(1, 3, 27)


def unary(name: str, x: Any, **parameters: float) -> Any:
    out = np.full_like(x, np.nan)
    UNARY[name](out, np.full_like(x, np.nan), x, **parameters)
    return out


@pytest.mark.parametrize(
    ("name", "parameters", "formula"),
    [
        ("Erf", {}, math.erf),
        ("Sigmoid", {}, lambda x: 1 / (1 + math.exp(-x))),
        ("Elu", {"alpha": 2.0}, lambda x: x if x > 0 else 2 * (math.exp(x) - 1)),
        ("LeakyRelu", {"alpha": 0.3}, lambda x: x if x > 0 else 0.3 * x),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}, lambda x: min(1, max(0, 0.3 * x + 0.4))),
        ("HardSwish", {}, lambda x: x * min(1, max(0, x / 6 + 0.5))),
        ("Softplus", {}, lambda x: math.log1p(math.exp(x))),
        ("Softsign", {}, lambda x: x / (1 + abs(x))),
        ("Clip", {"low": -1.0, "high": 2.0}, lambda x: min(2, max(-1, x))),
        ("Clip", {"low": -1.0}, lambda x: max(-1, x)),
        ("Clip", {}, lambda x: x),
    ],
)
def test_functions(name: str, parameters: dict[str, float], formula: Any) -> None:
    wanted = np.vectorize(formula, otypes=[np.float32])(X)
    np.testing.assert_allclose(unary(name, X, **parameters), wanted, atol=2e-6)


@pytest.mark.parametrize("name", ["Sigmoid", "Tanh", "Softplus", "Elu", "Erf", "HardSwish"])
def test_functions_stay_finite(name: str) -> None:
    x = np.array([-1e4, -100, 0, 100, 1e4], np.float32)
    with np.errstate(over="raise", invalid="raise"):
        assert np.isfinite(unary(name, x)).all()


@pytest.mark.parametrize("past", [1, 3, 4, 5, 11])
def test_a_delay_shifts(past: int) -> None:
    pulse = 4
    stream = np.arange(40, dtype=np.float32).reshape(1, 40)
    ring = np.zeros((1, past + pulse), np.float32)
    for start in range(0, 40, pulse):
        KERNELS["Delay"](ring, stream[:, start : start + pulse])
        seen = np.concatenate([np.zeros((1, past)), stream], 1)[:, start : start + past + pulse]
        np.testing.assert_array_equal(ring, seen)


def test_a_fill_ends() -> None:
    x, out, left = np.ones((2, 4), np.float32), np.zeros((2, 4), np.float32), np.array([6], np.float32)
    rows = []
    for _ in range(3):
        KERNELS["Fill"](out, left, x, value=-1.0)
        rows.append(out[0].tolist())
    assert rows == [[-1] * 4, [-1, -1, 1, 1], [1] * 4]


def test_softmax_of_large_numbers() -> None:
    x = np.array([[1000.0, 1000.0, -1000.0]], np.float32)
    out, scratch, total = np.empty_like(x), np.empty_like(x), np.empty((1, 1), np.float32)
    KERNELS["Softmax"](out, scratch, total, x, axis=1)
    np.testing.assert_allclose(out, [[0.5, 0.5, 0]])
    KERNELS["LogSoftmax"](out, scratch, total, x, axis=1)
    np.testing.assert_allclose(out, [[-math.log(2), -math.log(2), -2000 - math.log(2)]], rtol=1e-6)


def test_a_gate_alone_leaves_its_input() -> None:
    x = X[:, :2, :].copy()
    out = np.empty((1, 1, 27), np.float32)
    KERNELS["Gate"](out, np.empty_like(x), x)
    np.testing.assert_array_equal(x, X[:, :2, :])
    np.testing.assert_allclose(out, np.tanh(x[:, :1]) / (1 + np.exp(-x[:, 1:])), atol=1e-6)
