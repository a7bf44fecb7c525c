"""What a network is calibrated with: read from a file that anybody may have written, and fitted to its inputs."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import pulse
from pulse import LoadError
from pulse.calibrate import lower_to_int8, pulses, read
from pulse.cli import main
from pulse.declutter import declutter
from pulse.infer import infer
from pulse.pulsify import pulsify
from tests.graphs import Builder, batch_graph
from tests.test_quantize import layers, noise, pulsed, streamed


def written(path: Path, **arrays: Any) -> Path:
    np.savez(path / "heard.npz", **arrays)
    return path / "heard.npz"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(written(tmp_path, x=noise(8)))["x"], noise(8))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "cannot be read as an .npz file"),
        (b"<html>", "cannot be read as an .npz file"),
        (b"PK\x03\x04" + bytes(40), "cannot be read as an .npz file"),
    ],
)
def test_no_npz_file_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "heard.npz"
    path.write_bytes(content)
    with pytest.raises(LoadError, match=why):
        read(path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "heard.npz"
    np.savez_compressed(path, x=noise(8))
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF  # among the first codes of what is compressed
    path.write_bytes(content)
    with pytest.raises(LoadError, match=r"cannot be read as an \.npz file \(Error -3 while decompressing"):
        read(path)


def test_a_header_that_python_cannot_read_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "heard.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00\x04\x00((((")
    with pytest.raises(LoadError, match="cannot be read as an"):
        read(tmp_path / "heard.npz")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="No such file"):
        read(tmp_path / "heard.npz")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no array of numbers"):
        read(written(tmp_path, x=np.array([{"a": 1}], object)))


def test_an_array_that_claims_more_than_there_is_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 8, 1000000000), }".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "heard.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64))
    with pytest.raises(LoadError, match="no array of numbers"):
        read(tmp_path / "heard.npz")


def test_more_than_anybody_needs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulse.calibrate.MAX_BYTES", 1000)
    with pytest.raises(LoadError, match="more than 1000 bytes"):
        read(written(tmp_path, x=noise(8)))


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"y": noise(8)}, "no array 'x'"),
        ({"x": noise(7)}, r"takes float32 \(1, 8, 4\), or more along axis 2"),
        ({"x": noise(8)[0]}, "takes float32"),
        ({"x": noise(8).astype(np.float64)}, "is float64"),
        ({"x": noise(8, 3)}, "not even one pulse of 4 items"),
        ({"x": np.full((1, 8, 8), np.nan, np.float32)}, "no finite number"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(arrays: dict[str, Any], why: str) -> None:
    b, channels, y = layers()
    with pytest.raises(LoadError, match=f"^calibrate: .*{why}"):
        lower_to_int8(pulsed(b, channels, [y]), arrays)


def test_what_has_no_time_is_given_once() -> None:
    b = Builder()
    model = b.model((1, 8, "S"), [b.add("Mul", b.add("Conv", "x", b.floats(4, 8, 3)), "louder")])
    model.graph.input.append(helper.make_tensor_value_info("louder", TensorProto.FLOAT, []))
    graph = pulsify(declutter(infer(batch_graph(model))), 4)
    heard = pulses(graph, {"x": noise(8), "louder": np.array(2, np.float32)}, 4)
    assert [louder for _, louder in heard] == [2] * 16
    np.testing.assert_array_equal(np.concatenate([x for x, _ in heard], 2), noise(8))


# --- the command --------------------------------------------------------------------------------------------------


def test_the_command_writes_a_plan_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    b, channels, y = layers()
    model, heard, out = tmp_path / "net.onnx", written(tmp_path, x=noise(8)), tmp_path / "net.plan"
    model.write_bytes(b.model((1, channels, "S"), [y]).SerializeToString())
    assert main([str(model), "--int8", str(heard), "--pulse", "4", "-o", str(out), "--quant-report", "--summary"]) == 0
    said = capsys.readouterr().out
    assert "SQNR" in said
    assert "MACs per item" in said
    plan = pulse.Plan.load(out)
    assert {slot.kind for slot in plan.slots} > {"int8", "int32"}
    same = pulse.compile(model, 4, int8=heard)
    np.testing.assert_array_equal(streamed(same, noise(8))[0], streamed(plan, noise(8))[0])


def test_a_report_without_integers_is_no_wish(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["net.onnx", "--quant-report"])
    assert "--quant-report is about --int8" in capsys.readouterr().err
