"""An exported network teaches as the training does that it came from."""

import re
from pathlib import Path

import msgspec
import onnx
import pytest
import torch

from daemon.features import MELS
from models import networks, teacher, train
from models.export import export, metadata
from models.recipe import Network, Recipe, RecipeError

MADE = Recipe(words=("up", "down"), network=Network(residual=6, gate=8, skip=5, dilations=(1, 4, 2)), frames=300)
SHIPPED = Path(__file__).parents[1] / "models" / "shipped" / "six_words.onnx"
SIX_WORDS = ("alexa", "computer", "jarvis", "smart_mirror", "snowboy", "view_glass")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[networks.Network, Path]:
    torch.manual_seed(3)
    network = networks.build(MADE)
    network.normalise(torch.randn(100, MELS) * 3 + 7)
    path = tmp_path_factory.mktemp("exported") / "two.onnx"
    told = metadata(MADE, dict.fromkeys(MADE.words, 0.5), onset_to_end=30, version="1")
    export(network, path, told)
    return network, path


def test_it_says_what_it_said_before_it_was_exported(exported: tuple[networks.Network, Path]) -> None:
    network, path = exported
    read = train._teacher(path, msgspec.structs.replace(MADE, network=Network(gate=4)))
    assert read.size == network.size
    frames = torch.randn(2, 60, MELS) * 4 + 8
    with torch.inference_mode():
        torch.testing.assert_close(read(frames), network(frames))


def test_a_shipped_network_teaches() -> None:
    made = Recipe(words=SIX_WORDS)
    assert teacher.exported(SHIPPED, made).size == made.network.size()


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (msgspec.structs.replace(MADE, words=("down", "up")), 'its words are ["up", "down"], and here ["down", "up"]'),
        (msgspec.structs.replace(MADE, window_function="rectangular"), "logmel40-hamming"),
        (
            msgspec.structs.replace(MADE, network=Network(kind="parts")),
            "an exported one is gated, and here the network is parts",
        ),
    ],
    ids=["words", "features", "parts"],
)
def test_who_hears_otherwise_is_not_taught(exported: tuple[networks.Network, Path], made: Recipe, told: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(told)):
        train._teacher(exported[1], made)


def broken(path: Path, folder: Path, change: str) -> Path:
    """The exported network with one thing that is wrong."""
    model = onnx.load(path)
    weights = model.graph.initializer
    if change == "fewer weights":
        del weights[next(at for at, tensor in enumerate(weights) if tensor.name == "network.skips.1.weight")]
    elif change == "another shape":
        next(tensor for tensor in weights if tensor.name == "network.out.bias").dims[0] = 2
    elif change == "other names":
        for tensor in weights:
            tensor.name = f"other.{tensor.name}"
    elif change == "words":
        del model.metadata_props[:]
    spoilt = folder / "spoilt.onnx"
    spoilt.write_bytes(model.SerializeToString() if change != "no ONNX" else b"\xff" * 100)
    return spoilt


@pytest.mark.parametrize("change", ["fewer weights", "another shape", "other names", "words", "no ONNX"])
def test_what_is_no_such_network_is_refused(
    exported: tuple[networks.Network, Path], tmp_path: Path, change: str
) -> None:
    path = broken(exported[1], tmp_path, change)
    with pytest.raises(RecipeError, match=r"spoilt\.onnx is no"):
        train._teacher(path, MADE)


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match=r"cannot read .*none\.onnx"):
        train._teacher(tmp_path / "none.onnx", MADE)
    monkeypatch.setattr(teacher, "MAX_BYTES", 10)
    (tmp_path / "large.onnx").write_bytes(bytes(11))
    with pytest.raises(RecipeError, match="larger than"):
        train._teacher(tmp_path / "large.onnx", MADE)
