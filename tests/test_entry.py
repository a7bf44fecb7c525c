"""The `wakepulse` command loads what a satellite needs, and the rest no sooner than it is touched."""

import subprocess
import sys

from tests.shipped import ROOT

LARGE = ("_ssl", "_hashlib", "asyncio.events", "http.client", "numpy.random.mtrand", "numpy.ma.core")


def python(program: str) -> str:
    start = f"import sys; sys.argv = ['wakepulse', 'check']; from daemon import entry; entry.main(); {program}"
    # -S: what else is installed here may have modules loaded at the start of Python.
    command = [sys.executable, "-S", "-c", f"import sys; sys.path = {sys.path}; {start}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()[-1]


def test_what_is_seldom_touched_is_not_loaded() -> None:
    assert python(f"print(sorted({{*{LARGE}}} & {{*sys.modules}}))") == "[]"


def test_what_is_touched_is_there() -> None:
    program = "from daemon import config, people, tls; import numpy as np; "
    program += "print(len(tls.context(config.TlsConfig()).get_ciphers()) > 0, len(people.wav(np.zeros(10, np.int16))), "
    assert python(program + "np.fft.fft([2]))") == "True 64 [2.+0.j]"
