"""What hearing costs: time per pulse of each stage beside onnxruntime's on the same network, and resident memory.

Run by `make bench`. Times are medians of many pulses, one thread each.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

for threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[threads] = "1"  # before numpy is loaded

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402

import pulse  # noqa: E402
from daemon.features import HOP, MELS, LogMel  # noqa: E402
from tests.shipped import MODEL, ROOT, listener, model  # noqa: E402

PULSES = 1000


def median_us(call: Callable[[], object]) -> float:
    """Microseconds of one call."""
    times = []
    for _ in range(PULSES):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    return float(np.median(times)) / 1000


def resident_mb() -> float:
    """Largest resident memory of `wakepulse run` on the demo recording, with a broker that is not there."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "bench.yaml"
        audio = f"audio: {{source: file, file: {ROOT}/config/demo.wav, realtime: false}}"
        config.write_text(f"{audio}\nmqtt: {{port: 9}}\n")
        command = [sys.executable, "-m", "daemon.cli", "run", "--config", str(config)]
        largest_kb = 0
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
            # Not wait4's figure, which counts what this process held when it forked.
            while process.poll() is None:
                peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
                largest_kb = max(largest_kb, int(peak[1]) if peak else 0)
                time.sleep(0.01)
    return largest_kb / 1024


def main() -> None:
    plan = model().plan
    size = plan.pulse
    block = np.random.default_rng(0).integers(-3000, 3000, size * HOP).astype(np.int16)
    frames = np.random.default_rng(0).normal(8, 4, (1, size, MELS)).astype(np.float32)
    window = np.random.default_rng(0).normal(8, 4, (1, size + plan.delay[0], MELS)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(MODEL.with_suffix(".onnx"), options)
    features, state = LogMel(model().window_function), pulse.State(plan)
    ear = listener()
    sample = iter(range(0, 10**9, len(block)))
    rows = {
        "features": median_us(lambda: features.push(block)),
        "network, pulsed (numpy)": median_us(lambda: state.run(frames)),
        "network, whole window each time (onnxruntime)": median_us(lambda: session.run(None, {"features": window})),
        "all: samples to detections": median_us(lambda: ear.push(next(sample), block)),
    }
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, one thread")
    print(f"median time per pulse of {size} frames ({size * 10} ms of sound):")
    for name, us in rows.items():
        print(f"  {name:48} {us:8.0f} us")
    print(f"resident memory of `wakepulse run`: {resident_mb():.0f} MB")


if __name__ == "__main__":
    main()
