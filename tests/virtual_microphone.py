"""A microphone without hardware: a sound server of our own, and what is played to it is what a recorder hears.

The server is a private PulseAudio on a private socket; PortAudio reaches it through ALSA's `pulse` device, which the
plug-in package defines and which looks for the server in the environment. Only processes that get `environment` see it.
"""

from __future__ import annotations

import os
import subprocess
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.features import SAMPLE_RATE
from daemon.recording import read

SINK = "room"
LEAD = SAMPLE_RATE // 2  # samples of silence around what is played: the server may lose the very first ones
START_S = 20.0
STOP_S = 10.0


@dataclass(frozen=True)
class VirtualMicrophone:
    """`environment` is that of a process that should hear it, as PortAudio's device "pulse"."""

    folder: Path
    environment: dict[str, str]
    server: subprocess.Popen[bytes]

    def unplug(self) -> None:
        """The device goes away, for good."""
        self.server.terminate()
        self.server.wait(timeout=STOP_S)

    def play(self, sound: NDArray[np.int16] | Path) -> None:
        """Let the microphone hear 16 kHz mono samples or a recording; returns when they have been played."""
        samples = read(sound) if isinstance(sound, Path) else sound
        path = self.folder / "played.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
            file.writeframes(np.pad(samples, LEAD).astype("<i2").tobytes())
        command = ["paplay", f"--device={SINK}", str(path)]
        subprocess.run(command, env=self.environment, check=True, timeout=len(samples) / SAMPLE_RATE + START_S)


@contextmanager
def virtual_microphone(folder: Path) -> Iterator[VirtualMicrophone]:
    """Run the sound server until the block ends; everything it writes goes to `folder`."""
    socket = folder / "pulse.socket"
    environment = {
        **os.environ,
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "PULSE_SERVER": f"unix:{socket}",
        "PULSE_COOKIE": str(folder / "cookie"),
    }
    with (folder / "pulse.log").open("wb") as log:
        server = subprocess.Popen(_server(socket), env=environment, stderr=log)
    try:
        _wait(server, environment, folder)
        yield VirtualMicrophone(folder, environment, server)
    finally:
        server.terminate()
        server.wait(timeout=STOP_S)


def _server(socket: Path) -> list[str]:
    modules = [
        f"module-native-protocol-unix auth-anonymous=1 socket={socket}",
        f"module-null-sink sink_name={SINK} rate={SAMPLE_RATE} channels=1 channel_map=mono",
    ]
    options = ["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--system=no", "--disable-shm=yes"]
    return ["pulseaudio", *options, *(f"--load={module}" for module in modules)]


def _wait(server: subprocess.Popen[bytes], environment: dict[str, str], folder: Path) -> None:
    """Until the server answers, with the sink's monitor as its default source."""
    deadline = time.monotonic() + START_S
    command = ["pactl", "set-default-source", f"{SINK}.monitor"]
    while subprocess.run(command, env=environment, capture_output=True, timeout=START_S).returncode:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the sound server does not start:\n{(folder / 'pulse.log').read_text()}")
