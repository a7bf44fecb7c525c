"""Several streams of one plan: each is what it would be alone; and states that are put away and brought back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pulse
from tests import graphs
from tests.graphs import Builder, compiled
from tests.networks import Network, networks
from tests.test_streaming import FEW, assert_equal

STREAMS = 3


def pieces(plan: pulse.Plan, channels: int, streams: int = STREAMS) -> list[Any]:
    """Pulses for all streams, (streams, 1, channels, pulse)."""
    noise = np.random.default_rng(7).standard_normal((streams, 1, channels, graphs.enough(plan)))
    return np.split(noise.astype(np.float32), graphs.enough(plan) // plan.pulse, 3)


@FEW
@given(network=networks())
def test_every_stream_is_what_it_would_be_alone(network: Network) -> None:
    plan = compiled(network.model, network.pulse)
    together, alone = pulse.State(plan, streams=STREAMS), [pulse.State(plan) for _ in range(STREAMS)]
    for piece in pieces(plan, network.channels):
        found = together.run(piece)
        for stream, state in enumerate(alone):
            for have, want in zip(found, state.run(piece[stream]), strict=True):
                np.testing.assert_allclose(have[stream], want, rtol=1e-5, atol=1e-5)


@FEW
@given(network=networks(), stream=st.integers(0, STREAMS - 1), heard=st.integers(0, 4))
def test_a_reset_of_one_stream_leaves_the_others(network: Network, stream: int, heard: int) -> None:
    plan = compiled(network.model, network.pulse)
    state, untouched, fresh = (pulse.State(plan, streams=STREAMS) for _ in range(3))
    parts = pieces(plan, network.channels)
    for piece in parts[:heard]:
        state.run(piece)
        untouched.run(piece)
    state.reset(stream=stream)
    for piece in parts[heard:]:
        wanted = [y.copy() for y in untouched.run(piece)]
        for want, new in zip(wanted, fresh.run(piece), strict=True):
            want[stream] = new[stream]
        assert_equal([y.copy() for y in state.run(piece)], wanted)


@FEW
@given(network=networks(), heard=st.integers(0, 4))
def test_a_snapshot_goes_on_where_it_was_taken(network: Network, heard: int) -> None:
    plan = compiled(network.model, network.pulse)
    one, other = (pulse.State(plan, streams=2) for _ in range(2))
    parts = pieces(plan, network.channels, 2)
    for piece in parts[:heard]:
        one.run(piece)
    other.run(-parts[0])
    other.restore(one.snapshot())
    for piece in parts[heard:]:
        assert_equal([y.copy() for y in other.run(piece)], [y.copy() for y in one.run(piece)])


@pytest.fixture(scope="module")
def plan() -> pulse.Plan:
    b = Builder()
    return compiled(b.model((1, 3, "S"), [b.add("Conv", "x", b.floats(2, 3, 4))]), 2)


def another() -> pulse.Plan:
    b = Builder(seed=1)
    return compiled(b.model((1, 3, "S"), [b.add("Conv", "x", b.floats(2, 3, 4))]), 2)


def test_a_snapshot_fits_the_plan_from_its_file(plan: pulse.Plan, tmp_path: Any) -> None:
    plan.save(tmp_path / "net.plan")
    pulse.State(pulse.Plan.load(tmp_path / "net.plan")).restore(pulse.State(plan).snapshot())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: b"", "has 0 bytes; this state is of another size"),
        (lambda s: s[:-1], "this state is of another size"),
        (lambda s: b"x" + s[1:], "the snapshot is none"),
        (lambda s: s[:-1] + bytes([s[-1] ^ 1]), "the snapshot is damaged"),
        (lambda s: s[:16] + b"x" * 32 + s[48:], "the snapshot is of another plan"),
    ],
)
def test_a_snapshot_that_does_not_fit_is_refused(change: Any, message: str, plan: pulse.Plan) -> None:
    state = pulse.State(plan)
    kept = state.snapshot()
    with pytest.raises(pulse.InputError, match=message):
        state.restore(change(bytes(kept)))
    assert state.snapshot() == kept


def test_what_fits_no_state_is_refused(plan: pulse.Plan) -> None:
    with pytest.raises(pulse.InputError, match="of another plan"):
        pulse.State(plan).restore(pulse.State(another()).snapshot())
    with pytest.raises(pulse.InputError, match="0 streams are impossible; 1 to 256 are allowed"):
        pulse.State(plan, streams=0)
    with pytest.raises(pulse.InputError, match="there is no stream 2; they are numbered from 0"):
        pulse.State(plan, streams=2).reset(stream=2)
    with pytest.raises(pulse.InputError, match=r"takes float32 \(2, 1, 3, 2\)"):
        pulse.State(plan, streams=2).run(np.zeros((1, 3, 2), np.float32))
