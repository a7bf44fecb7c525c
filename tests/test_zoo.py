"""Networks of all kinds: what PyTorch computes over the whole stream comes out of the plan pulse by pulse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pulse
from pulse.step import Slot
from tests import graphs, zoo

ATTENTION = ("attention", "convolved", "indexed", "clamped", "columns", "strided", "unfolded")
DYNAMO = ("ds_cnn", "convnext", *ATTENTION)
ONLY_DYNAMO = ("strided", "unfolded")  # the other exporter has no word for it


def streams(path: Path, net: torch.nn.Module, exhibit: zoo.Exhibit, size: int) -> pulse.Plan:
    plan = pulse.compile(path, size)
    x = zoo.stream(exhibit, graphs.enough(plan))
    with torch.no_grad():
        wanted: Any = net(x).numpy()
    graphs.assert_law(plan, [wanted], graphs.streamed(plan, x.numpy(), [exhibit.out]), [exhibit.out])
    return plan


def _floats(plan: pulse.Plan) -> list[Slot]:
    return [slot for slot in plan.slots if (slot.room, slot.kind) == ("weights", "float32")]


@pytest.mark.parametrize("name", [name for name in zoo.ZOO if name not in ONLY_DYNAMO])
def test_it_streams(name: str, tmp_path: Path) -> None:
    exhibit = zoo.ZOO[name]
    net = zoo.export(exhibit, tmp_path / "net.onnx")
    for size in (exhibit.pulse, 3 * exhibit.pulse):
        streams(tmp_path / "net.onnx", net, exhibit, size)


@pytest.mark.parametrize("name", ["attention", "convolved", "indexed", "clamped", "strided", "unfolded"])
def test_attention_to_the_past_waits_for_nothing(name: str, tmp_path: Path) -> None:
    zoo.export(zoo.ZOO[name], tmp_path / "net.onnx", dynamo=name in ONLY_DYNAMO)
    plan = pulse.compile(tmp_path / "net.onnx", 2)
    assert (plan.delay, plan.receptive_field) == ((0,), 9)


@pytest.mark.parametrize("name", DYNAMO)
def test_it_streams_from_the_other_exporter(name: str, tmp_path: Path) -> None:
    exhibit = zoo.ZOO[name]
    net = zoo.export(exhibit, tmp_path / "net.onnx", dynamo=True)
    plan = streams(tmp_path / "net.onnx", net, exhibit, exhibit.pulse)
    assert all(np.isfinite(plan.weights[slot.offset :][: slot.size]).all() for slot in _floats(plan))


@pytest.mark.parametrize("dynamo", [False, True])
def test_a_speaker_is_known_by_all_that_was_said_so_far(dynamo: bool, tmp_path: Path) -> None:
    net: Any = zoo.export(zoo.SPEAKER, tmp_path / "net.onnx", dynamo=dynamo)
    plan = pulse.compile(tmp_path / "net.onnx", 8, "running")
    x = zoo.stream(zoo.SPEAKER, graphs.enough(plan) + 80)
    (found,) = graphs.streamed(plan, x.numpy(), [0])
    with torch.no_grad():
        body = net.body(x)
        parts = [net.head(body[:, :, : item + 1]) for item in range(1, body.shape[2])]
    wanted = torch.nn.functional.normalize(torch.cat(parts)).numpy()  # from two items on: one has no deviation
    found = found[plan.delay[0] + 1 :]
    np.testing.assert_allclose(found, wanted[: len(found)], atol=1e-4)


@pytest.mark.parametrize("dynamo", [False, True])
def test_channels_are_weighed_by_all_that_came_so_far(dynamo: bool, tmp_path: Path) -> None:
    net = zoo.export(zoo.SQUEEZED, tmp_path / "net.onnx", dynamo=dynamo)
    plan = pulse.compile(tmp_path / "net.onnx", 4, "running")
    x = zoo.stream(zoo.SQUEEZED, 40)
    (found,) = graphs.streamed(plan, x.numpy(), [2])
    with torch.no_grad():
        wanted = [net(x[:, :, : item + 1])[..., -1:] for item in range(40)]
    np.testing.assert_allclose(found, torch.cat(wanted, 2).numpy(), atol=1e-4)
    assert plan.delay == (0,)


def test_a_classifier_of_clips_hears_the_last_window(tmp_path: Path) -> None:
    net: Any = zoo.export(zoo.CLASSIFIER, tmp_path / "net.onnx")
    window = 5
    plan = pulse.compile(tmp_path / "net.onnx", 8, window)
    x = zoo.stream(zoo.CLASSIFIER, graphs.enough(plan))
    (found,) = graphs.streamed(plan, x.numpy(), [0])
    with torch.no_grad():
        body = net.body(x)
        parts = [net.head(body[:, :, max(0, item + 1 - window) : item + 1]) for item in range(body.shape[2])]
    graphs.assert_law(plan, [torch.cat(parts).numpy()], [found], [0])
