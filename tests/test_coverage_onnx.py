"""The node tests of the ONNX project: nothing comes out wrong, and what passes goes on passing."""

from __future__ import annotations

import pytest

from tests.coverage_onnx import main

AT_LEAST = 760  # cases of 785; all others are refused


def test_no_case_comes_out_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    last = capsys.readouterr().out.splitlines()[-1].split()
    assert last[0] == "all" and int(last[1]) >= AT_LEAST
