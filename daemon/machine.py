"""What a satellite needs of the machine it runs on: clock, disk, memory, rights, and power that suffices."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from daemon.finding import Finding, failure, ok, warning

MB = 1 << 20
LEAST_DISK_MB, LEAST_MEMORY_MB = 50, 48
HOT_C = 80.0  # from which a Pi slows down
USER, GROUP = "wakepulse", "audio"
# Bits of the Pi's firmware ("vcgencmd get_throttled"): what is the case now; each 16 higher: since the start.
THROTTLING = {0: "too little voltage", 1: "clock held down", 2: "slowed down", 3: "too hot"}
SINCE_START = 16
THROTTLED = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")
TEMPERATURE = Path("/sys/class/thermal/thermal_zone0/temp")


def findings() -> Iterator[Finding]:
    """All of it."""
    yield clock()
    yield disk()
    yield memory()
    yield rights()
    yield power(_hexadecimal(THROTTLED), _number(TEMPERATURE) / 1000)


def clock() -> Finding:
    """Whether the time can be right: messages carry it, and TLS depends on it."""
    newest = max(path.stat().st_mtime for path in (Path(__file__), Path("/etc/machine-id")) if path.exists())
    if time.time() < newest:
        return failure("clock", f"{time.ctime()}, before this was installed", "connect the board to a time server")
    synchronised = _said("timedatectl", "show", "--property=NTPSynchronized", "--value")
    if synchronised == "no":
        return warning("clock", f"{time.ctime()}, from no time server", "run: timedatectl set-ntp true")
    return ok("clock", time.ctime())


def disk() -> Finding:
    """Room for what is remembered and logged."""
    free = shutil.disk_usage("/").free // MB
    if free < LEAST_DISK_MB:
        return warning("disk", f"{free} MB free", "make room; logs: journalctl --vacuum-size=20M")
    return ok("disk", f"{free} MB free")


def memory() -> Finding:
    """Room for one satellite."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) // 1024
    if free < LEAST_MEMORY_MB:
        return warning("memory", f"{free} MB available", "stop what is not needed; a satellite takes some 30 MB")
    return ok("memory", f"{free} MB available")


def rights() -> Finding:
    """Whether the service's user, or the current one if there is none, may use the sound cards."""
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        user = pwd.getpwuid(os.geteuid())
    try:
        audio = grp.getgrnam(GROUP)
    except KeyError:
        return warning("permissions", f"there is no group {GROUP}", "install ALSA: apt install alsa-utils")
    if user.pw_uid == 0 or user.pw_name in audio.gr_mem or user.pw_gid == audio.gr_gid:
        return ok("permissions", f"{user.pw_name} may use the sound cards")
    text = f"{user.pw_name} is not in the group {GROUP}"
    return failure("permissions", text, f"run: usermod -aG {GROUP} {user.pw_name}")


def power(throttled: int | None, celsius: float) -> Finding:
    """What the firmware of a Raspberry Pi says of voltage and heat; others are asked for their temperature alone."""
    heat = f"{celsius:.0f} degrees" if celsius else "temperature unknown"
    bits = throttled or 0
    now = [text for bit, text in THROTTLING.items() if bits >> bit & 1]
    before = [text for bit, text in THROTTLING.items() if bits >> (bit + SINCE_START) & 1]
    if now or celsius > HOT_C:
        text = ", ".join([*now, heat])
        return failure("throttling", text, "use a supply of 5.1 V and 2.5 A, a short cable, and let air to the board")
    if before:
        text = f"not now, but since the start: {', '.join(before)}; {heat}"
        return warning("throttling", text, "a stronger supply or a shorter cable would help")
    return ok("throttling", f"none, {heat}")


def _said(*command: str) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _hexadecimal(path: Path) -> int | None:
    try:
        return int(path.read_text(), 16)
    except (OSError, ValueError):
        return None


def _number(path: Path) -> float:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return 0.0
