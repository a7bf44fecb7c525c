"""Kernels against their formulas, where no network reaches all of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pulse.reference import KERNELS, UNARY
from pulse.step import held

X = np.linspace(-4, 4, 81, dtype=np.float32).reshape(1, 3, 27)


def unary(name: str, x: Any, **parameters: float) -> Any:
    poison = np.nan if x.dtype.kind == "f" else -99
    out = np.full_like(x, poison)
    UNARY[name](out, np.full_like(x, poison), x, **parameters)
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
    x = X[:, :, :2].copy()
    out = np.empty((*x.shape[:-1], 1), np.float32)
    KERNELS["Gate"](out, np.empty_like(x), x)
    np.testing.assert_array_equal(x, X[:, :, :2])
    np.testing.assert_allclose(out, np.tanh(x[..., :1]) / (1 + np.exp(-x[..., 1:])), atol=1e-6)


def test_a_choice_uses_bytes_of_its_scratch() -> None:
    condition = np.array([[1.0, 0.0, np.nan]], np.float32)
    out = np.full((1, 3), np.nan, np.float32)
    KERNELS["Where"](out, np.full((1, 3), np.nan, np.float32), condition, np.ones_like(out), -np.ones_like(out))
    assert out.tolist() == [[1, -1, 1]]


@pytest.mark.parametrize(("to", "wanted"), [("int64", [-1, 0, 0, 1, 2]), ("bool", [1, 1, 0, 1, 1])])
def test_casts_cut_towards_zero(to: str, wanted: list[int]) -> None:
    x, out = np.array([-1.7, -0.2, 0, 1.2, 2.9], np.float32), np.empty(5, held(to))
    KERNELS["Cast"](out, x, to=to)
    assert out.tolist() == wanted


def test_a_cast_to_32_bits_keeps_the_lowest() -> None:
    x = np.array([7, -7, 2**31 - 1, 2**31, 5 * 2**32 - 3], np.int64)
    out = np.empty_like(x)
    KERNELS["Cast"](out, x, to="int32")
    assert out.tolist() == x.astype(np.int32).tolist()


INTEGERS = (-(2**63), -(2**53) - 1, -7, -1, 0, 1, 3, 8, 2**53 + 1, 2**63 - 1)


@pytest.mark.parametrize("op", ["Div", "Mod", "Mod of C"])
def test_integers_are_divided_as_integers(op: str) -> None:
    pairs = [(x, y) for x in INTEGERS for y in INTEGERS if y and (x, y) != (INTEGERS[0], -1)]
    x, y = (np.array(numbers, np.int64) for numbers in zip(*pairs, strict=True))
    out = np.empty_like(x)
    KERNELS[op[:3]](out, x, y, **({"fmod": 1} if op == "Mod of C" else {}))
    cut = [abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) for a, b in pairs]
    rest = [a % b if op == "Mod" else a - b * c for (a, b), c in zip(pairs, cut, strict=True)]
    assert out.tolist() == (cut if op == "Div" else rest)


def test_a_division_of_integers_by_0_is_survived() -> None:
    out, x = np.empty(2, np.int64), np.array([5, INTEGERS[0]])
    with np.errstate(all="ignore"):
        KERNELS["Div"](out, x, np.array([0, -1]))
        KERNELS["Mod"](out, x, np.array([0, -1]))


def test_powers_of_integers_are_cut() -> None:
    out = np.empty(5, np.int64)
    KERNELS["Pow"](out, np.array([2, 2, -3, -1, 10]), np.array([10, -1, 3, -1, 15]))
    assert out.tolist() == [1024, 0, -27, -1, 10**15]


def test_the_mean_of_integers_is_cut() -> None:
    out = np.empty((2, 1), np.int64)
    KERNELS["ReduceMean"](out, np.array([[1, 2, 2], [-1, -2, -2]]), axes=(1,))
    assert out.tolist() == [[1], [-1]]


def test_integers_keep_to_bounds() -> None:
    x = np.array([-(2**60) - 1, 5, 2**60 + 1])
    found = [unary("Clip", x, **bounds).tolist() for bounds in ({}, {"low": -3}, {"high": 2**60})]
    assert found == [x.tolist(), [-3, 5, 2**60 + 1], [-(2**60) - 1, 5, 2**60]]


def test_a_lookup_stays_within_its_table() -> None:
    table, indices = np.arange(6, dtype=np.float32).reshape(3, 2), np.array([0, 2, -1, -3, 3, -4, 2**63 - 1, -(2**63)])
    out = np.empty((8, 2), np.float32)
    KERNELS["Take"](out, np.empty_like(indices), indices, table)
    assert out[:, 0].tolist() == [0, 4, 4, 0, 4, 0, 4, 0]


@pytest.mark.parametrize(("fmod", "wanted"), [(0, [1, 2]), (1, [1, -1])])
def test_a_remainder_has_the_sign_of_the_one_or_the_other(fmod: int, wanted: list[int]) -> None:
    out = np.empty(2, np.float32)
    KERNELS["Mod"](out, np.array([4, -4], np.float32), np.array([3, 3], np.float32), fmod=fmod)
    assert out.tolist() == wanted


@pytest.mark.parametrize("exclusive", [0, 1])
def test_a_sum_goes_on_from_pulse_to_pulse(exclusive: int) -> None:
    x, total, out = np.arange(1, 7, dtype=np.float32), np.zeros((1, 1), np.float32), np.empty((1, 2), np.float32)
    found = []
    for piece in np.split(x.reshape(1, 6), 3, 1):
        KERNELS["CumSum"](out, total, piece, exclusive=exclusive)
        found += out[0].tolist()
    assert found == ([0, 1, 3, 6, 10, 15] if exclusive else [1, 3, 6, 10, 15, 21])


@pytest.mark.parametrize(("step", "wanted"), [(1, [5, 5, 5, 6, 7]), (2, [7, 6, 5, 6, 7])])
def test_a_front_is_mirrored_behind_the_warm_up(step: int, wanted: list[int]) -> None:
    """Two items in front of a stream 5, 6, 7, ... that is one item late."""
    stream = np.array([0] * 2 * step + [99, *range(5, 15)], np.float32)
    place, out, found = np.array([-1 - 2 * (step - 1)], np.float32), np.empty(1, np.float32), []
    for start in range(9):
        KERNELS["Front"](out, place, stream[start : start + 2 * step + 1], step=step)
        found += out.tolist()
    assert found[1 + 2 * (step - 1) :][:5] == wanted


def gates(items: int, parts: int) -> tuple[Any, ...]:
    """Memory and operands of a cell with two numbers: out, h, left, scratch, gates, recurrent."""
    noise = np.random.default_rng(0)
    given, recurrent = (
        noise.standard_normal(shape).astype(np.float32) for shape in ((items, 1, parts * 2), (2, parts * 2))
    )
    out, h = np.full((items, 1, 2), np.nan, np.float32), np.zeros((1, 2), np.float32)
    return out, h, np.zeros(1, np.float32), np.full((1, 8), np.nan, np.float32), given, recurrent


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def test_an_lstm_is_its_formula() -> None:
    out, h, left, scratch, given, recurrent = gates(5, 4)
    c, state, cell = np.zeros_like(h), np.zeros((1, 2)), np.zeros((1, 2))
    wanted = []
    for part in given:
        i, o, f, new = np.split(part + state @ recurrent, 4, 1)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(new)
        state = sigmoid(o) * np.tanh(cell)
        wanted.append(state)
    reads = (given, recurrent, None, None, None)
    KERNELS["LSTM"](out, h, c, left, scratch, *reads, activations="Sigmoid,Tanh,Tanh", clip=0.0)
    np.testing.assert_allclose(out, wanted, atol=1e-6)
    np.testing.assert_allclose(h, wanted[-1], atol=1e-6)


@pytest.mark.parametrize("linear", [0, 1])
def test_a_gru_is_its_formula(linear: int) -> None:
    out, h, left, scratch, given, recurrent = gates(5, 3)
    bias, state, wanted = np.array([0.5, -0.5], np.float32), np.zeros((1, 2)), []
    for part in given:
        z, r = np.split(sigmoid(part[:, :4] + state @ recurrent[:, :4]), 2, 1)
        back = r * (state @ recurrent[:, 4:] + bias) if linear else (r * state) @ recurrent[:, 4:] + bias
        state = (1 - z) * np.tanh(part[:, 4:] + back) + z * state
        wanted.append(state)
    reads = (given, np.ascontiguousarray(recurrent[:, :4]), np.ascontiguousarray(recurrent[:, 4:]), bias, None)
    KERNELS["GRU"](out, h, left, scratch, *reads, activations="Sigmoid,Tanh", clip=0.0, linear=linear)
    np.testing.assert_allclose(out, wanted, atol=1e-6)


def test_a_cell_passes_over_the_warm_up() -> None:
    out, h, left, _, given, recurrent = gates(6, 1)
    wanted = out[2:].copy()
    KERNELS["RNN"](wanted, h, left, given[2:], recurrent, None, activations="Tanh", clip=0.0)
    left[:], h[:] = 2, 0
    given[:2] = np.nan
    for start in range(0, 6, 2):
        part = out[start : start + 2]
        KERNELS["RNN"](part, h, left, given[start : start + 2], recurrent, None, activations="Tanh", clip=0.0)
    np.testing.assert_allclose(out[2:], wanted, atol=1e-6)
