"""Holds the newest thread of a process, as a hung driver would, until the process is ended: python3 freeze.py PID."""

import ctypes
import os
import sys

PTRACE_ATTACH, WALL = 16, 0x40000000

pid = sys.argv[1]
thread = max(map(int, os.listdir(f"/proc/{pid}/task")))
if ctypes.CDLL(None).ptrace(PTRACE_ATTACH, thread, None, None):
    sys.exit(f"thread {thread} of {pid} cannot be held")
while os.WIFSTOPPED(os.waitpid(thread, WALL)[1]):
    pass
