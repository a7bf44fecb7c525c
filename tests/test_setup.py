"""`wakepulse setup`, answered by lines, with a microphone and a broker; and what becomes of what was set before."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from daemon import setup
from daemon.config import MqttConfig, load
from daemon.setup import NotSetUp, ask, bar, merged
from daemon.store import keep, place, stored
from tests.mosquitto import Mosquitto
from tests.shipped import ROOT
from tests.virtual_microphone import VirtualMicrophone, virtual_microphone

LIMIT_S = 120


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualMicrophone]:
    with virtual_microphone(tmp_path_factory.mktemp("microphone")) as running:
        yield running


def answered(path: Path, microphone: VirtualMicrophone, *answers: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daemon.cli", "setup", "--config", str(path)]
    text = "".join(f"{answer}\n" for answer in answers)
    options = {"cwd": ROOT, "env": microphone.environment, "capture_output": True, "text": True, "timeout": LIMIT_S}
    return subprocess.run(command, input=text, **options)


def number_of(name: str, microphone: VirtualMicrophone) -> str:
    """Which number the question gives to a device."""
    command = [sys.executable, "-m", "daemon.cli", "devices"]
    lines = subprocess.run(command, cwd=ROOT, env=microphone.environment, capture_output=True, text=True).stdout
    return str(next(n for n, line in enumerate(lines.splitlines(), 1) if line.startswith(name)))


def test_answers_become_a_configuration_that_works(tmp_path: Path, microphone: VirtualMicrophone) -> None:
    path = tmp_path / "satellite.yaml"
    path.write_text("# by hand\nsite_id: attic\nwake: {refractory_s: 2.0, words: {jarvis: {threshold: 0.9}}}\n")
    device = number_of("pulse", microphone)
    with Mosquitto(tmp_path, password=("me", "secret")) as broker:
        answers = ["kitchen", device, "y", "127.0.0.1", "x", str(broker.port), "me", "secret", "jarvis, snowboy"]
        done = answered(path, microphone, *answers)
    config = load(path)
    assert (config.site_id, config.audio.device) == ("kitchen", "pulse")
    assert (config.mqtt.host, config.mqtt.port, config.mqtt.secret()) == ("127.0.0.1", broker.port, "secret")
    assert (config.wake.refractory_s, config.wake.words["jarvis"].threshold) == (2.0, 0.9)
    assert {name for name, word in config.wake.words.items() if not word.enabled} == {
        *("alexa", "computer", "smart_mirror", "view_glass")
    }
    assert "a port is a number" in done.stdout
    assert "takes this satellite" in done.stdout, done.stdout + done.stderr
    assert "dB at the loudest" in done.stdout
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0
    # The sound server is silent, and silence is what a dead microphone says.
    assert (done.returncode, "the microphone delivers nothing" in done.stdout) == (1, True)


def test_whoever_gives_up_changes_nothing(tmp_path: Path, microphone: VirtualMicrophone) -> None:
    path = tmp_path / "satellite.yaml"
    path.write_text("site_id: attic\n")
    done = answered(path, microphone, "kitchen")
    assert (done.returncode, path.read_text(), os.listdir(tmp_path)) == (1, "site_id: attic\n", ["satellite.yaml"])
    assert done.stderr == "wakepulse: no answer; nothing was changed\n"


def test_a_question_is_asked_until_its_answer_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["x", "", "7"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    assert ask("Number", "none", lambda answer: "" if answer.isdecimal() else "no number") == "7"
    monkeypatch.setattr("builtins.input", lambda prompt: "x")
    with pytest.raises(NotSetUp):
        ask("Number", "none", lambda answer: "never")


def test_what_was_not_asked_stays() -> None:
    made = merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}, "e": {"f": 5}})
    assert made == {"a": {"b": 4, "c": 2}, "d": 3, "e": {"f": 5}}


@pytest.mark.parametrize(("level_db", "length"), [(-120.0, 0), (-60.0, 0), (-30.0, 20), (0.0, 40), (3.0, 40)])
def test_the_bar_is_as_long_as_the_sound_is_loud(level_db: float, length: int) -> None:
    assert bar(level_db) == "#" * length + "." * (40 - length)


def test_the_password_of_the_service_is_kept_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup.service, "CONFIG", tmp_path / "etc" / "satellite.yaml")
    monkeypatch.setattr(setup.store, "STORE", tmp_path / "store")
    monkeypatch.setattr(setup.shutil, "chown", lambda *arguments, **options: None)  # there is no such group here
    setup._write(setup.service.CONFIG, {"mqtt": {"username": "me", "password": "secret"}})
    kept = place("mqtt_password", tmp_path / "store")
    assert (kept.read_text(), stat.S_IMODE(kept.stat().st_mode)) == ("secret", 0o600)
    assert yaml.safe_load(setup.service.CONFIG.read_text()) == {"mqtt": {"username": "me", "password": None}}


def test_a_credential_is_found_again(tmp_path: Path) -> None:
    keep("mqtt_password", "secret", tmp_path)
    keep("mqtt_password", "newer", tmp_path)
    assert stored(MqttConfig(username="me"), tmp_path).password == "newer"
    assert stored(MqttConfig(username="me", password="own"), tmp_path).password == "own"
    assert stored(MqttConfig(username="me"), tmp_path / "none").password is None
