"""Networks of all kinds: what PyTorch computes over the whole stream comes out of the plan pulse by pulse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pulse
from tests import graphs, zoo

DYNAMO = ("ds_cnn", "convnext")


def streams(path: Path, net: torch.nn.Module, exhibit: zoo.Exhibit, size: int) -> pulse.Plan:
    plan = pulse.compile(path, size)
    x = zoo.stream(exhibit, graphs.enough(plan))
    with torch.no_grad():
        wanted: Any = net(x).numpy()
    graphs.assert_law(plan, [wanted], graphs.streamed(plan, x.numpy(), [exhibit.out]), [exhibit.out])
    return plan


@pytest.mark.parametrize("name", zoo.ZOO)
def test_it_streams(name: str, tmp_path: Path) -> None:
    exhibit = zoo.ZOO[name]
    net = zoo.export(exhibit, tmp_path / "net.onnx")
    for size in (exhibit.pulse, 3 * exhibit.pulse):
        streams(tmp_path / "net.onnx", net, exhibit, size)


@pytest.mark.parametrize("name", DYNAMO)
def test_it_streams_from_the_other_exporter(name: str, tmp_path: Path) -> None:
    exhibit = zoo.ZOO[name]
    net = zoo.export(exhibit, tmp_path / "net.onnx", dynamo=True)
    plan = streams(tmp_path / "net.onnx", net, exhibit, exhibit.pulse)
    assert np.isfinite(plan.weights).all()
