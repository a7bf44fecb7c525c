"""A trained network becomes an ONNX file that says what it needs, and a plan that is proven to do the same."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from torch import Tensor, nn

import pulse
from daemon.aggregate import Parts
from daemon.features import MELS, METADATA_KEY, describe
from models import calibration
from models.evaluate import SMOOTHING
from models.networks import Network
from models.recipe import Recipe
from models.rounded import RoundedWakeWord

AGREEMENT = 1e-4  # largest difference of posteriors between PyTorch and the plan
INT8_AGREEMENT = 5e-3  # mean difference; where a number lies between two integers they may take either
PROVEN_FRAMES = 401  # beyond the receptive field
PULSE = 8  # frames: 80 ms


Floats = NDArray[np.float32]


class ExportError(RuntimeError):
    """The exported network is not the trained one."""


class _Posteriors(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        return self.network(features).softmax(-1)


def export(network: Network, path: Path, metadata: Mapping[str, str]) -> None:
    """Write `path` (.onnx: frames (1, S, MELS) to posteriors (1, S - delay, classes)) and the .plan beside it."""
    write(_Posteriors(network), network.receptive_field, path, metadata, output="posteriors")


def write(
    module: nn.Module, receptive_field: int, path: Path, metadata: Mapping[str, str], *, output: str
) -> pulse.Plan:
    """Write a network of frames (1, S, MELS), unpadded, as `path` (.onnx) and the .plan beside it, which is proven."""
    module = module.eval()
    frames = torch.from_numpy(noise(receptive_field))
    program = torch.onnx.export(
        module,
        (frames,),
        input_names=["features"],
        output_names=[output],
        dynamic_shapes={"features": {1: torch.export.Dim("time", min=receptive_field)}},
        dynamo=True,
        verbose=False,
    )
    model = program.model_proto
    for node in model.graph.node:  # where in whose source a node came from is no business of a satellite
        del node.metadata_props[:]
        node.doc_string = ""
    plan = _save(model, path, metadata)
    with torch.inference_mode():
        expected = module(frames).numpy()
    prove(plan, frames.numpy(), expected)
    return plan


def _save(model: onnx.ModelProto, path: Path, metadata: Mapping[str, str]) -> pulse.Plan:
    """Write the network with this metadata, at once, and its plan beside it; the plan as a satellite reads it."""
    onnx.helper.set_model_props(model, dict(metadata))
    draft = path.with_name(f".{path.name}.new")
    onnx.save(model, draft)
    draft.replace(path)
    pulse.compile(path, pulse=PULSE).save(path.with_suffix(".plan"))
    return pulse.Plan.load(path.with_suffix(".plan"))


def annotate(path: Path, metadata: Mapping[str, str]) -> None:
    """Add to the metadata of an exported network (.onnx) and of its plan; its weights and posteriors stay."""
    try:
        model = onnx.load(path)
    except (OSError, DecodeError) as error:
        raise ExportError(f"cannot read the network {path} that belongs to the plan: {error}") from error
    before = pulse.Plan.load(path.with_suffix(".plan"))
    held = {entry.key: entry.value for entry in model.metadata_props}
    plan = _save(model, path, held | dict(metadata))
    frames = noise(1 + before.delay[0])
    prove(plan, frames, _streamed(before, frames))


def noise(receptive_field: int) -> Floats:
    """Frames (1, n, MELS) to compare two networks on, or to time one."""
    return np.random.default_rng(0).normal(8, 4, (1, receptive_field + PROVEN_FRAMES, MELS)).astype(np.float32)


def export_int8(network: RoundedWakeWord, path: Path, metadata: Mapping[str, str], frames: Floats) -> None:
    """Write the plan in integers to `path`, calibrated by the frames (1, n, MELS) that the network has observed."""
    with tempfile.TemporaryDirectory(dir=path.absolute().parent) as folder:
        exact, heard = Path(folder) / "exact.onnx", Path(folder) / "heard.npz"
        export(network, exact, metadata)
        calibration.write(frames, heard)
        plan = pulse.compile(exact, pulse=PULSE, int8=heard)
    given = noise(network.receptive_field)
    with torch.inference_mode():
        expected = network.products(torch.from_numpy(given)).softmax(-1).numpy()
    streamed = _streamed(plan, given)
    difference = float(np.abs(streamed - expected[:, : streamed.shape[1]]).mean())
    if not difference <= INT8_AGREEMENT:
        raise ExportError(f"the int8 plan's posteriors are {difference:.2g} from the rounded network's on average")
    plan.save(path)


def annotate_int8(path: Path, metadata: Mapping[str, str]) -> None:
    """Add to the metadata of a plan that has no ONNX file of its own."""
    plan = pulse.Plan.load(path)
    replace(plan, metadata={**plan.metadata, **metadata}).save(path)


def metadata(
    made: Recipe, thresholds: Mapping[str, float], *, onset_to_end: int, version: str, parts: Parts | None = None
) -> dict[str, str]:
    """What a satellite must know of a network to use it; `parts` where it knows parts of words."""
    smoothing = SMOOTHING if parts is None else 1  # the scores of words heard part by part are smooth already
    detector: dict[str, object] = {"smoothing": smoothing, "onset_to_end": onset_to_end}
    if parts is not None:
        detector["parts"] = asdict(parts)
    return {
        **features(made.window_function),
        "words": json.dumps(made.words),
        "thresholds": json.dumps(dict(thresholds)),
        "detector": json.dumps(detector),
        "language": "en",
        "version": version,
    }


def features(window_function: str) -> dict[str, str]:
    """The metadata that says which features a network was trained on."""
    return {METADATA_KEY: json.dumps(describe(window_function))}


def may_lie_at(path: Path, ending: str) -> None:
    """Refuse what would fail, or overwrite another model, after all the work is done."""
    if not path.name.endswith(ending):
        raise ExportError(f"{path} does not end in {ending}, as the name of such a file does")
    if not path.absolute().parent.is_dir():
        raise ExportError(f"{path.parent} is no folder; make it first")


def prove(plan: pulse.Plan, frames: np.ndarray, expected: np.ndarray) -> None:
    """`ExportError` unless the plan, pulse by pulse over (1, n, MELS) frames, gives the expected posteriors."""
    streamed = _streamed(plan, frames)
    difference = float(np.abs(streamed - expected[:, : streamed.shape[1]]).max())
    if not difference <= AGREEMENT:
        raise ExportError(f"the plan's posteriors differ from the network's by {difference:.2g}")


def _streamed(plan: pulse.Plan, frames: np.ndarray) -> np.ndarray:
    """The posteriors of (1, n, MELS) frames, pulse by pulse, from the first one on that the whole network gives."""
    state = pulse.State(plan)
    count = frames.shape[1] // plan.pulse * plan.pulse
    pulses = [state.run(frames[:, at : at + plan.pulse])[0].copy() for at in range(0, count, plan.pulse)]
    return np.concatenate(pulses, axis=1)[:, plan.delay[0] :]
