"""The node tests of the ONNX project: all that are of ops that stream pass, and of the others none comes out wrong."""

from __future__ import annotations

import pytest

from tests.coverage_onnx import main

AT_LEAST = 812  # cases of 815; three have a loop in them


def test_all_cases_of_what_streams_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    streams, everything = (line.split() for line in capsys.readouterr().out.splitlines()[-2:])
    assert streams[:3] == ["those", "that", "stream"] and streams[3] == streams[5]
    assert everything[0] == "all" and int(everything[1]) >= AT_LEAST
