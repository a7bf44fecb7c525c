"""Plan files: whole, proved and complete, or refused with one sentence."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pulse
from pulse import plan as module
from pulse.plan import FORMAT, Plan, PlanError, prove
from tests.graphs import Builder, compiled

ROOT = Path(__file__).resolve().parent.parent
PREFIX = 56


def small() -> Plan:
    b = Builder()
    y = b.add("Conv", "x", b.floats(4, 3, 3), b.floats(4), pads=[1, 1])
    y = b.add("Conv", y, b.floats(4, 4, 3), b.floats(4), pads=[2, 0])
    model = b.model((1, 3, "S"), [b.add("Softmax", y, axis=1)])
    model.metadata_props.add(key="words", value='["hällo"]')
    model.metadata_props.add(key="threshold", value="0.5")
    return compiled(model, 4)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return small()


@pytest.fixture
def path(plan: Plan, tmp_path: Path) -> Path:
    plan.save(tmp_path / "small.plan")
    return tmp_path / "small.plan"


def resealed(path: Path, content: bytes) -> Path:
    """The file with other content and a checksum that is right: what a stranger could write."""
    body = content[PREFIX:]
    magic, version, header, _, _ = struct.unpack("<8sIIQ32s", content[:PREFIX])
    start = struct.pack("<8sIIQ", magic, version, header, PREFIX + len(body))
    path.write_bytes(start + module._digest(start, body) + body)
    return path


def rewritten(path: Path, change: Callable[[Any], object]) -> Path:
    """The file with a changed header."""
    content = path.read_bytes()
    (size,) = struct.unpack_from("<I", content, 12)
    header = json.loads(content[PREFIX : PREFIX + size])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-(PREFIX + len(text)) % 64)
    start = content[:12] + struct.pack("<I", len(text)) + content[16:PREFIX]
    return resealed(path, start + text + content[PREFIX + size :])


def test_a_plan_comes_back_as_it_was(plan: Plan, path: Path) -> None:
    loaded = Plan.load(path)
    for name in ("pulse", "delay", "stride", "receptive_field", "inputs", "outputs", "slots", "steps", "metadata"):
        assert getattr(loaded, name) == getattr(plan, name)
    assert loaded.metadata == {"words": '["hällo"]', "threshold": "0.5"}
    np.testing.assert_array_equal(loaded.weights, plan.weights)
    assert not loaded.weights.flags.writeable


def test_a_loaded_plan_runs_like_the_compiled_one(plan: Plan, path: Path) -> None:
    x = np.random.default_rng(4).standard_normal((1, 3, 4)).astype(np.float32)
    for have, want in zip(pulse.State(Plan.load(path)).run(x), pulse.State(plan).run(x), strict=True):
        np.testing.assert_array_equal(have, want)


def test_the_same_model_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    small().save(tmp_path / "again.plan")
    Plan.load(path).save(tmp_path / "copied.plan")
    assert (tmp_path / "again.plan").read_bytes() == path.read_bytes() == (tmp_path / "copied.plan").read_bytes()


def test_the_golden_vector_goes_beyond_the_delay(plan: Plan) -> None:
    assert plan.golden_inputs[0].shape == (5, 1, 3, 4)
    assert plan.golden_outputs[0].shape[0] * plan.pulse >= plan.delay[0] + 4 * plan.pulse


def test_saving_replaces_at_once_and_leaves_nothing_behind(plan: Plan, path: Path) -> None:
    loaded = Plan.load(path)
    plan.save(path)  # over a file that is mapped
    prove(loaded)
    assert os.listdir(path.parent) == ["small.plan"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_failed_save_leaves_the_old_file(plan: Plan, tmp_path: Path) -> None:
    folder = tmp_path / "taken.plan"
    folder.mkdir()
    with pytest.raises(OSError, match="directory"):
        plan.save(folder)
    assert os.listdir(tmp_path) == ["taken.plan"]


def test_a_device_is_not_replaced(plan: Plan, tmp_path: Path) -> None:
    """Root could take /dev/null away from everybody."""
    os.mkfifo(tmp_path / "null")
    with pytest.raises(OSError, match="Is a directory or a device"):
        plan.save(tmp_path / "null")
    assert (tmp_path / "null").is_fifo()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>\n<html>", "is an HTML page, so the download"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer; run `git lfs pull`"),
        (b"PK\x03\x04", "is a ZIP archive"),
        (b"\x80\x04\x95", "is a Python pickle, which is never opened"),
        (b"\x08\x0a\x12", "is not a plan"),
        (b"WAKEPLAN", "is truncated: it ends within its first 56 bytes"),
    ],
)
def test_what_is_no_plan_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.plan"
    path.write_bytes(content)
    with pytest.raises(PlanError, match=f"model.plan {message}"):
        Plan.load(path)


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"cannot read .*: No such file"):
        Plan.load(tmp_path / "gone.plan")


def test_a_truncated_file_says_how_much_is_there(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(PlanError, match=f"truncated: {len(content) - 100} of {len(content)} bytes"):
        Plan.load(path)


@pytest.mark.parametrize(
    ("step", "message"), [(1, "newer than .*: update this program"), (-1, "older than .*: build it again")]
)
def test_another_format_says_so(step: int, message: str, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:8] + struct.pack("<I", FORMAT + step) + content[12:])
    with pytest.raises(PlanError, match=f"has the format {FORMAT + step}, {message}"):
        Plan.load(path)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_every_flipped_bit_is_found(where: float, bit: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = bytearray(_CONTENT)
    content[int(where * len(content))] ^= 1 << bit
    path = tmp_path_factory.getbasetemp() / "flipped.plan"
    path.write_bytes(content)
    with pytest.raises(PlanError):
        Plan.load(path)


_CONTENT = small()._content()


@pytest.mark.parametrize("at", range(PREFIX))
def test_every_byte_of_the_prefix_is_checked(at: int, tmp_path: Path) -> None:
    content = bytearray(_CONTENT)
    content[at] ^= 0x55
    (tmp_path / "flipped.plan").write_bytes(content)
    with pytest.raises(PlanError):
        Plan.load(tmp_path / "flipped.plan")


def test_what_was_appended_is_found(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(PlanError, match="checksum is wrong"):
        Plan.load(path)


def test_a_plan_that_would_be_proved_for_minutes_is_refused() -> None:
    b = Builder()
    y = b.front("x", 30_000)
    for _ in range(500):
        y = b.add("Neg", b.add("Sin", y))
    model = b.model((1, 1, "S"), [y])
    with pytest.raises(PlanError, match="30000 items late for a pulse of 1; compile with a larger pulse"):
        compiled(model, 1)
    assert compiled(model, 64).delay == (30_000,)


def test_steps_that_would_be_proved_for_minutes_is_refused(plan: Plan) -> None:
    step = next(step for step in plan.steps if step.kernel == "Conv")
    many = 1 + module.MAX_WORK // (len(plan.golden_inputs[0]) * 1000)
    with pytest.raises(PlanError, match="would take too long to compute"):
        prove(replace(plan, steps=plan.steps + (step,) * many))


def test_weights_that_changed_do_not_pass_the_golden_vector(path: Path) -> None:
    content = bytearray(path.read_bytes())
    (size,) = struct.unpack_from("<I", content, 12)
    weight = PREFIX + size
    content[weight : weight + 4] = struct.pack("<f", struct.unpack_from("<f", content, weight)[0] + 0.1)
    with pytest.raises(PlanError, match="is not what it was when the plan was built"):
        Plan.load(resealed(path, bytes(content)))


def _view(header: Any) -> Any:
    return header["steps"][1][3][0]  # what the first convolution reads: [slot, offset, shape, strides, kind]


def _cut(header: Any) -> Any:
    """The same, so few items of it that there is room for larger ones."""
    _view(header).__setitem__(2, [1, 1, 1, 1, 1])
    return _view(header)


# by the engine in C, and by the kernels in numpy
MISFIT = "has other arrays|has impossible parameters|do not fit each other"
LIES: list[tuple[str, Callable[[Any], object], str]] = [
    ("no pulse", lambda h: h.pop("pulse"), "cannot be read"),
    ("pulse of 0", lambda h: h.update(pulse=0), "cannot be read"),
    ("pulse as text", lambda h: h.update(pulse="8"), "cannot be read"),
    ("pulse as truth", lambda h: h.update(pulse=True), "cannot be read"),
    ("negative delay", lambda h: h.update(delay=[-1]), "cannot be read"),
    ("two delays", lambda h: h.update(delay=[1, 1]), "contradicts itself"),
    ("no inputs", lambda h: h.update(inputs=[]), "contradicts itself"),
    ("unknown kernel", lambda h: h["steps"][0].__setitem__(0, "system"), "cannot be read"),
    ("unknown room", lambda h: h["slots"][0].__setitem__(0, "heap"), "cannot be read"),
    ("unknown kind", lambda h: h["slots"][0].__setitem__(4, "float16"), "cannot be read"),
    ("kind of objects", lambda h: _view(h).__setitem__(4, []), "cannot be read"),
    ("another kind", lambda h: _cut(h).__setitem__(4, "int64"), "takes numbers of one kind for another"),
    ("half an element", lambda h: h["slots"][0].__setitem__(slice(1, None), [1, 16, 0, "int64"]), "cuts an element"),
    ("a kind too large", lambda h: _view(h).__setitem__(4, "int64"), "reaches beyond its memory"),
    ("unknown type", lambda h: h.update(input_dtypes=["float64"]), "cannot be read"),
    ("no type in", lambda h: h.update(input_dtypes=[]), "contradicts itself"),
    ("two types out", lambda h: h["output_dtypes"].append("bool"), "contradicts itself"),
    ("another type in", lambda h: h.update(input_dtypes=["int64"]), "of one kind for another"),
    ("another type out", lambda h: h.update(output_dtypes=["int32"]), "of one kind for another"),
    ("beginning with too much", lambda h: h["slots"][0].__setitem__(3, 10**400), "cannot be read"),
    ("negative offset", lambda h: h["slots"][0].__setitem__(1, -4), "cannot be read"),
    ("huge slot", lambda h: h["slots"][0].__setitem__(2, 2**40), "cannot be read"),
    ("much memory", lambda h: h["slots"][0].__setitem__(1, 2**24), "needs more memory than it may"),
    ("missing slot", lambda h: _view(h).__setitem__(0, 999), "reaches beyond its memory"),
    ("view beyond", lambda h: _view(h).__setitem__(1, 10**6), "reaches beyond its memory"),
    ("stride beyond", lambda h: _view(h)[3].__setitem__(2, 10**6), "reaches beyond its memory"),
    ("stride before", lambda h: _view(h)[3].__setitem__(4, -(10**6)), "reaches beyond its memory"),
    ("empty view", lambda h: _view(h)[2].__setitem__(2, 0), "cannot be read"),
    ("wrong shape", lambda h: _view(h).__setitem__(2, [1, 1, 1, 1, 1]), "do not fit each other|not what it was"),
    ("writes to weights", lambda h: h["steps"][1][2].__setitem__(0, h["steps"][1][3][2]), "writes to the weights"),
    ("missing weight", lambda h: h["steps"][1][3].__setitem__(2, None), MISFIT),
    ("too few arrays", lambda h: h["steps"][1][3].pop(), MISFIT),
    ("unknown parameter", lambda h: h["steps"][1][4].update(evil=1), MISFIT),
    ("parameter of objects", lambda h: h["steps"][1][4].update(activation={}), "cannot be read"),
    ("other sizes", lambda h: h["sizes"].__setitem__(0, 1), "another amount of numbers"),
    ("no sizes", lambda h: h.update(sizes=[]), "contradicts itself"),
    ("merged golden", lambda h: h["sizes"].append(h["sizes"].pop() + h["sizes"].pop()), "does not fit it"),
    ("golden that ends too early", lambda h: h.update(delay=[1000]), "does not fit it"),
    ("nested", lambda h: h.update(metadata={"a": ["b"]}), "cannot be read"),
    ("fewer weights", lambda h: h["sizes"].__setitem__(slice(0, 2), [16, sum(h["sizes"][:2]) - 16]), "more memory"),
]  # fmt: skip


@pytest.mark.parametrize(("lie", "message"), [row[1:] for row in LIES], ids=[row[0] for row in LIES])
def test_an_honest_checksum_does_not_make_a_header_honest(
    lie: Callable[[Any], object], message: str, path: Path
) -> None:
    with pytest.raises(PlanError, match=message) as caught:
        Plan.load(rewritten(path, lie))
    assert "\n" not in str(caught.value)


def test_a_header_without_end_is_refused(path: Path) -> None:
    content = path.read_bytes()
    (size,) = struct.unpack_from("<I", content, 12)
    deep = b"[" * size
    with pytest.raises(PlanError, match="cannot be read"):
        Plan.load(resealed(path, content[:PREFIX] + deep + content[PREFIX + size :]))


def test_numbers_that_lie_crooked_are_refused(path: Path) -> None:
    """A processor may stop at a number that does not begin where such numbers do."""
    content = path.read_bytes()
    (size,) = struct.unpack_from("<I", content, 12)
    start = content[:12] + struct.pack("<I", size + 1) + content[16 : PREFIX + size]
    with pytest.raises(PlanError, match="says impossible things about itself"):
        Plan.load(resealed(path, start + b" " + content[PREFIX + size :]))


def test_running_a_plan_needs_neither_onnx_nor_the_compiler(path: Path) -> None:
    program = (
        "import sys\n"
        "for name in ('onnx', 'scipy', 'torch', 'google.protobuf'):\n"
        "    sys.modules[name] = None\n"  # importing it is an ImportError now
        "import numpy, pulse\n"
        f"plan = pulse.Plan.load({str(path)!r})\n"
        "pulse.State(plan).run(numpy.zeros((1, 3, 4), numpy.float32))\n"
        "late = ('load', 'infer', 'declutter', 'pulsify', 'lower', 'graph', 'fuse', 'cli')\n"
        "print([name for name in late if 'pulse.' + name in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
