"""What many tests need: a broker and a microphone, each its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mosquitto import Mosquitto
from tests.virtual_microphone import VirtualMicrophone, virtual_microphone


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that lets anybody in."""
    with Mosquitto(tmp_path) as running:
        yield running


@pytest.fixture
def microphone(tmp_path: Path) -> Iterator[VirtualMicrophone]:
    """A microphone that hears what is played into it."""
    with virtual_microphone(tmp_path) as running:
        yield running
