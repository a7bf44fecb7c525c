"""How each engine runs its file: a function of a pulse that returns a pulse, good until the next call. One thread each.

An engine is imported only where it is opened, so that the time and the memory of that are seen, and those of no other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from pulse.graph import Array, Graph

Run: TypeAlias = Callable[[Array], Array]


class Unfit(Exception):
    """An engine does not do what it is measured for."""


def onnxruntime(path: Path, pulse: int) -> Run:
    """Two sets of caches that change places: what one pulse writes, the next one reads. Faster than `run()`."""
    import onnxruntime as ort

    session = _session(path)
    (x, *before), (y, *after) = session.get_inputs(), session.get_outputs()
    given, made = np.zeros(x.shape, np.float32), np.zeros(y.shape, np.float32)
    x_value, y_value = map(ort.OrtValue.ortvalue_from_numpy, (given, made))  # these share the arrays' memory
    sets = [[ort.OrtValue.ortvalue_from_numpy(np.zeros(port.shape, np.float32)) for port in before] for _ in range(2)]
    bindings = [session.io_binding() for _ in sets]
    for binding, reads, writes in zip(bindings, sets, reversed(sets), strict=True):
        for port, value in zip((x, *before), (x_value, *reads), strict=True):
            binding.bind_ortvalue_input(port.name, value)
        for port, value in zip((y, *after), (y_value, *writes), strict=True):
            binding.bind_ortvalue_output(port.name, value)
    turns = cycle(bindings)

    def run(frames: Array) -> Array:
        np.copyto(given, frames)
        session.run_with_iobinding(next(turns))
        return made

    return run


def _session(path: Path) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def tract(path: Path, pulse: int) -> Run:
    """The ONNX file as it is, pulsed by tract."""
    import tract as engine

    loaded = engine.onnx().load(path)
    time = re.search(r"[A-Za-z_]\w*(?=.*,)", str(loaded.input_fact(0)))
    loaded.analyse()
    model = loaded.into_model()
    model.transform(engine.Pulse(pulse, symbol=time and time[0]))
    state = model.into_runnable().spawn_state()

    def run(frames: Array) -> Array:
        made: Array = state.run([frames])[0].to_numpy()
        return made

    return run


def tflite(path: Path, pulse: int) -> Run:
    """Caches are copied from the outputs to the inputs, in the interpreter's own memory."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    inputs = [port["index"] for port in interpreter.get_input_details()]
    outputs = [port["index"] for port in interpreter.get_output_details()]
    delegates = [step for step in interpreter._get_ops_details() if step["op_name"] == "DELEGATE"]
    if len(delegates) != 1 or set(inputs) - set(delegates[0]["inputs"]) or set(outputs) - set(delegates[0]["outputs"]):
        raise Unfit("XNNPACK does not compute the whole network")
    (x, *before), (y, *after) = ([interpreter.tensor(index)() for index in ports] for ports in (inputs, outputs))
    for cache in before:
        cache[...] = 0
    caches = list(zip(before, after, strict=True))
    # The public `invoke` refuses to run while somebody sees this memory, and to look for it anew would cost a fifth.
    invoke = interpreter._interpreter.Invoke

    def run(frames: Array) -> Array:
        np.copyto(x[0], frames)
        invoke()
        for reads, wrote in caches:
            np.copyto(reads, wrote)
        return y[0]  # type: ignore[no-any-return]

    return run


def pytorch(path: Path, pulse: int) -> Run:
    """Caches are handed on as the tensors that they are."""
    import torch

    torch.set_num_threads(1)
    told = {"shapes": ""}
    network = torch.jit.load(path, _extra_files=told)
    caches = [torch.zeros(shape) for shape in json.loads(told["shapes"])[1:]]

    def run(frames: Array) -> Array:
        with torch.inference_mode():
            made, *caches[:] = network(torch.from_numpy(frames), *caches)
        pulse: Array = made.numpy()
        return pulse

    return run


def whole(model: Path, graph: Graph, pulses: Array, delay: int) -> Array:
    """What onnxruntime makes of all `pulses` in a row in the ONNX file `model`, in pulses, `delay` items late.

    `graph` is the batch graph of the file; at the end there may be some pulses less.
    """
    ((name, given),), (value,) = graph.inputs.items(), graph.outputs.values()
    made = graph.facts[value].stream
    assert given.stream is not None and made is not None
    recording = np.concatenate(list(pulses), given.stream.axis)
    result = np.moveaxis(_session(model).run(None, {name: recording})[0], made.axis, 0)
    late = np.concatenate([np.zeros((delay, *result.shape[1:]), result.dtype), result])
    items = int(pulses.shape[1 + given.stream.axis] * made.length.rate / given.stream.length.rate)
    many = min(len(late) // items, len(pulses))
    cut = late[: many * items].reshape(many, items, *late.shape[1:])
    return np.moveaxis(cut, 1, 1 + made.axis)
