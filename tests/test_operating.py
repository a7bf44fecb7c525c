"""What a threshold is expected to cost is said where it was measured, and nowhere else."""

import json
import logging
from dataclasses import asdict
from pathlib import Path

import pytest

from daemon import cli, operating
from daemon.model import ModelError, WakeModel
from daemon.operating import OperatingPoint
from tests.test_cli import altered

POINTS = (
    OperatingPoint(0.2, 4.0, 0.01, 2.5, "a corpus"),
    OperatingPoint(0.6, 2.0, 0.03, 2.5, "a corpus"),
    OperatingPoint(0.9, 0.0, 0.25, 2.5, "a corpus"),
)


def held(points: tuple[OperatingPoint, ...]) -> str:
    return json.dumps({"computer": [asdict(point) for point in points]})


def test_points_are_read_in_their_order() -> None:
    assert operating.read(held(POINTS[::-1])) == {"computer": POINTS}


@pytest.mark.parametrize(
    ("threshold", "said"),
    [
        (0.6, "about 2 false wakes per hour, 3 % misses, measured on 2.5 h of a corpus"),
        (0.5, "about 2.5 false wakes per hour, 2.5 % misses, measured on 2.5 h of a corpus"),
        (0.9, "fewer than 1.2 false wakes per hour, 25 % misses, measured on 2.5 h of a corpus"),
        (0.1, None),
        (0.95, None),
    ],
)
def test_the_cost_of_a_threshold_is_one_sentence(threshold: float, said: str | None) -> None:
    assert operating.expected(POINTS, threshold) == said


def test_run_and_check_say_what_is_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = altered(tmp_path, operating_points=held(POINTS))
    wav = Path(cli.__file__).parent.parent / "config" / "demo.wav"
    (tmp_path / "c.yaml").write_text(
        f"wake: {{model: {path}, words: {{computer: {{threshold: 0.9}}, alexa: {{threshold: 0.9}}}}}}\n"
        f"audio: {{source: file, file: {wav}, realtime: false}}\nmqtt: {{host: 127.0.0.1, port: 1}}\n"
    )
    cost = "fewer than 1.2 false wakes per hour, 25 % misses, measured on 2.5 h of a corpus"
    assert cli.main(["check", "--config", str(tmp_path / "c.yaml")]) == 0
    assert f"\n  {cost}\n" in capsys.readouterr().out
    with caplog.at_level(logging.INFO):
        assert cli.main(["run", "--config", str(tmp_path / "c.yaml")]) == 0
    assert [line for line in caplog.messages if "false wakes" in line] == [f"computer, threshold 0.9: {cost}"]


def test_a_model_that_does_not_say_is_silent(tmp_path: Path) -> None:
    model = WakeModel.load(altered(tmp_path, operating_points="{}"))
    assert model.expected("computer", 0.5) is None


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "?",
        "[" * 100_000,
        '{"computer": [{}]}',
        held(POINTS).replace("0.25", "2.5"),
        held(POINTS).replace("2.5", "0"),
    ],
)
def test_points_that_cannot_be_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelError, match="operating_points"):
        WakeModel.load(altered(tmp_path, operating_points=text))
