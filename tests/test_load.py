"""Files that strangers wrote: taken if they are understood, refused with one sentence if not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import pulse
from pulse import load as module
from pulse.errors import LoadError, PulseError, UnsupportedOp
from pulse.graph import Graph
from pulse.load import load
from tests.graphs import Builder
from tests.test_loop import Written, looped
from tests.test_positions import counting, indices


def small() -> onnx.ModelProto:
    b = Builder()
    y = b.add("Relu", b.add("Conv", "x", b.floats(2, 3, 3), b.floats(2)))
    return b.model((1, 3, "S"), [y])


def loaded(model: onnx.ModelProto, folder: Path) -> Graph:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return load(path)


def test_a_model_becomes_a_graph(tmp_path: Path) -> None:
    model = small()
    helper.set_model_props(model, {"words": '["hello"]'})
    graph = loaded(model, tmp_path)
    assert [node.op for node in graph.nodes] == ["Conv", "Relu"]
    assert str(graph.inputs["x"]) == "float32 (1, 3, S) @2"
    assert graph.metadata == {"words": '["hello"]'}


def test_nodes_without_a_name_get_one(tmp_path: Path) -> None:
    model = small()
    for node in model.graph.node:
        node.name = ""
    assert [node.name for node in loaded(model, tmp_path).nodes] == ["Conv_0", "Relu_1"]


def test_old_spellings_become_new_ones(tmp_path: Path) -> None:
    b = Builder(opset=9)
    b.opset = 9
    y = b.add("Clip", b.add("Unsqueeze", b.add("Squeeze", "x", axes=[0]), axes=[0]), min=-1.0, max=1.0)
    y = b.add("Slice", b.add("Pad", y, pads=[0, 0, 2, 0, 0, 0], value=0.5), starts=[1], ends=[99999999999], axes=[2])
    graph = loaded(b.model((1, 3, "S"), [y]), tmp_path)
    clip, pad, cut = (next(node for node in graph.nodes if node.op == op) for op in ("Clip", "Pad", "Slice"))
    assert [float(graph.constants[name]) for name in clip.inputs[1:]] == [-1, 1]
    assert graph.constants[pad.inputs[1]].tolist() == [0, 0, 2, 0, 0, 0]
    assert [graph.constants[name].tolist() for name in cut.inputs[1:]] == [[1], [99999999999], [2]]
    assert not any(node.attributes for node in (clip, pad, cut))


def _set(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    model = small()
    change(model)
    return model


def _external(model: onnx.ModelProto) -> None:
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../etc/passwd")


def _dims(*dims: int) -> Callable[[onnx.ModelProto], object]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].dims[:] = dims

    return change


def _nan(model: onnx.ModelProto) -> None:
    weight = model.graph.initializer[0]
    weight.raw_data = np.full(tuple(weight.dims), np.nan, np.float32).tobytes()


def _subgraph(model: onnx.ModelProto) -> None:
    model.graph.node[1].attribute.append(helper.make_attribute("then_branch", small().graph))


def _dynamic_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"


def _static(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 100


def _attribute(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("activation", "x"))


def _two_names(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, (1, "T")))


def _loop(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = model.graph.node[1].output[0]


def _split_by_name(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Split", ["y0"], ["z"], split="SAME"))


def _constant_of_text(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["z"], value="text"))


def _metadata(model: onnx.ModelProto) -> None:
    for index in range(3):
        model.metadata_props.add(key=f"x{index}", value="y" * (1 << 19))


def _long_attribute(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("auto_pad", "S" * 5000))


def _nested(model: onnx.ModelProto) -> None:
    """A graph in an attribute of a node of a graph in an attribute, and so on."""
    graph = model.graph
    for _ in range(8):
        node = graph.node.add(op_type="If", input=["x"], output=["y"])
        graph = node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH).g


def _nested_types(model: onnx.ModelProto) -> None:
    kind = model.graph.input[0].type
    for _ in range(8):
        kind = kind.sequence_type.elem_type
    kind.tensor_type.elem_type = 1


HOSTILE: list[tuple[str, Callable[[onnx.ModelProto], object], type[PulseError], str]] = [
    ("op", lambda m: setattr(m.graph.node[1], "op_type", "If"), UnsupportedOp, r"'Relu1' \(If, opset 20\) is"),
    ("no op", lambda m: setattr(m.graph.node[1], "op_type", "Re\nlu"), UnsupportedOp, r"is of the op 'Re\\nlu', which"),
    ("domain", lambda m: setattr(m.graph.node[1], "domain", "com.evil"), UnsupportedOp, "domain 'com.evil'"),
    ("attribute", _attribute, UnsupportedOp, "'activation'"),
    ("subgraph", _subgraph, UnsupportedOp, "'then_branch'"),
    ("old opset", lambda m: setattr(m.opset_import[0], "version", 8), UnsupportedOp, "opset 8; 9 to"),
    ("new opset", lambda m: setattr(m.opset_import[0], "version", 99), UnsupportedOp, "opset 99"),
    ("no opset", lambda m: m.ClearField("opset_import"), UnsupportedOp, "opset 0"),
    ("external data", _external, LoadError, "lies in another file"),
    ("huge tensor", _dims(2**31, 2**31), LoadError, "more than 4194304"),
    ("negative tensor", _dims(-1, 3, 3), LoadError, "impossible shape"),
    ("deep tensor", _dims(*[1] * 9), LoadError, "impossible shape"),
    ("short tensor", _dims(1000, 1000), LoadError, "not hold as many elements"),
    ("NaN", _nan, LoadError, "contains NaN"),
    ("double", lambda m: setattr(m.graph.initializer[0], "data_type", 11), UnsupportedOp, "DOUBLE; export"),
    ("unknown type", lambda m: setattr(m.graph.initializer[0], "data_type", 99), UnsupportedOp, "the type unknown"),
    ("dynamic batch", _dynamic_batch, LoadError, "2 dynamic axes; exactly one"),
    ("no dynamic axis", _static, LoadError, "0 dynamic axes; exactly one"),
    ("two names", _two_names, LoadError, "names time S and T; give it one name"),
    ("loop", _loop, PulseError, "part of a loop"),
    ("function", lambda m: m.functions.add(name="f"), LoadError, "local functions"),
    ("nothing", lambda m: m.graph.ClearField("output"), LoadError, "no inputs or no outputs"),
    ("doubles", lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 11), UnsupportedOp, "float32, int"),
    ("missing input", lambda m: m.graph.node[0].input.__setitem__(0, "gone"), PulseError, "reads 'gone'"),
    ("long text", lambda m: m.metadata_props.add(key="x", value="y" * (2 << 20)), LoadError, "97152 bytes of 'value'"),
    ("metadata", _metadata, LoadError, "more than 1048576 characters of metadata"),
    ("long name", lambda m: setattr(m.graph.node[0], "name", "n" * 4097), LoadError, "4097 bytes of 'name', more than"),
    ("long attribute", _long_attribute, LoadError, "5000 bytes of 's', more than 4096"),
    ("text for numbers", _split_by_name, LoadError, "an attribute split that is no number, and no list of them"),
    ("constant of text", _constant_of_text, LoadError, "has no value of numbers"),
    ("no body", lambda m: setattr(m.graph.node[1], "op_type", "Loop"), LoadError, "other inputs, outputs or attr"),
    ("nested graphs", _nested, LoadError, "nests deeper than 16; export it without graphs within its graph"),
    ("nested types", _nested_types, LoadError, "nests deeper than 16"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "kind", "message"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_what_is_not_understood_is_refused(
    change: Callable[[onnx.ModelProto], object], kind: type[PulseError], message: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=message):
        loaded(_set(change), tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "is an HTML page"),
        (b"\n\n <html><body>404", "is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "is a Git LFS pointer"),
        (b"PK\x03\x04rest", "is a ZIP archive"),
        (b"\x80\x04pickle", "is a Python pickle"),
        (b"\xff" * 100, "is no ONNX model"),
        (b"\x0a" * 5000, "is no ONNX model"),
    ],
)
def test_what_is_no_model_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(LoadError, match=f"model.onnx {message}"):
        load(path)


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"cannot read .*No such file"):
        load(tmp_path / "gone.onnx")


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(module.MAX_FILE + 1)
    with pytest.raises(LoadError, match="more than 16777216"):
        load(path)


def test_a_file_without_an_end_is_not_read_for_ever() -> None:
    with pytest.raises(LoadError, match="zero has more than 16777216"):
        load(Path("/dev/zero"))


def fields(number: int, content: bytes, times: int = 1) -> bytes:
    """A field of bytes as protocol buffers write it, `times` over."""
    assert len(content) < 1 << 14
    size = bytes([len(content) & 0x7F | 0x80, len(content) >> 7])
    return (bytes([number << 3 | 2]) + size + content) * times


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (fields(7, b"\x0a\x00" * 8000, 140), "has more than 1048576 fields"),
        (fields(7, b"\x0a\xff\x7f"), "is no ONNX model"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "is no ONNX model"),
        (b"\x3b" * 4000, "is no ONNX model"),
    ],
)
def test_a_crafted_file_is_measured_before_it_is_parsed(content: bytes, message: str, tmp_path: Path) -> None:
    """As many empty nodes as fit, a node beyond the end, a number without one, and groups in groups."""
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(LoadError, match=f"model.onnx {message}"):
        load(path)


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    content = small().SerializeToString()
    path.write_bytes(content.replace(b"\x01x", b"\x01\xff"))
    with pytest.raises(LoadError, match="has bytes in 'input' that are no text"):
        load(path)


def test_too_many_nodes_are_refused(tmp_path: Path) -> None:
    b = Builder()
    y = "x"
    for _ in range(module.MAX_NODES + 1):
        y = b.add("Relu", y)
    with pytest.raises(LoadError, match="4001 nodes"):
        loaded(b.model((1, 3, "S"), [y]), tmp_path)


def walking() -> onnx.ModelProto:
    b = Builder()
    return b.model((1, 3, "S"), [looped(b, Written())[3]])


def indexed() -> onnx.ModelProto:
    b = Builder()
    return b.model((1, "S", 3), [b.add("Gather", "x", indices(b, counting(b, "x", 1, 2), [0, 2], True), axis=1)])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_damaged_file_is_an_error_or_a_plan(data: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = bytearray(data.draw(st.sampled_from([small, walking, indexed]))().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        assert pulse.compile(path, 4).delay
    except PulseError as error:
        assert "\n" not in str(error)
