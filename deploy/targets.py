"""The boards that wakepulse is built for, and what their C compiler must be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "deploy"  # what was downloaded or takes long to make


@dataclass(frozen=True)
class Target:
    """One kind of board."""

    triplet: str  # of its tools and of Debian's folders
    debian: str  # Debian's name of the architecture
    elf: str  # the machine that readelf finds in its files
    wheel: str | None = None  # platform tag of its wheel; None: it has none
    flags: tuple[str, ...] = ()
    link: tuple[str, ...] = ("-lm",)
    pythons: tuple[str, ...] = ("3.11", "3.13")  # of Debian bookworm and trixie

    def tool(self, name: str) -> str:
        """The program of the target's GCC or binutils."""
        return f"{self.triplet}-{name}"


# Debian's start-up files and libgcc.a for hard-float boards are ARMv7, so nothing of them is linked in; what the
# compiler needs of libgcc is in the board's own libgcc_s.so.1.
_FOREIGN = ("-nostdlib", "-lm", "-lc", "-lgcc_s")
_ARMV6 = ("-march=armv6+fp", "-mtune=arm1176jzf-s", "-marm")
TARGETS = {
    "armv6l": Target(
        "arm-linux-gnueabihf", "armhf", "ARM", "linux_armv6l", flags=(*_ARMV6, "-mfloat-abi=hard"), link=_FOREIGN
    ),
    "armv7l": Target("arm-linux-gnueabihf", "armhf", "ARM", "linux_armv7l", flags=("-march=armv7-a+fp", "-marm")),
    "aarch64": Target("aarch64-linux-gnu", "arm64", "AArch64", "manylinux_2_31_aarch64"),
    "x86_64": Target("x86_64-linux-gnu", "amd64", "Advanced Micro Devices X86-64", "manylinux_2_31_x86_64"),
    # Debian's own system for ARMv6 is armel, which passes floats in integer registers: for the emulated Pi Zero only,
    # as the ARMv6 of Raspberry Pi OS cannot be had elsewhere. The instructions are those of armv6l.
    "armel": Target(
        "arm-linux-gnueabi", "armel", "ARM", flags=(*_ARMV6, "-mfloat-abi=softfp"), link=_FOREIGN, pythons=("3.11",)
    ),
}
# Of which target the package of each architecture is made: one for all 32-bit boards, with kernels for the smallest,
# which find out by themselves whether the processor has NEON.
PACKAGES = {"armhf": "armv6l", "arm64": "aarch64", "amd64": "x86_64", "armel": "armel"}
