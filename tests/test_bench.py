"""`wakepulse bench`: its table and its JSON; the times themselves are for people."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from daemon import cli
from daemon.bench import bench
from daemon.counters import Instructions
from daemon.report import report
from pulse.peers import PEERS
from tests.graphs import Builder
from tests.shipped import MODEL

COSTS = ("median_us", "p99_us", "open_ms", "open_mb")
TASK_CLOCK = 1, 1  # a count that Linux keeps by itself


def model(path: Path, op: str) -> Path:
    b = Builder()
    y = b.add(op, b.add("Conv", b.add("Transpose", "x", perm=[0, 2, 1]), b.floats(4, 4, 3)))
    made = b.model((1, "S", 4), [b.add("Transpose", y, perm=[0, 2, 1])])
    path.write_bytes(made.SerializeToString())
    return path


def test_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--json", "--pulses", "30"]) == 0
    found = json.loads(capsys.readouterr().out)
    *own, streams, integers, features, everything = found["rows"]
    fastest = min(own, key=lambda row: row["median_us"])
    assert [row["name"] for row in (features, everything)] == ["features", "all: samples to detections"]
    assert all(row[key] > 0 for row in found["rows"] for key in COSTS)
    assert fastest["p99_us"] >= fastest["median_us"]
    assert (fastest["ratio"], own[0]["difference"]) == (1, 0)
    assert all(row["difference"] < 1e-5 for row in (*own, streams))
    assert 1e-5 < integers["difference"] < 0.2
    assert streams["median_us"] == pytest.approx(streams["ratio"] * fastest["median_us"])
    assert everything["ratio"] is everything["difference"] is None
    assert everything["median_us"] > fastest["median_us"]
    assert found["limit_us"] == pytest.approx(found["macs"] / found["peak"]["macs_per_s"] * 1e6)
    assert fastest["median_us"] == pytest.approx(found["limit_ratio"] * found["limit_us"])
    assert found["macs"] == 1_786_624
    assert 20 < found["resident_mb"] < 500
    assert found["left_out"] == {}


def test_peers_agree_with_onnxruntime_on_the_whole_recording() -> None:
    found = bench(MODEL, peers=True, count=20)
    names = [row["name"] for row in found["rows"]]
    assert {peer.name for peer in PEERS if peer.opener in ("onnxruntime", "pytorch")} <= set(names)
    assert {peer.name for peer in PEERS} == set(names) & {peer.name for peer in PEERS} | set(found["left_out"])
    assert found["compared_with"] == "onnxruntime on the whole recording"
    networks = [row for row in found["rows"] if row["difference"] is not None]
    assert len(networks) == len(names) - 2
    networks = [row for row in networks if not row["name"].endswith("int8")]
    assert all(0 < row["difference"] < 1e-4 and row["ratio"] > 0 for row in networks)


def test_a_network_that_no_peer_knows(tmp_path: Path) -> None:
    """The table says what was left out and why, and has no column without a number."""
    found = bench(model(tmp_path / "sine.onnx", "Sin"), peers=True, count=20)
    assert found["left_out"][PEERS[0].name] == "node 'Sin2' (Sin) is not written for this peer"
    assert found["left_out"]["features"] == "the network is of no wake word"
    assert found["resident_mb"] is None
    lines = report(found).splitlines()
    head = next(line for line in lines if "median" in line)
    assert ("instructions" in head) == (not found["instructions_refused"])
    cells = next(line for line in lines if line.startswith("wakepulse, numpy")).split()
    assert cells[2] == f"{found['rows'][0]['median_us']:.1f}"
    assert f"left out: {PEERS[0].name}: node 'Sin2' (Sin) is not written for this peer" in lines


@pytest.mark.parametrize("arguments", [["nowhere.plan"], ["nowhere.onnx"]])
def test_a_file_that_is_not_there(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", *arguments]) == 78
    (line,) = capsys.readouterr().err.splitlines()
    assert "nowhere" in line


def test_a_network_of_several_inputs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    b = Builder()
    path = tmp_path / "two.onnx"
    path.write_bytes(b.model((1, 4, "S"), [b.add("Sin", "x"), b.add("Cos", "x")]).SerializeToString())
    assert cli.main(["bench", str(path)]) == 78
    assert "does not have one input and one output of float32" in capsys.readouterr().err


@pytest.mark.parametrize("pulses", ["0", "many", "-3", "9999999"])
def test_pulses_are_a_number(pulses: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["bench", "--pulses", pulses])
    assert "pulses are a number from 1 to" in capsys.readouterr().err


def test_a_count_grows_with_what_is_done() -> None:
    counter = Instructions.of_this_process(*TASK_CLOCK)
    if counter.why_not:
        pytest.skip(counter.why_not)
    np.sort(np.arange(100_000))
    first = counter.read()
    np.sort(np.arange(100_000))
    assert 0 < first < counter.read()
