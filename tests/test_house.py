"""The walls between the rooms, and what a satellite must never load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"daemon", "pulse", "models"}
# What each room may import of the others. Training hears with the satellite's ears and is judged by its decision.
OPEN_DOORS = {
    "pulse": set(),
    "daemon": {"pulse"},
    "models": {
        "pulse",
        "daemon.aggregate",
        "daemon.features",
        "daemon.detector",
        "daemon.recording",
        "daemon.model",
        "daemon.naming",
        "daemon.speaker",
    },
}
FORBIDDEN_ON_A_SATELLITE = ("onnx", "onnxruntime", "scipy", "torch", "models", "soundfile", "amqtt")
FORBIDDEN_ON_A_SATELLITE += ("wyoming", "zeroconf", "pulse.load", "pulse.pulsify", "pulse.peers")
NAMELESS = {"utils", "helpers", "common", "manager", "base", "core", "misc"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py")), ids=str)
def test_rooms_import_only_through_open_doors(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    allowed = OPEN_DOORS[room] | {room}
    for name in imports(path):
        if name.split(".")[0] in ROOMS:
            assert any(name == door or name.startswith(door + ".") for door in allowed), f"{path.name} imports {name}"


@pytest.mark.parametrize("module", ["daemon.cli", "daemon.satellite", "pulse"])
def test_a_satellite_loads_nothing_that_training_needs(module: str) -> None:
    check = f"import sys, {module}; print([m for m in {FORBIDDEN_ON_A_SATELLITE} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_no_room_for_things_without_a_name() -> None:
    assert not {p.stem for room in ROOMS for p in (ROOT / room).rglob("*.py")} & NAMELESS
