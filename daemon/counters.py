"""The processor's count of the instructions that this process executes, where Linux lets it be seen."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from dataclasses import dataclass

# perf_event_open(2), which no C library wraps: its number, and what is set of `struct perf_event_attr`.
_NUMBERS = {"x86_64": 298, "aarch64": 241, "armv7l": 364, "armv6l": 364}
_ATTRIBUTES = struct.Struct("=IIQ24xQ80x")  # type, size, config, flags
_HARDWARE, _INSTRUCTIONS = 0, 1
_NOT_OF_THE_KERNEL = 1 << 5 | 1 << 6
_COUNT = struct.Struct("=Q")


@dataclass(frozen=True)
class Instructions:
    """A running count; where there is none, `why_not` says so, and it stays at 0."""

    file: int | None
    why_not: str = ""

    @staticmethod
    def of_this_process(kind: int = _HARDWARE, what: int = _INSTRUCTIONS) -> Instructions:
        """Start to count, in this thread and not in the kernel."""
        number = _NUMBERS.get(platform.machine())
        if number is None:
            return Instructions(None, f"the call for it on {platform.machine()} is not known")
        attributes = ctypes.create_string_buffer(_ATTRIBUTES.pack(kind, _ATTRIBUTES.size, what, _NOT_OF_THE_KERNEL))
        c = ctypes.CDLL(None, use_errno=True)
        file = c.syscall(number, attributes, 0, -1, -1, 0)
        return Instructions(file) if file >= 0 else Instructions(None, os.strerror(ctypes.get_errno()))

    def read(self) -> int:
        """The count up to now."""
        if self.file is None:
            return 0
        (count,) = _COUNT.unpack(os.read(self.file, _COUNT.size))
        return int(count)
