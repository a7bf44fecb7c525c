"""The service manager understands the unit, and the unit what the satellite tells it."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

from daemon import cli, service

UNIT = Path(__file__).resolve().parent.parent / "systemd" / "wakepulse.service"
MAX_EXPOSURE = 1.5  # of 10, as systemd rates what a service could do to its machine


def verify(tmp_path: Path, text: str) -> str:
    """What systemd has to say about the unit, with a program that exists here."""
    program = text.split("ExecStart=")[1].split()[0]
    path = tmp_path / UNIT.name
    path.write_text(text.replace(program, sys.executable))
    result = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, timeout=60)
    return result.stdout + result.stderr


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    assert verify(tmp_path, UNIT.read_text("utf-8")) == ""


@pytest.mark.parametrize(("right", "wrong"), [("WatchdogSec=30", "WatchdogSec=x"), ("RestartSec", "RestrtSec")])
def test_systemd_would_find_a_fault(tmp_path: Path, right: str, wrong: str) -> None:
    assert UNIT.name in verify(tmp_path, UNIT.read_text("utf-8").replace(right, wrong))


def test_the_service_can_do_little_to_its_machine() -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MAX_EXPOSURE * 10:g}", str(UNIT)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout


def test_systemd_can_make_its_user() -> None:
    command = ["systemd-sysusers", "--dry-run", "--inline", *lines("sysusers.conf")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.returncode, "wakepulse" in result.stderr + result.stdout) == (0, True)


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that says yes to everything, and the file in which it notes what it was asked."""
    asked = tmp_path / "asked"
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$1" >> {asked}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(service, "SYSTEMD", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return asked


def test_the_microphone_is_given_back_to_the_service(systemctl: Path) -> None:
    with pytest.raises(KeyboardInterrupt), service.set_aside():
        raise KeyboardInterrupt
    service.reload()
    done = [verb for verb in systemctl.read_text().split() if verb in ("stop", "start", "reload")]
    assert done == ["stop", "start", "reload"]


def lines(name: str) -> list[str]:
    return [line for line in UNIT.with_name(name).read_text().splitlines() if not line.startswith("#")]


def test_a_bad_configuration_is_not_tried_again() -> None:
    assert unit()["Service"]["RestartPreventExitStatus"] == str(cli.MISCONFIGURED)


def test_the_program_is_the_one_that_is_installed() -> None:
    program, verb, *options = unit()["Service"]["ExecStart"].split()
    assert Path(program).name == "wakepulse"
    assert (verb, options) == ("run", ["--config", "/etc/wakepulse/satellite.yaml"])
