"""What the doctor says of good and bad microphones, models, brokers and machines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from daemon import cli, machine
from daemon.config import AudioConfig, MqttConfig
from daemon.doctor import broker, findings, heard_as, model, output, privacy, speed
from daemon.features import SAMPLE_RATE
from daemon.finding import Finding
from daemon.level import SILENT_DB, measure
from daemon.settings import Kept, SettingsFile, beside
from daemon.words import Setting
from tests.mosquitto import Mosquitto
from tests.shipped import MODEL, ROOT, listener
from tests.test_config import accepted
from tests.virtual_microphone import VirtualMicrophone


def tone(level_db: float, seconds: float = 1.0) -> np.ndarray:
    """A sine whose peak is this far below the loudest that there is."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.clip(32768 * 10 ** (level_db / 20) * np.sin(2 * np.pi * 440 * time), -32768, 32767).astype(np.int16)


def states(found: list[Finding]) -> dict[str, str]:
    return {finding.name: finding.state for finding in found}


@pytest.mark.parametrize("level_db", [-6.0, -30.0, -50.0])
def test_the_level_of_a_tone_is_its_own(level_db: float) -> None:
    level = measure(tone(level_db))
    assert level.peak_db == pytest.approx(level_db, abs=0.2)
    assert level.mean_db == pytest.approx(level_db - 3, abs=0.2)
    assert not level.clipped and not level.dead


def test_the_floor_is_that_of_the_quiet_tenth() -> None:
    level = measure(np.concatenate([tone(-50, 2), tone(-10, 8)]))
    assert level.floor_db == pytest.approx(-53, abs=0.5)


def test_a_constant_is_no_sound() -> None:
    level = measure(tone(-40) + np.int16(4000))
    assert level.peak_db == pytest.approx(-40, abs=0.5)
    assert measure(np.full(SAMPLE_RATE, 7, np.int16)).dead
    assert measure(np.zeros(SAMPLE_RATE, np.int16)).peak_db == SILENT_DB


@pytest.mark.parametrize(
    ("samples", "wanted"),
    [
        (np.zeros(SAMPLE_RATE, np.int16), {"level": "failure"}),
        (np.concatenate([tone(-70), tone(-10)]), {"level": "ok", "noise floor": "ok"}),
        (np.concatenate([tone(-70), tone(6)]), {"level": "warning", "noise floor": "ok"}),
        (tone(-70), {"level": "warning", "noise floor": "ok"}),
        (tone(-20), {"level": "ok", "noise floor": "warning"}),
    ],
    ids=["dead", "good", "clipped", "quiet", "noisy"],
)
def test_what_is_said_of_a_microphone(samples: np.ndarray, wanted: dict[str, str]) -> None:
    found = list(heard_as(measure(samples)))
    assert states(found) == wanted
    assert all(bool(finding.advice) == (finding.state != "ok") for finding in found)


def test_a_model_is_proved_and_timed(tmp_path: Path) -> None:
    config = accepted(tmp_path, f"wake: {{model: {MODEL}}}\n")
    assert states(list(model(config, Kept()))) == {"model": "ok", "speed": "ok"}
    (tmp_path / "broken.plan").write_bytes(MODEL.read_bytes()[:-4096])
    (found,) = model(accepted(tmp_path, "wake: {model: broken.plan}\n"), Kept())
    assert (found.state, "broken.plan" in found.text) == ("failure", True)


def test_a_satellite_that_hears_nobody_is_told_apart_from_one_that_hears(tmp_path: Path) -> None:
    path = tmp_path / "satellite.yaml"
    words = "wake: {words: {jarvis: {enabled: false}, computer: {threshold: 0.7}}}\n"
    path.write_text(f"audio: {{source: stdin, muted: true}}\nmqtt: {{embedded: true}}\n{words}")
    assert {f.name: f.text for f in findings(path)}["mute"].startswith("muted (by audio.muted)")
    kept = {"alexa": Setting(enabled=False), "jarvis": Setting(0.4), "computer": Setting(enabled=True)}
    for muted in (True, False):
        file = SettingsFile(beside(path))
        file.write(Kept(words=kept, muted=muted))
        file.close()
        found = {finding.name: finding for finding in findings(path)}
        assert ("mute" in found) == muted
        assert found["words"].text == "off: alexa (set while it ran), jarvis (by wake.words)"
    assert "jarvis" not in found["model"].text


def test_a_sound_output_that_is_not_there_is_a_failure() -> None:
    assert list(output(AudioConfig())) == []
    (found,) = output(AudioConfig(output="no such card"))
    assert (found.name, found.state) == ("output", "failure")
    assert "no such card" in found.text


def test_a_sound_output_is_named(tmp_path: Path, microphone: VirtualMicrophone) -> None:
    script = "from daemon.config import AudioConfig; from daemon.doctor import output; "
    script += "print([one.state for one in output(AudioConfig(output='pulse'))])"
    ended = subprocess.run([sys.executable, "-c", script], env=microphone.environment, cwd=ROOT, capture_output=True)
    assert ended.stdout == b"['ok']\n", ended.stderr


def test_a_pulse_takes_some_time() -> None:
    found = speed(listener())
    assert float(found.text.split()[0]) > 0
    assert "of the 80 ms" in found.text


def test_a_broker_that_takes_the_satellite(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, password=("me", "secret")) as server:
        for password, state in (("secret", "ok"), ("wrong", "failure")):
            login = f"mqtt: {{host: 127.0.0.1, port: {server.port}, username: me, password: {password}}}\n"
            assert states(list(broker(accepted(tmp_path, login)))) == {"broker": state, "tls": "ok"}


def test_a_password_in_the_clear_is_warned_of() -> None:
    assert privacy(MqttConfig(host="broker.local", username="me")).state == "warning"
    assert privacy(MqttConfig(host="broker.local")).state == "ok"
    assert privacy(MqttConfig(host="localhost", username="me")).state == "ok"


@pytest.mark.parametrize(
    ("throttled", "celsius", "state"),
    [(None, 0, "ok"), (0, 50, "ok"), (0x1, 50, "failure"), (0x50000, 50, "warning"), (0, 85, "failure")],
)
def test_power_and_heat(throttled: int | None, celsius: float, state: str) -> None:
    assert machine.power(throttled, celsius).state == state


def test_everything_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "satellite.yaml"
    path.write_text("audio: {source: stdin}\nmqtt: {embedded: true}\n")
    assert cli.main(["doctor", "--json", "--config", str(path)]) == 0
    found = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}
    machines = ["clock", "disk", "memory", "permissions", "throttling"]
    assert [*found] == ["configuration", "microphone", "model", "speed", "kernels", "broker", *machines]
    assert set(found["clock"]) == {"name", "state", "text", "advice"}


def test_what_is_missing_is_a_failure_that_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--config", str(tmp_path / "none.yaml")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("failure") and "none.yaml" in lines[0]
    assert "wakepulse setup" in lines[1]


def test_a_fault_in_the_configuration_does_not_hide_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "satellite.yaml"
    path.write_text("nonsense: 1\n")
    found = states(list(findings(path)))
    assert (found["configuration"], found["model"]) == ("failure", "ok")
