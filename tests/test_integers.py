"""Integers and truth: as exact in a plan as in its model, given and handed out in its types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import pulse
from pulse.cli import main
from pulse.plan import Plan
from pulse.step import room_size
from tests import graphs, itemwise
from tests.graphs import FLOAT, Builder, Draw, compiled
from tests.test_plan import resealed
from tests.test_streaming import EXAMPLES, assert_equal

INT32, INT64, BOOL = int(TensorProto.INT32), int(TensorProto.INT64), int(TensorProto.BOOL)
LARGE = 2**40
CHANNELS = 3


@st.composite
def networks(draw: Draw) -> tuple[onnx.ModelProto, Any]:
    """A network of integers, and the type of its input and output."""
    b = Builder(draw(st.integers(0, 99)))
    to = draw(st.sampled_from([INT32, INT64]))
    dtype = helper.tensor_dtype_to_np_dtype(to)
    y = itemwise.integers(b, draw, ("x", CHANNELS), dtype)
    return b.model((1, CHANNELS, "S"), [b.add("Add", y, b.constant(1, dtype))], (to, to)), dtype


def numbers(plan: Plan, dtype: Any, size: int = 1000) -> Any:
    """A stream that is long enough for every output to start, (1, channels, time)."""
    return np.random.default_rng(2).integers(-size, size, (1, CHANNELS, graphs.enough(plan))).astype(dtype)


def exactly(model: onnx.ModelProto, plan: Plan, x: Any) -> None:
    """The law, without any tolerance, and the types of the outputs."""
    for want, have, late in zip(graphs.whole(model, x), graphs.streamed(plan, x, [2]), plan.delay, strict=True):
        assert have.dtype == want.dtype
        behind = have[:, :, late:]
        assert behind.shape[2]
        np.testing.assert_array_equal(behind, want[:, :, : behind.shape[2]])


@EXAMPLES
@given(network=networks(), pulse_size=st.integers(1, 5))
def test_streaming_equals_batch_exactly(network: tuple[onnx.ModelProto, Any], pulse_size: int) -> None:
    model, dtype = network
    plan = compiled(model, pulse_size)
    exactly(model, plan, numbers(plan, dtype))


def test_a_sum_of_ones_stays_exact_beyond_what_a_float_can_count() -> None:
    b = Builder()
    model = b.model((1, CHANNELS, "S"), [b.add("CumSum", "x", b.constant(2))], (INT64, INT64))
    plan = compiled(model, 4)
    x = np.ones((1, CHANNELS, 4000), np.int64)
    x[:, :, 0] = LARGE
    (found,) = graphs.streamed(plan, x, [2])
    assert found[0, 0].tolist() == list(range(LARGE, LARGE + 4000))
    exactly(model, plan, x)


def test_large_integers_go_through_delays_and_moves() -> None:
    b = Builder()
    y = b.add("Concat", b.front("x", 2), b.front("x", 0, -2), axis=1)
    y = b.add("Neg", b.add("Transpose", b.add("Gather", y, b.constant([5, 0, 3]), axis=1), perm=[2, 1, 0]))
    y = b.add("Transpose", y, perm=[2, 1, 0])
    model = b.model((1, CHANNELS, "S"), [y], (INT64, INT64))
    plan = compiled(model, 4)
    exactly(model, plan, numbers(plan, np.int64, 2**62))


@pytest.mark.parametrize("to", [FLOAT, INT32, INT64, BOOL])
@pytest.mark.parametrize("of", [FLOAT, INT32, INT64, BOOL])
def test_casts(of: int, to: int) -> None:
    b = Builder()
    model = b.model((1, CHANNELS, "S"), [b.add("Cast", "x", to=to)], (of, to))
    plan = compiled(model, 4)
    x = np.array([0, 0.75, 1, -1, -1.75, 2.5, 1e6, -7], np.float32)
    x = np.broadcast_to(x, (1, CHANNELS, 8)).astype(helper.tensor_dtype_to_np_dtype(of))
    exactly(model, plan, x)


def test_integers_of_64_bits_wrap_to_32() -> None:
    b = Builder()
    model = b.model((1, CHANNELS, "S"), [b.add("Cast", b.add("Cast", "x", to=INT32), to=INT64)], (INT64, INT64))
    plan = compiled(model, 4)
    exactly(model, plan, numbers(plan, np.int64, 2**62))


def test_truth_comes_in_and_goes_out() -> None:
    b = Builder()
    late = b.add("Pad", b.add("Cast", b.front("x", 0, -1), to=FLOAT), b.constant([0, 0, 1, 0, 0, 0]))
    late = b.add("Cast", late, to=BOOL)
    model = b.model((1, CHANNELS, "S"), [b.add("Xor", b.add("Not", "x"), late)], (BOOL, BOOL))
    plan = compiled(model, 4)
    exactly(model, plan, numbers(plan, np.int64) > 0)


@pytest.mark.parametrize("types", [(FLOAT, INT64), (INT64, FLOAT), (INT64, INT64)], ids=str)
def test_powers_of_two_types(types: tuple[int, int]) -> None:
    b = Builder()
    base = b.add("Cast", "x", to=types[0])
    power = b.add("Cast", b.add("Abs", "x"), to=types[1])
    model = b.model((1, CHANNELS, "S"), [b.add("Pow", base, power)], (INT64, types[0]))
    plan = compiled(model, 4)
    x = numbers(plan, np.int64, 5)
    (want,), (have,) = graphs.whole(model, x), graphs.streamed(plan, x, [2])
    assert have.dtype == want.dtype
    np.testing.assert_allclose(have, want, rtol=1e-6)


def test_products_of_integers() -> None:
    b = Builder()
    y = b.add("MatMul", b.constant(b.noise.integers(-9, 9, (4, CHANNELS))), "x")
    y = b.add("Einsum", y, b.constant(b.noise.integers(-9, 9, (2, 4))), equation="nct,fc->nft")
    model = b.model((1, CHANNELS, "S"), [y], (INT64, INT64))
    plan = compiled(model, 4)
    exactly(model, plan, numbers(plan, np.int64, LARGE))


def test_a_mean_of_integers_is_cut() -> None:
    b = Builder()
    model = b.model((1, CHANNELS, "S"), [b.add("ReduceMean", "x", b.constant([1]), keepdims=1)], (INT32, INT32))
    plan = compiled(model, 4)
    exactly(model, plan, numbers(plan, np.int32))


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
def test_the_place_of_an_extreme_is_an_integer(op: str) -> None:
    b = Builder()
    model = b.model((1, CHANNELS, "S"), [b.add(op, "x", axis=1, keepdims=1)], (INT64, INT64))
    plan = compiled(model, 4)
    exactly(model, plan, numbers(plan, np.int64) + LARGE)


@pytest.mark.parametrize("window", [4, "running"])
def test_a_maximum_over_time_is_exact(window: Any, tmp_path: Path) -> None:
    b = Builder()
    model = b.model((1, CHANNELS, "S"), [b.add("ReduceMax", "x", b.constant([2]), keepdims=1)], (INT64, INT64))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    plan = pulse.compile(tmp_path / "model.onnx", 4, window)
    x = -numbers(plan, np.int64, 1000)[..., :8] - LARGE
    (found,) = graphs.streamed(plan, x, [0])
    items = x.shape[2]
    wanted = [x[0, :, max(0, i - 3) * (window == 4) : i + 1].max(axis=1).tolist() for i in range(items)]
    assert found[:, :, 0].tolist() == wanted


def test_a_table_is_looked_up_by_the_stream() -> None:
    b = Builder()
    rows = b.add("Gather", b.floats(7, 4), "x")  # (1, time, 4)
    y = b.add("Conv", b.add("Transpose", rows, perm=[0, 2, 1]), b.floats(2, 4, 3), pads=[1, 0])
    model = b.model((1, "S"), [y], (INT32, FLOAT))
    plan = compiled(model, 4)
    assert plan.steps[0].kernel == "Take"
    x = np.random.default_rng(1).integers(-7, 7, (1, graphs.enough(plan))).astype(np.int32)
    graphs.assert_law(plan, graphs.whole(model, x), graphs.streamed(plan, x, [2]), [2])


@pytest.fixture(scope="module")
def plan() -> Plan:
    """All that a plan of integers can have: memory of them, constants, and other types at its borders."""
    b = Builder()
    total = b.add("CumSum", b.add("Add", "x", b.constant(LARGE)), b.constant(2))
    y = b.add("Sub", b.front(total, 1), b.front(total, 0, -1))
    model = b.model((1, CHANNELS, "S"), [y, total], (INT64, INT64))
    odd = helper.make_tensor_value_info("odd", BOOL, None)
    model.graph.node.append(helper.make_node("Cast", [b.add("Mod", total, b.constant(2))], ["odd"], name="o", to=BOOL))
    model.graph.node.insert(len(model.graph.node) - 1, b.nodes[-1])
    model.graph.initializer.append(b.weights[-1])
    model.graph.output.append(odd)
    return compiled(model, 4)


def pieces(plan: Plan, seed: int = 0, streams: tuple[int, ...] = ()) -> list[Any]:
    noise = np.random.default_rng(seed)
    return [noise.integers(-9, 9, (*streams, 1, CHANNELS, plan.pulse)) for _ in range(5)]


def test_outputs_have_the_types_of_the_model(plan: Plan) -> None:
    assert (plan.input_dtypes, plan.output_dtypes) == (("int64",), ("int64", "int64", "bool"))
    outputs = pulse.State(plan).run(pieces(plan)[0])
    assert [y.dtype.name for y in outputs] == ["int64", "int64", "bool"]
    assert not any(y.flags.writeable for y in outputs)
    np.testing.assert_array_equal(outputs[2], outputs[1] % 2 == 1)


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.bool_])
def test_other_types_are_refused(dtype: Any, plan: Plan) -> None:
    with pytest.raises(pulse.InputError, match=r"'x' is \w+ \(1, 3, 4\); the plan takes int64 \(1, 3, 4\)"):
        pulse.State(plan).run(pieces(plan)[0].astype(dtype))


def test_a_plan_of_integers_comes_back_as_it_was(plan: Plan, tmp_path: Path) -> None:
    plan.save(tmp_path / "ints.plan")
    loaded = Plan.load(tmp_path / "ints.plan")
    assert (loaded.slots, loaded.steps, loaded.inputs) == (plan.slots, plan.steps, plan.inputs)
    assert (loaded.input_dtypes, loaded.output_dtypes) == (plan.input_dtypes, plan.output_dtypes)
    found, wanted = ([*of.golden_inputs, *of.golden_outputs] for of in (loaded, plan))
    assert [array.dtype for array in found] == [array.dtype for array in wanted]
    assert_equal(found, wanted)
    states = pulse.State(plan), pulse.State(loaded)
    for piece in pieces(plan):
        assert_equal(*(list(state.run(piece)) for state in states))
    loaded.save(tmp_path / "again.plan")
    assert (tmp_path / "again.plan").read_bytes() == (tmp_path / "ints.plan").read_bytes()


def test_streams_snapshots_and_resets_keep_integers(plan: Plan) -> None:
    together, alone = pulse.State(plan, streams=3), [pulse.State(plan) for _ in range(3)]
    for piece in pieces(plan, 1, (3,)):
        found = together.run(piece)
        for stream, state in enumerate(alone):
            assert_equal([y[stream] for y in found], list(state.run(piece[stream])))
    other = pulse.State(plan, streams=3)
    other.restore(together.snapshot())
    together.reset(1)
    alone[1].reset()
    for piece in pieces(plan, 2, (3,)):
        wanted, kept = [y.copy() for y in together.run(piece)], other.run(piece)
        assert_equal([y[1] for y in wanted], list(alone[1].run(piece[1])))
        assert_equal([y[::2] for y in kept], [y[::2] for y in wanted])


def test_a_plan_of_integers_is_shown(plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan.save(tmp_path / "ints.plan")
    assert main([str(tmp_path / "ints.plan"), "--summary", "--profile"]) == 0
    shown = capsys.readouterr().out
    assert "x int64 (1, 3, 4)" in shown and "odd bool (1, 3, 4)" in shown and "parameters       2\n" in shown


def test_a_pad_beyond_float64_is_refused() -> None:
    b = Builder()
    y = b.add("Pad", "x", b.constant([0, 0, 1, 0, 0, 0]), b.constant(2**53 + 1))
    with pytest.raises(pulse.NotStreamable, match="pads with 9007199254740993, which is no number of float64"):
        compiled(b.model((1, CHANNELS, "S"), [y], (INT64, INT64)), 4)


def test_a_golden_vector_of_integers_is_exact(tmp_path: Path) -> None:
    b = Builder()
    model = b.model((1, CHANNELS, "S"), [b.add("Add", "x", b.constant(LARGE))], (INT64, INT64))
    compiled(model, 4).save(tmp_path / "ints.plan")
    content = (tmp_path / "ints.plan").read_bytes()
    last = int.from_bytes(content[-8:], "little")
    assert last in (LARGE, LARGE + 1)
    with pytest.raises(pulse.PlanError, match="is not what it was when the plan was built"):
        Plan.load(resealed(tmp_path / "ints.plan", content[:-8] + (last + 2).to_bytes(8, "little")))


def test_integers_lie_on_whole_addresses_in_every_stream() -> None:
    b = Builder()
    late = b.front(b.add("CumSum", "x", b.constant(2)), 1)
    y = b.add("Pad", late, b.constant([0, 0, 3, 0, 0, 0]), b.constant(7))
    plan = compiled(b.model((1, CHANNELS, "S"), [y], (INT64, INT64)), 4)
    assert room_size(plan.slots, "state") % 2  # what counts a padding down comes last
    state = pulse.State(plan, streams=2)
    views = [view for step in plan.steps for view in (*step.writes, *step.reads) if view]
    assert all(state.array(view, 1).flags.aligned for view in views)
