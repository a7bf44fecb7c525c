"""What a compiled file needs of the board it runs on: checked against what the smallest board of its kind has.

    python -m deploy.elf TARGET FILE...
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from deploy.targets import TARGETS, Target

# Instructions of ARMv6T2, ARMv7 and VFPv3, as they stand behind the address and the bytes of a line. An old processor
# takes some of them for others, so they are looked for as a new one reads them. (Constants among code have no name.)
NEWER = re.compile(
    r"^[^\t]*\t[^\t]*\t(?:(?:mov[wt]|[su]div|vfn?m[as]|d[ms]b|isb|[su]bfx|bf[ic]|ml[s]|rbit|lda|stl|crc32c?)\w*(?:\.f\d+)?"
    r"|vmov\S*\t[sd]\d+, #|\S+\t[^@;]*\bq\d+\b)(?:\t|\b)"
)
NEW, OLD = "armv8-a", "armv6"
GLIBC = (2, 31)  # of the oldest Raspberry Pi OS that counts, and of the wheels' tag
DISPATCHED = "neon"  # the section of code that runs only where the processor says that it can


def faults(path: Path, target: Target) -> list[str]:
    """Why this file would not run on every board of its target; empty if it would."""
    found = []
    machine = re.search(r"Machine:\s+(.+)", _said(target, "readelf", "-h", path))
    if not machine or machine[1].strip() != target.elf:
        return [f"is for {machine[1].strip() if machine else 'nothing known'}, not for {target.elf}"]
    newest = _glibc(path, target)
    if newest > GLIBC:
        found.append(f"needs glibc {newest[0]}.{newest[1]}, newer than {GLIBC[0]}.{GLIBC[1]}")
    if "-march=armv6+fp" in target.flags:
        found += _arm(path, target)
    return found


def _arm(path: Path, target: Target) -> list[str]:
    """What an ARM1176 would not do: its attributes, and every instruction that is not chosen while it runs."""
    found = []
    attributes = dict(re.findall(r"(Tag_\w+): (.+)", _said(target, "readelf", "-A", path)))
    wanted = {"Tag_CPU_arch": ("v6", "v6KZ"), "Tag_FP_arch": ("VFPv2",)}
    if "-mfloat-abi=hard" in target.flags:
        wanted["Tag_ABI_VFP_args"] = ("VFP registers",)
    for tag, right in wanted.items():
        if attributes.get(tag) not in right:
            found.append(f"{tag} is {attributes.get(tag, 'missing')}, not {right[0]}")
    if "Tag_Advanced_SIMD_arch" in attributes:
        found.append("uses NEON")
    sections = re.findall(r"\] (\S+)\s+PROGBITS\s.*\sAX\s", _said(target, "readelf", "-SW", path))
    code = [option for name in sections if name != DISPATCHED for option in ("-j", name)]
    lines = {name: _said(target, "objdump", "-d", "-m", name, *code, path).splitlines() for name in (NEW, OLD)}
    newer = [line for line in lines[NEW] if NEWER.search(line)] + [line for line in lines[OLD] if "<UNDEF" in line]
    if newer:
        found.append(f"has {len(newer)} instruction(s) newer than ARMv6, the first: {' '.join(newer[0].split())}")
    return found


def _glibc(path: Path, target: Target) -> tuple[int, int]:
    versions = re.findall(r"GLIBC_(\d+)\.(\d+)", _said(target, "objdump", "-T", path))
    return max(((int(major), int(minor)) for major, minor in versions), default=(0, 0))


def _said(target: Target, tool: str, *arguments: str | Path) -> str:
    command = [target.tool(tool), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, errors="replace").stdout


def refuse(paths: list[Path], target: Target) -> None:
    """End with a line for each fault, if there is one."""
    lines = [f"{path.name} {fault}" for path in paths for fault in faults(path, target)]
    if lines:
        raise SystemExit("\n".join(lines))


if __name__ == "__main__":
    refuse([Path(name) for name in sys.argv[2:]], TARGETS[sys.argv[1]])
