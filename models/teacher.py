"""A network that teaches a smaller one what it says of every frame: that of a training, or an exported one."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from daemon.features import METADATA_KEY, describe
from models.networks import Network
from models.recipe import Recipe, RecipeError
from models.wakeword import Size, WakeWord

MAX_BYTES = 64 * 2**20  # of an exported network
PREFIX = "network."  # of the names of an exported network's weights


def exported(path: Path, made: Recipe) -> Network:
    """The gated network in an ONNX file that `wakepulse-train export` wrote; `RecipeError` says why it cannot teach.

    It has to know the words of the recipe of who is taught, in their order, and to hear as that one does.
    """
    if made.network.kind != "gated":
        raise RecipeError(
            f"{path} is no teacher: an exported one is gated, and here the network is {made.network.kind}"
        )
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecipeError(f"{path} is larger than {MAX_BYTES // 2**20} MB; this is no wake-word network")
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}") from error
    except DecodeError as error:
        raise RecipeError(f"{path} is no ONNX file: {error}") from error
    told = {entry.key: entry.value for entry in model.metadata_props}
    asked = {"words": json.dumps(made.words), METADATA_KEY: json.dumps(describe(made.window_function))}
    for key, value in asked.items():
        if told.get(key) != value:
            raise RecipeError(f"{path} is no teacher: its {key} are {told.get(key)}, and here {value}")
    return _network(model.graph, 1 + len(made.words), path)


def _network(graph: onnx.GraphProto, classes: int, path: Path) -> Network:
    try:
        weights = {
            tensor.name.removeprefix(PREFIX): torch.from_numpy(numpy_helper.to_array(tensor).copy())
            for tensor in graph.initializer
            if tensor.name.startswith(PREFIX)
        }
        dilations = {
            node.input[1].removeprefix(PREFIX): attribute.ints[0]
            for node in graph.node
            for attribute in node.attribute
            if node.op_type == "Conv" and attribute.name == "dilations"
        }
        layers = sum(name.startswith("gates.") for name in weights)
        gate, skip, residual = (len(weights[f"{name}.weight"]) for name in ("gates.0", "skips.0", "front"))
        network = WakeWord(
            classes,
            Size(residual, gate // 2, skip, tuple(dilations[f"gates.{layer}.weight"] for layer in range(layers))),
        )
        network.load_state_dict(weights)
    except (KeyError, IndexError, ValueError, TypeError, RuntimeError) as error:
        raise RecipeError(f"{path} is no teacher: it is not a gated network as `export` writes them") from error
    return network
