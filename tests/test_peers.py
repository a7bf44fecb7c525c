"""Other engines compute what onnxruntime makes of the whole recording, or say that they cannot."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pulse
from pulse.declutter import declutter
from pulse.graph import Graph
from pulse.infer import infer
from pulse.load import load
from pulse.peers import PEERS, NotWritten, Peer, engines
from pulse.peers.stateless import stateless
from pulse.pulsify import pulsify
from tests.graphs import Builder
from tests.shipped import MODEL

TOLERANCE = 1e-4
PULSES = 12
INSTALLED = pytest.mark.parametrize(
    "peer", [pytest.param(p, id=p.name, marks=pytest.mark.skipif(not p.installed, reason="not here")) for p in PEERS]
)
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


def batch_graph(path: Path) -> Graph:
    return declutter(infer(load(path)))


def assert_equal(peer: Peer, onnx_file: Path, size: int, folder: Path) -> None:
    """The engine and onnxruntime agree behind the delay."""
    graph, (delay,) = batch_graph(onnx_file), pulse.compile(onnx_file, size).delay
    ((_, items, channels),) = (fact.shape for fact in pulsify(graph, size).inputs.values())
    pulses = np.random.default_rng(0).standard_normal((delay // size + PULSES, 1, items, channels), np.float32)
    run = getattr(engines, peer.opener)(str(peer.file(onnx_file, graph, size, folder)), size)
    found = np.concatenate([run(frames).copy() for frames in pulses], 1)[:, delay:]
    wanted = np.concatenate(list(engines.whole(onnx_file, graph, pulses, delay)), 1)[:, delay:]
    assert wanted.shape[1] > size
    np.testing.assert_allclose(found[:, : wanted.shape[1]], wanted, atol=TOLERANCE)


@INSTALLED
def test_the_shipped_network(peer: Peer, tmp_path: Path) -> None:
    assert_equal(peer, MODEL.with_suffix(".onnx"), 8, tmp_path)


@st.composite
def networks(draw: st.DrawFn) -> bytes:
    """Dilated convolutions whose branches meet at different delays, from frames to frames."""
    b, channels = Builder(draw(st.integers(0, 99))), 3
    x = b.add("Clip", "x", b.constant(-1, np.float32), "" if draw(st.booleans()) else b.constant(1, np.float32))
    x = b.add("Transpose", x, perm=[0, 2, 1])
    for _ in range(draw(st.integers(1, 3))):
        kernel, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 4))
        inputs = [x, b.floats(channels, channels, kernel), *([b.floats(channels)] if draw(st.booleans()) else [])]
        made, span = b.add("Conv", *inputs, dilations=[dilation]), (kernel - 1) * dilation
        made = b.add(draw(st.sampled_from(["Relu", "Sigmoid", "Tanh"])), made)
        cut = draw(st.integers(0, span))
        rest = b.front(x, cut, cut - span) if cut < span else b.front(x, cut)
        x = b.add(draw(st.sampled_from(["Add", "Mul"])), made, rest)
    x = b.add("Softmax", x, axis=1) if draw(st.booleans()) else x
    return b.model((1, "S", channels), [b.add("Transpose", x, perm=[0, 2, 1])]).SerializeToString()


@pytest.mark.parametrize("name", ["onnxruntime", "pytorch"])
@given(model=networks(), size=st.integers(1, 9))
def test_random_networks(name: str, model: bytes, size: int) -> None:
    (peer,) = (peer for peer in PEERS if peer.opener == name)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        assert_equal(peer, path, size, Path(folder))


def test_what_is_not_written_is_named(tmp_path: Path) -> None:
    b = Builder()
    path = tmp_path / "model.onnx"
    path.write_bytes(b.model((1, "S", 4), [b.add("Sin", "x")]).SerializeToString())
    for peer in PEERS:
        if peer.installed and peer.writer:
            with pytest.raises(NotWritten, match="node 'Sin0' \\(Sin\\) is not written for this peer"):
                peer.file(path, batch_graph(path), 8, tmp_path)


def test_caches_stand_behind_inputs_and_outputs_in_one_order() -> None:
    graph = stateless(pulsify(batch_graph(MODEL.with_suffix(".onnx")), 8))
    (x, *before), (y, *after) = graph.inputs, graph.outputs
    assert (x, y) == ("features", "posteriors")
    assert [name.removesuffix(".before") for name in before] == [name.removesuffix(".after") for name in after]
    assert not {node.op for node in graph.nodes} & {"Delay", "Skip"}


def test_a_memory_that_does_not_start_as_zeros_is_refused(tmp_path: Path) -> None:
    b = Builder()
    pads = b.constant([0, 2, 0, 0, 0, 0])
    y = b.add("Transpose", b.add("Pad", "x", pads, b.constant(7, np.float32)), perm=[0, 2, 1])
    path = tmp_path / "model.onnx"
    path.write_bytes(b.model((1, "S", 4), [b.add("Conv", y, b.floats(4, 4, 3))]).SerializeToString())
    with pytest.raises(NotWritten, match="does not start as zeros"):
        stateless(pulsify(batch_graph(path), 8))
