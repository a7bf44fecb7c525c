"""`wakepulse-compile`: one line when something is wrong, every stage on request."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pulse import explain
from pulse.cli import STAGES, main
from pulse.declutter import declutter
from pulse.explain import dot
from pulse.infer import infer
from pulse.load import load
from pulse.plan import Plan
from pulse.pulsify import pulsify
from tests.graphs import Builder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    b = Builder()
    y = b.add("Dropout", b.add("Conv", "x", b.floats(4, 3, 3), b.floats(4)))
    path = tmp_path / "model.onnx"
    path.write_bytes(b.model((1, 3, "S"), [b.add("Relu", y)]).SerializeToString())
    return path


def test_a_model_becomes_a_plan_file(model: Path, tmp_path: Path) -> None:
    assert main([str(model), "-o", str(tmp_path / "model.plan"), "--pulse", "5"]) == 0
    assert Plan.load(tmp_path / "model.plan").pulse == 5


@pytest.mark.parametrize(
    ("stage", "line"),
    [
        ("load", "Dropout 'Dropout1': y0 -> y1"),
        ("infer", "Relu 'Relu2': y1 -> y2: float32 (1, 4, S-2) @2"),
        ("declutter", "# node 'Dropout1' (Dropout) does nothing"),
        ("pulsify", "Delay 'x.late0+2': x, extra=0, overlap=2, value=0.0 -> x.late0+2: float32 (1, 3, 10) @2"),
        ("lower", "   0 state[0](1, 3, 10) = Delay(arena[0](1, 3, 8))  # x.late0+2"),
    ],
)
def test_every_stage_can_be_seen(stage: str, line: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage in STAGES
    assert main([str(model), "--show", stage]) == 0
    assert line in capsys.readouterr().out.splitlines()


def test_the_summary_counts(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(model), "--summary"]) == 0
    rows = dict(line.split(None, 1) for line in capsys.readouterr().out.replace("MACs per item", "MACs").splitlines())
    assert rows["parameters"] == "40"
    assert rows["MACs"] == "36"
    assert rows["delay"] == "2 items"
    assert rows["state"] == "120 bytes"


def test_the_summary_tells_time_where_the_rate_is_given(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(model), "--summary", "--rate", "100"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["MACs per second  3600", "delay in time    20 ms"]
    for rate in ("0", "inf", "fast"):
        with pytest.raises(SystemExit):
            main([str(model), "--summary", "--rate", rate])
        assert f"a number above 0, not '{rate}'" in capsys.readouterr().err


def test_every_node_is_explained(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(model), "--explain"]) == 0
    rows = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    cells = [[cell.strip() for cell in row if cell] for row in rows]
    assert cells[0] == ["node", "op", "shape", "time", "rate", "delay", "field"]
    assert cells[1] == ["x", "input", "(1, 3, 8)", "axis 2", "1", "0", "1"]
    assert cells[-1] == ["Relu2", "Relu", "(1, 4, 8)", "axis 2", "1", "2", "3"]


def test_a_profile_has_every_step_and_every_kernel(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(model), "--profile"]) == 0
    steps, kernels = (part.splitlines() for part in capsys.readouterr().out.split("\n\n"))
    assert [line.split()[1] for line in steps] == ["kernel", "Delay", "Conv"]
    assert {line.split()[0] for line in kernels} == {"kernel", "Delay", "Conv", "all"}
    assert kernels[-1].split()[-2] == str(8 * 4 * 9)


def test_a_picture_needs_graphviz(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([str(model), "--svg", str(tmp_path / "model.svg")]) == 1
    assert "needs the program `dot`, which is not installed; it is part of graphviz" in capsys.readouterr().err


def test_a_picture_has_delays_on_its_arrows(model: Path) -> None:
    text = dot(pulsify(declutter(infer(load(model))), 8))
    assert '"Conv0" -> "y2 >" [label="(1, 4, 8) Δ2"]' not in text
    assert '"> x" -> "x.late0+2" [label="(1, 3, 8) Δ0"]' in text
    assert '"Relu2" -> "y2 >" [label="(1, 4, 8) Δ2"]' in text


def test_a_picture_is_drawn(model: Path, tmp_path: Path) -> None:
    assert main([str(model), "--svg", str(tmp_path / "model.svg")]) == 0
    assert "</svg>" in (tmp_path / "model.svg").read_text("utf-8")


def test_nothing_to_do_is_said(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(model)])
    assert "nothing to do" in capsys.readouterr().err


def test_a_plan_file_can_be_summed_up(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(model), "-o", str(tmp_path / "model.plan")])
    assert main([str(tmp_path / "model.plan"), "--summary"]) == 0
    assert "receptive field  3 items" in capsys.readouterr().out


def test_a_plan_is_not_compiled_again(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(model), "-o", str(tmp_path / "model.plan")])
    assert main([str(tmp_path / "model.plan"), "--explain"]) == 1
    assert "model.plan is a plan, compiled already" in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--pulse", "4"), ("--window", "16"), ("--stream", "x:1")])
def test_what_a_plan_cannot_follow_any_more_is_refused(
    option: tuple[str, str], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(model), "-o", str(tmp_path / "model.plan")])
    with pytest.raises(SystemExit):
        main([str(tmp_path / "model.plan"), "--summary", *option])
    assert f"{option[0]} is for an .onnx file; model.plan is a plan" in capsys.readouterr().err


def test_a_window_is_a_number_or_runs(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(model), "--summary", "--window", "all"])
    assert "a window is a number of items, or 'running', not 'all'" in capsys.readouterr().err


def test_a_picture_that_takes_too_long_is_given_up(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dot").write_text("#!/bin/sh\nexec /bin/sleep 9\n")
    (tmp_path / "dot").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(explain, "_PATIENCE_S", 0.1)
    assert main([str(model), "--svg", str(tmp_path / "model.svg")]) == 1
    assert "within 0.1 s; --explain lists them instead" in capsys.readouterr().err


def test_whoever_reads_may_stop(model: Path) -> None:
    command = [sys.executable, "-m", "pulse.cli", str(model), "--explain"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.onnx", "--summary"], "cannot read gone.onnx: No such file or directory"),
        (["MODEL", "--summary", "--pulse", "0"], "a pulse of 0 items is impossible"),
        (["MODEL", "-o", "MODEL"], "that is the name of a model; a plan ends in .plan"),
        (["MODEL", "-o", "/nowhere/model.plan"], "cannot write /nowhere/model.plan: No such file or directory"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str], message: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([argument.replace("MODEL", str(model)) for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("wakepulse-compile: ") and message in error and error.count("\n") == 1
