"""`wakepulse bench`: what hearing costs on this machine, beside the least it can cost and what other engines take.

Every row is opened once in a process of its own, for what opening it costs and for what it gives out; then all are
timed in one process, in turns of a few pulses, so that whatever else the machine does hits all alike. One thread each.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import pulse
from daemon.features import SAMPLE_RATE
from daemon.model import ModelError, WakeModel
from daemon.stages import noise
from pulse.cost import macs
from pulse.graph import Graph
from pulse.run import REFERENCE

COUNT = 3000  # pulses of each row
COMPARED = 64  # pulses behind the delay
LEVEL, SPREAD = 8, 4  # of frames as sound makes them, near enough
PACKAGES = Path(__file__).resolve().parent.parent  # the folder that this package lies in
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("MKL", "OMP", "OPENBLAS")}
FRAMES = 1000  # of the recording
STREAMS = 32  # of the row that has many
TIMES = ("median_us", "p99_us", "instructions")
NO_BROKER = 9  # the port where nobody listens
STAGES = {"features": "features", "all: samples to detections": "hearing"}

Found: TypeAlias = dict[str, Any]
Array: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class Task:
    """What is measured."""

    onnx_file: Path
    plan_file: Path
    plan: pulse.Plan
    pulses: Array  # (pulses, *shape of the input)
    count: int  # of pulses that each row is timed in
    folder: Path  # for as long as it takes


@dataclass(frozen=True)
class Row:
    """Something that takes pulses, and how a process is told to open it."""

    name: str
    module: str
    opener: str
    arguments: tuple[str | int, ...]
    network: bool = True  # hands out what the network does
    streams: int = 1  # that it advances at once


class Unopened(Exception):
    """A process could not open a row; the text is the last that it said."""


def bench(model: Path, *, peers: bool = False, count: int = COUNT) -> Found:
    """All that is found of the plan, or ONNX file, at `model`; with `peers` of other engines too.

    `left_out` says why of what could not be measured.
    """
    with tempfile.TemporaryDirectory() as folder:
        task = _task(model.resolve(), count, Path(folder))
        left_out: dict[str, str] = {}
        ours = _ours(task)
        others = _peers(task, left_out) if peers else []
        rows = [*ours, _many(task), *_in_integers(task), *others, *_stages(task, left_out)]
        alone = _alone(task, rows, left_out)
        rows = [row for row in rows if row.name in alone]
        timed = _told(task, rows, peak=True)
        compared_with, differences = _compared(task, rows, peers=peers)
        resident_mb = None if rows[-1].network else _resident_mb(task.plan_file, task.folder)
    found = [
        {"name": row.name, **_each(row, times), **alone[row.name], "difference": differences.get(row.name)}
        for row, times in zip(rows, timed["rows"], strict=True)
    ]
    against = min(row["median_us"] for row in found[: len(ours)])
    for row, costs in zip(rows, found, strict=True):
        costs["ratio"] = costs["median_us"] / against if row.network else None
    return {
        **_about(task),
        **_limit(task.plan, timed["peak"], against),
        "rows": found,
        "compared_with": compared_with,
        "instructions_refused": timed["instructions_refused"],
        "resident_mb": resident_mb,
        "left_out": left_out,
    }


def _each(row: Row, times: Found) -> Found:
    """What one stream takes of what all of a row take."""
    return {key: value and value / row.streams for key, value in times.items() if key in TIMES}


def _limit(plan: pulse.Plan, peaks: Mapping[str, float], against: float) -> Found:
    """The time that the multiplications take at the peak of this core, and how often it goes into that of ours."""
    of, macs_per_s = max(peaks.items(), key=lambda peak: peak[1])
    limit_us = _macs(plan) / macs_per_s * 1e6
    return {"peak": {"of": of, "macs_per_s": macs_per_s}, "limit_us": limit_us, "limit_ratio": against / limit_us}


def _macs(plan: pulse.Plan) -> int:
    return sum(macs(step) for step in plan.steps)


def _task(model: Path, count: int, folder: Path) -> Task:
    plan_file = model
    if model.suffix == ".onnx":
        plan_file = folder / "model.plan"
        pulse.compile(model).save(plan_file)
    plan = pulse.Plan.load(plan_file)
    if len(plan.inputs) != 1 or len(plan.outputs) != 1 or {*plan.input_dtypes, *plan.output_dtypes} != {"float32"}:
        raise pulse.InputError(f"bench: {model} does not have one input and one output of float32")
    shape = next(iter(plan.inputs.values())).shape
    pulses = np.random.default_rng(0).normal(LEVEL, SPREAD, (_warm_up(plan) + COMPARED, *shape)).astype(np.float32)
    np.save(folder / "pulses.npy", pulses)
    return Task(model.with_suffix(".onnx"), plan_file, plan, pulses, count, folder)


def _warm_up(plan: pulse.Plan) -> int:
    """The pulses that hold items of the warm-up."""
    return math.ceil(plan.delay[0] * plan.stride[0] / plan.pulse)


def _ours(task: Task) -> list[Row]:
    """The plan in each way that this package can run it; the others are measured by the fastest."""
    file, best = str(task.plan_file), pulse.State(task.plan).kernels
    rows = [Row("wakepulse, numpy", "daemon.stages", "network", (file, REFERENCE))]
    return rows if best == REFERENCE else [*rows, Row(f"wakepulse, C {best}", "daemon.stages", "network", (file, best))]


def _many(task: Task) -> Row:
    """The plan for many streams at once; what one of them takes is shown."""
    name = f"wakepulse, each of {STREAMS} streams"
    return Row(name, "daemon.stages", "streams", (str(task.plan_file), STREAMS), streams=STREAMS)


def _in_integers(task: Task) -> list[Row]:
    """The same network in integers, if such a plan lies beside it; it is another network to the last bits."""
    file = task.onnx_file.with_suffix(".int8.plan")
    if not file.exists() or file == task.plan_file:
        return []
    kernels = pulse.State(task.plan).kernels
    return [Row(f"wakepulse, {kernels}, int8", "daemon.stages", "network", (str(file), kernels))]


def _stages(task: Task, left_out: dict[str, str]) -> list[Row]:
    """What hearing takes besides, if the plan is of a wake word."""
    try:
        WakeModel.load(task.plan_file)
    except ModelError:
        left_out.update(dict.fromkeys(STAGES, "the network is of no wake word"))
    wanted = {name: opener for name, opener in STAGES.items() if name not in left_out}
    file = (str(task.plan_file),)
    return [Row(name, "daemon.stages", opener, file, network=False) for name, opener in wanted.items()]


def _peers(task: Task, left_out: dict[str, str]) -> list[Row]:
    """The other engines that are installed and can take the network."""
    from pulse.peers import PEERS, NotWritten

    graph, rows = _batch_graph(task.onnx_file), []
    for peer in PEERS:
        if not peer.installed:
            left_out[peer.name] = "not installed; pip install 'wakepulse[bench]' would do it"
            continue
        try:
            file = peer.file(task.onnx_file, graph, task.plan.pulse, task.folder)
        except NotWritten as error:
            left_out[peer.name] = str(error)
            continue
        rows.append(Row(peer.name, "pulse.peers.engines", peer.opener, (str(file), task.plan.pulse)))
    return rows


def _batch_graph(onnx_file: Path) -> Graph:
    # Imported here, not above, as in `pulse.compile`: whoever measures a plan alone needs no onnx.
    from pulse import declutter, infer, load

    return declutter.declutter(infer.infer(load.load(onnx_file)))


def _alone(task: Task, rows: Sequence[Row], left_out: dict[str, str]) -> dict[str, Found]:
    """What it takes to open each row by itself, and how it grows; peers that fail are left out."""
    found = {}
    for row in rows:
        try:
            (alone,) = _told(task, [row], peak=False)["rows"]
        except Unopened as error:
            if row.module == "daemon.stages":
                raise
            left_out[row.name] = str(error)
            continue
        found[row.name] = {key: alone[key] for key in ("open_ms", "open_mb", "growth_kb")}
    return found


def _told(task: Task, rows: Sequence[Row], *, peak: bool) -> Found:
    """What a process finds that opens these rows: the peak of the core, or else what the networks give out."""
    told = [{**asdict(row), "outputs": "" if peak or not row.network else str(_outputs(task, row))} for row in rows]
    order = {"pulses": str(task.folder / "pulses.npy"), "count": task.count, "peak": peak, "rows": told}
    command = [sys.executable, "-m", "daemon.trial"]
    environment = {**os.environ, **ONE_THREAD}
    ended = subprocess.run(
        command, cwd=PACKAGES, env=environment, input=json.dumps(order), capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise Unopened((ended.stderr.strip().splitlines() or [f"ended with status {ended.returncode}"])[-1])
    found: Found = json.loads(ended.stdout.splitlines()[-1])  # an engine may have said something of itself before
    return found


def _outputs(task: Task, row: Row) -> Path:
    return task.folder / (re.sub(r"\W+", "_", row.name) + ".npy")


def _compared(task: Task, rows: Sequence[Row], *, peers: bool) -> tuple[str, dict[str, float]]:
    """With what the outputs are compared, and the largest difference of each row behind the warm-up."""
    networks = {row.name: np.load(_outputs(task, row)) for row in rows if row.network}
    name, wanted = next(iter(networks.items()))
    if peers and find_spec("onnxruntime"):
        from pulse.peers.engines import whole

        name = "onnxruntime on the whole recording"
        wanted = whole(task.onnx_file, _batch_graph(task.onnx_file), task.pulses, task.plan.delay[0])
    late = _warm_up(task.plan)
    return name, {row: _difference(made[late:], wanted[late:]) for row, made in networks.items()}


def _difference(made: Array, wanted: Array) -> float:
    both = min(len(made), len(wanted))
    return float(np.abs(made[:both] - wanted[:both]).max())


def _about(task: Task) -> Found:
    """What was measured, and on what."""
    return {
        "model": task.plan_file.name,
        "pulse": task.plan.pulse,
        "macs": _macs(task.plan),
        "count": task.count,
        "machine": platform.machine(),
        "processor": _processor(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _processor() -> str:
    found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else "unknown processor"


def _resident_mb(plan_file: Path, folder: Path) -> float:
    """Largest resident memory of `wakepulse run` on a recording, with a broker that is not there."""
    recording, config = folder / "noise.wav", folder / "bench.yaml"
    with wave.open(str(recording), "wb") as file:
        file.setparams((1, np.dtype(np.int16).itemsize, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(noise(FRAMES).tobytes())
    audio = {"source": "file", "file": str(recording), "realtime": False}
    config.write_text(json.dumps({"audio": audio, "wake": {"model": str(plan_file)}, "mqtt": {"port": NO_BROKER}}))
    command = [sys.executable, "-m", "daemon.entry", "run", "--config", str(config)]
    largest_kb = 0
    with subprocess.Popen(command, cwd=PACKAGES, stderr=subprocess.DEVNULL) as process:
        # Not wait4's figure, which counts what this process held when it forked.
        while process.poll() is None:
            peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
            largest_kb = max(largest_kb, int(peak[1]) if peak else 0)
            time.sleep(0.01)
    return largest_kb / 1024
