"""Emulated boards: boots Debian on one, installs the package there and puts it through its paces (board/check.sh).

    python -m deploy.boards [zero|zero2]        as root; exit status 0 if all went well

`zero` is a Pi Zero: ARM1176, 512 MB, Debian bookworm for armel, whose ARMv6 is that of Raspberry Pi OS but for how
functions take floats. `zero2` has the Cortex-A53 of the Pi Zero 2 W and 512 MB, with 64-bit Debian trixie. The clock of
both counts instructions, so that how busy this machine is does not matter.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from daemon.features import SAMPLE_RATE
from daemon.recording import read
from deploy import deb
from deploy.debian import fetch_newest, mirror
from deploy.targets import CACHE, ROOT
from models.corpus import read_manifest, select
from tests.shipped import CORPUS

INSIDE = Path(__file__).with_name("board")  # what is put into the image
WORD = "alexa"
QUIET_S = 1.0  # around the word
PACKAGES = (
    "systemd systemd-sysv udev kmod dbus busybox-static python3 python3-numpy python3-yaml python3-cffi-backend "
    "libportaudio2 alsa-utils mosquitto mosquitto-clients"
)
UNWANTED = (  # that would only take time
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("e2scrub_reap.service", "systemd-timesyncd.service", "systemd-networkd.service", "serial-getty@ttyAMA0.service"),
)
QUIET = "console=ttyAMA0,115200 rootwait panic=5 quiet loglevel=4 systemd.show_status=0 systemd.log_target=null"
DISK_MB = 1024  # a power of two, which QEMU wants of an SD card
VERDICT = re.compile(rb"BOARD (PASSED|FAILED)")
MODULES = ("virtio_mmio", "virtio_blk", "crc32c_generic", "ext4")


@dataclass(frozen=True)
class Board:
    """What is emulated, and what runs on it."""

    architecture: str
    suite: str
    processor: str  # for QEMU, while the root file system is made
    kernel: str  # the last part of its package's name; of trixie
    disk: str
    machine: tuple[str, ...]  # QEMU's command
    append: str = ""  # for the kernel
    tree: str | None = None  # device tree


def _clock(shift: int) -> tuple[str, str]:
    """A clock that goes on by 2 ** shift ns with every instruction."""
    return "-icount", f"shift={shift},sleep=off"


BOARDS = {
    "zero": Board(
        "armel",
        "bookworm",
        "arm1176",
        "rpi",
        "mmcblk0",
        # 4 ns an instruction: near what Python takes on an ARM1176 at 1 GHz.
        ("qemu-system-arm", "-M", "raspi0", *_clock(2)),
        # QEMU has no such device, and the driver does not bear it.
        "initcall_blacklist=bcm2835_power_driver_init",
        "bcm2835-rpi-zero.dtb",
    ),
    "zero2": Board(
        "arm64",
        "trixie",
        "cortex-a53",
        "arm64",
        "vda",
        ("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53", "-m", "512", "-net", "none", *_clock(1)),
    ),
}


def run(board: Board, folder: Path, limit_s: float) -> bool:
    """Boot the board's image, show what it says, and return whether it is content."""
    drive = ["-drive", f"file={folder}/disk.img,format=raw,snapshot=on,if={'sd' if board.tree else 'none,id=d'}"]
    drive += ["-dtb", f"{folder}/board.dtb"] if board.tree else ["-device", "virtio-blk-device,drive=d"]
    command = [*board.machine, *drive, "-kernel", f"{folder}/vmlinuz", "-initrd", f"{folder}/initrd.gz", "-no-reboot"]
    command += ["-nographic", "-serial", "stdio", "-monitor", "none", "-append", _append(board)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as machine:
        try:
            return _watch(machine, limit_s)
        finally:
            machine.kill()


def _append(board: Board) -> str:
    """The kernel's options; a board without a clock of its own is told the time, as a time server would."""
    return f"{QUIET} systemd.clock_usec={time.time_ns() // 1000} {board.append}"


def _watch(machine: subprocess.Popen[bytes], limit_s: float) -> bool:
    """Show each line with the time since the start on this machine, beside that of the board, until the verdict."""
    assert machine.stdout
    timer = threading.Timer(limit_s, machine.kill)
    timer.start()
    begun = time.monotonic()
    try:
        for line in machine.stdout:
            print(f"{time.monotonic() - begun:7.1f} s  {line.decode(errors='replace').rstrip()}", flush=True)
            if (found := VERDICT.search(line)) or b"Kernel panic" in line:
                return found is not None and found[1] == b"PASSED"
    finally:
        timer.cancel()
    return False


def image(board: Board, folder: Path) -> None:
    """Put the root file system, the package and the check together, as a disk, a kernel and its first file system."""
    root, kernel = _root(board, folder), _kernel(board, folder)
    modules = next(path for path in kernel.glob("usr/lib/modules/*"))
    _start(board, folder, root, kernel)
    made = folder / "image"
    shutil.rmtree(made, ignore_errors=True)
    subprocess.run(["cp", "-a", "--reflink=auto", root, made], check=True)
    for path in _chain(modules, ["snd-aloop"]):
        place = made / "usr/lib/modules" / modules.name / path.relative_to(modules)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    for path in modules.glob("modules.*"):
        shutil.copy(path, made / "usr/lib/modules" / modules.name)
    subprocess.run(["depmod", "-b", made / "usr", modules.name], check=True)
    _furnish(board, made)
    (folder / "disk.img").unlink(missing_ok=True)
    plain = ["-q", "-t", "ext4", "-O", "^has_journal,^metadata_csum"]
    subprocess.run(["mke2fs", *plain, "-d", made, folder / "disk.img", f"{DISK_MB}M"], check=True)
    shutil.rmtree(made)


def _furnish(board: Board, made: Path) -> None:
    """What an owner brings: the package, its installer, a recording; and the check."""
    place = made / "opt/board"
    shutil.copytree(INSIDE, place)
    _record(place / "recording.wav")
    check = place / "check.sh"
    check.write_text(check.read_text().replace("@WORD@", WORD))
    shutil.copy(deb.package(board.architecture, CACHE / "boards"), place)
    shutil.copy(ROOT / "deploy/install.sh", place)
    (made / "etc/hostname").write_text("board\n")
    (made / "etc/hosts").write_text("127.0.0.1 localhost board\n")
    (made / "etc/fstab").write_text("")
    (made / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    units = made / "etc/systemd/system"
    shutil.copy(INSIDE / "board-check.service", units)
    (units / "multi-user.target.wants/board-check.service").symlink_to("../board-check.service")
    for unit in UNWANTED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")


def _record(path: Path) -> None:
    """A real person's word where there are recordings, which are no part of the repository; or else the demo."""
    if CORPUS.is_dir():
        words = select(read_manifest(CORPUS), "dev", {"wakeword"}, shippable=False)
        sound = read(next(word.path for word in words if word.label == WORD))
    else:
        sound = read(ROOT / "config/demo.wav")
    quiet = np.zeros(round(QUIET_S * SAMPLE_RATE), np.int16)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, sound.itemsize, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(np.concatenate([quiet, sound, quiet]).tobytes())


def _root(board: Board, folder: Path) -> Path:
    """Debian's root file system, made once: its packages' scripts run emulated, which takes a quarter of an hour."""
    root = folder / "root"
    if root.exists():
        return root
    _emulate(board)
    new = folder / "root.new"
    shutil.rmtree(new, ignore_errors=True)
    options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale")]
    options += ["--mode=root", "--variant=minbase", "--format=dir", f"--architectures={board.architecture}"]
    options += [f"--include={','.join(PACKAGES.split())}", board.suite]
    command = ["mmdebstrap", *options, new, f"deb {mirror()} {board.suite} main"]
    subprocess.run(command, check=True, env={**os.environ, "QEMU_CPU": board.processor})
    new.rename(root)
    return root


def _emulate(board: Board) -> None:
    """Have the kernel run programs of the board's architecture in QEMU, also within a root file system."""
    name = "qemu-arm" if board.architecture == "armel" else "qemu-aarch64"
    formats = Path("/proc/sys/fs/binfmt_misc")
    if not (formats / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", formats], check=True)
    if not (formats / name).exists():
        line = Path(f"/usr/lib/binfmt.d/{name}.conf").read_text().strip()
        (formats / "register").write_text(line[: line.rindex(":")] + ":OCPF")


def _kernel(board: Board, folder: Path) -> Path:
    """Debian's kernel for the board, unpacked."""
    kernel = folder / "kernel"
    if not kernel.exists():
        pattern = rf"linux-image-[0-9.]+\+deb13-{board.kernel}"
        fetch_newest(re.compile(pattern), "trixie", board.architecture, folder / "kernel.new")
        (folder / "kernel.new").rename(kernel)
    return kernel


def _start(board: Board, folder: Path, root: Path, kernel: Path) -> None:
    """The kernel, its device tree, and a first file system which has what it takes to mount the disk."""
    modules = next(kernel.glob("usr/lib/modules/*"))
    subprocess.run(["depmod", "-b", kernel / "usr", modules.name], check=True)
    shutil.copy(next(kernel.glob("boot/vmlinuz-*")), folder / "vmlinuz")
    if board.tree:
        shutil.copy(next(kernel.glob(f"usr/lib/linux-image-*/{board.tree}")), folder / "board.dtb")
    first = folder / "first"
    shutil.rmtree(first, ignore_errors=True)
    for name in ("bin", "proc", "sys", "dev", "root", "modules"):
        (first / name).mkdir(parents=True)
    shutil.copy(root / "bin/busybox", first / "bin")
    for number, path in enumerate(_chain(modules, MODULES)):
        opened = subprocess.run(["xz", "-dc", path], check=True, capture_output=True).stdout
        (first / "modules" / f"{number:02}.ko").write_bytes(opened)
    (first / "init").write_text((INSIDE / "init.sh").read_text().replace("@DISK@", board.disk))
    (first / "init").chmod(0o755)
    pack = "find . | cpio -o -H newc --quiet"
    archive = subprocess.run(pack, shell=True, cwd=first, capture_output=True, check=True).stdout
    (folder / "initrd.gz").write_bytes(gzip.compress(archive, 1))
    shutil.rmtree(first)


def _chain(modules: Path, names: list[str] | tuple[str, ...]) -> list[Path]:
    """The files of these modules and of all that they need, in the order of loading; what is built in has none."""
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        needs[Path(path).name.partition(".")[0].replace("-", "_")] = [*reversed(needed.split()), path]
    found = [path for name in names for path in needs.get(name.replace("-", "_"), [])]
    return [modules / path for path in dict.fromkeys(found)]


def main() -> int:
    """Build what is missing, then boot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("boards", nargs="*", choices=[*BOARDS, []], default=[*BOARDS])
    parser.add_argument("--limit", type=float, default=7200, metavar="S", help="seconds that a board may take")
    options = parser.parse_args()
    if os.geteuid():
        raise SystemExit("a root file system can only be made by root; run: sudo make test-pi")
    content = {}
    for name in options.boards:
        folder = CACHE / "boards" / name
        folder.mkdir(parents=True, exist_ok=True)
        image(BOARDS[name], folder)
        content[name] = run(BOARDS[name], folder, options.limit)
    print("\n" + ", ".join(f"{name}: {'passed' if right else 'failed'}" for name, right in content.items()))
    return 0 if all(content.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
