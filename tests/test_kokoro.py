"""Kokoro's voices are listed from a folder and asked as its model wants it; what is missing or broken is named.

The model here is a small graph with Kokoro's inputs, which hums as long as there are tokens: for one half of the time
as loud as the half of its style that is timbre, and then as the other half.
"""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from models import kokoro
from models.cli import main
from models.download import Download
from models.voices import SynthesisError, Utterance, Voice

SAMPLES_A_TOKEN = 2400


def humming(path: Path, inputs: tuple[str, ...] = ("tokens", "style", "speed")) -> None:
    """Audio of SAMPLES_A_TOKEN / speed samples for each token, at the mean of each half of the style."""
    kinds = {"tokens": (TensorProto.INT64, (1, "n")), "style": (TensorProto.FLOAT, (1, 256))}
    nodes = [
        helper.make_node("Size", [inputs[0]], ["count"]),
        helper.make_node("Cast", ["count"], ["length"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["length", "unit"], ["long"]),
        helper.make_node("Div", ["long", inputs[2]], ["samples"]),
        helper.make_node("Cast", ["samples"], ["half"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["half", "one"], ["length_of_half"]),
        helper.make_node("Concat", ["two", "length_of_half"], ["shape"], axis=0),
        helper.make_node("Reshape", [inputs[1], "halves"], ["both"]),
        helper.make_node("ReduceMean", ["both"], ["levels"], axes=[1], keepdims=1),
        helper.make_node("Expand", ["levels", "shape"], ["audio"]),
    ]
    graph = helper.make_graph(
        nodes,
        "hum",
        [helper.make_tensor_value_info(name, *kinds.get(name, (TensorProto.FLOAT, (1,)))) for name in inputs],
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, (2, "m"))],
        [
            helper.make_tensor("unit", TensorProto.FLOAT, (), [SAMPLES_A_TOKEN / 2]),
            helper.make_tensor("one", TensorProto.INT64, (1,), [1]),
            helper.make_tensor("two", TensorProto.INT64, (1,), [2]),
            helper.make_tensor("halves", TensorProto.INT64, (2,), [2, 128]),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9), path)


def style(level: float) -> np.ndarray:
    """A voice that is louder by `level` with every phoneme."""
    return np.repeat(level * np.arange(510, dtype=np.float32)[:, None], 256, axis=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    humming(tmp_path / "kokoro.onnx")
    for name, level in (("af_heart", 0.01), ("am_adam", 0.02), ("bm_george", 0.03), ("zf_xiaobei", 0.04)):
        style(level).tofile(tmp_path / f"{name}.bin")
    return tmp_path


def test_voices_and_the_people_between_them_are_listed(folder: Path) -> None:
    voices = kokoro.voices(folder)
    alone = [voice for voice in voices if "+" not in voice.name]
    assert [voice.name for voice in alone] == ["af_heart", "am_adam", "bm_george", "zf_xiaobei"]
    splits = {voice.name: voice.split for voice in alone}
    blends = [voice for voice in voices if "+" in voice.name]
    assert blends
    for blend in blends:
        assert {splits[name] for name in blend.name.split("+")} == {blend.split}


def test_all_voices_may_lie_in_one_file(folder: Path) -> None:
    wanted = [voice.name for voice in kokoro.voices(folder)]
    one = folder / "one"
    one.mkdir()
    humming(one / "kokoro.onnx")
    with (one / "voices-v1.0.bin").open("wb") as file:
        np.savez(file, **{path.stem: style(0.01)[:, None] for path in folder.glob("*.bin")})
    assert [voice.name for voice in kokoro.voices(one)] == wanted


def test_a_word_is_said_at_its_pace_by_the_style_of_its_length(folder: Path) -> None:
    whole, half = (Voice("kokoro", name, "kokoro", str(folder)) for name in ("am_adam", "af_heart+bm_george"))
    slow, fast = kokoro.speak([Utterance("computer", voice, rate) for voice, rate in ((whole, 0.5), (half, 1.0))])
    for spoken, rate in ((slow, 0.5), (fast, 1.0)):
        tokens = len(spoken.audio) * 24 * rate * kokoro.PACE / 16 / SAMPLES_A_TOKEN
        assert tokens == pytest.approx(round(tokens), abs=0.01)
        phonemes = round(tokens) - 2  # without the pads at both ends
        assert 8 <= phonemes <= 14
        timbre = spoken.audio[len(spoken.audio) // 4]
        assert timbre == pytest.approx(kokoro.VOLUME * 0.02 * phonemes, rel=0.02)
    again = kokoro.speak([Utterance("computer", whole, 0.5)] * 2)
    assert np.array_equal(again[0].audio, kokoro.speak([Utterance("computer", whole, 0.5)] * 2)[0].audio)


def test_most_is_said_as_somebody_else_would_say_it(folder: Path) -> None:
    voices = [voice for voice in kokoro.voices(folder) if "+" not in voice.name]
    said = kokoro.speak([Utterance("computer", voices[number % len(voices)]) for number in range(400)])
    melodies = [spoken.audio[len(spoken.audio) * 3 // 4] / spoken.audio[len(spoken.audio) // 4] for spoken in said]
    own = np.abs(np.array(melodies) - 1) < 0.02
    assert 0.2 < own.mean() < 0.6
    assert max(melodies) > 2 and min(melodies) < 0.5  # as of a longer and of a shorter text


def test_voices_that_know_short_texts_alone_say_those(folder: Path) -> None:
    style(0.02)[:3].tofile(folder / "am_adam.bin")
    voice = Voice("kokoro", "am_adam", "kokoro am_adam", str(folder))
    assert all(len(spoken.audio) for spoken in kokoro.speak([Utterance("computer", voice)] * 20))


def test_words_are_spelt_in_kokoro_s_letters() -> None:
    letters = {number: letter for letter, number in kokoro.LETTERS.items()}

    def said(text: str, accent: str, careful: bool = False) -> str:
        return "".join(letters[number] for number in kokoro.spelt(text, accent, careful=careful))

    assert said("say", "en-us") == "s\u02c8A"
    assert said("go!", "en-gb") == "\u0261\u02c8Q!"
    assert said("bird", "en-us") == "b\u02c8\u025c\u0279d"
    assert said("bird", "en-gb") == "b\u02c8\u025c\u02d0d"
    assert "T" in said("computer", "en-us")
    assert "t" in said("computer", "en-us", careful=True)
    assert " " in said("hey snips", "en-us")


def test_what_cannot_be_used_is_named(folder: Path, tmp_path: Path) -> None:
    for name, fault in (("short.bin", "holds no voice"), ("big.bin", "holds no voice")):
        path = folder / name
        path.write_bytes(bytes(101 if name == "short.bin" else kokoro.MOST_VOICE_BYTES + 1))
        kokoro._styles.cache_clear()
        with pytest.raises(SynthesisError, match=f"{name} {fault}"):
            kokoro.voices(folder)
        path.unlink()
    for number, (inputs, fault) in enumerate(
        {None: "holds 0 .onnx files", ("a", "b", "c"): "is not Kokoro: its inputs are a, b, c"}.items()
    ):
        other = tmp_path / f"other{number}"
        other.mkdir()
        if inputs:
            humming(other / "some.onnx", inputs)
        with pytest.raises(SynthesisError, match=fault):
            kokoro.voices(other)
    (tmp_path / "other0" / "broken.onnx").write_text("no model")
    with pytest.raises(SynthesisError, match="Kokoro cannot load"):
        kokoro.voices(tmp_path / "other0")


def test_a_corpus_is_said_by_them_too(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "corpus"
    arguments = ["--phrase", "snowboy", "--takes", "30", "--near", "0", "--out", str(out), "--jobs", "2"]
    assert main(["synthesize", *arguments, "--kokoro", str(folder)]) == 0
    assert "clips" in capsys.readouterr().out
    assert '"kokoro": ["af_heart"' in (out / "settings.json").read_text()
    assert main(["synthesize", *arguments[:-4], "--out", str(tmp_path / "no"), "--kokoro", str(tmp_path / "no")]) == 1
    assert "holds 0 .onnx files" in capsys.readouterr().err


@pytest.fixture
def release(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model and one file of voices, where they can be fetched from."""
    there = tmp_path / "release"
    there.mkdir()
    (folder / "kokoro.onnx").rename(there / "kokoro-v1.0.int8.onnx")
    with (there / "voices-v1.0.bin").open("wb") as file:
        np.savez(file, af_heart=style(0.01)[:, None], zf_xiaobei=style(0.02)[:, None])
    offered = [
        Download(path.as_uri(), hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
        for path in sorted(there.iterdir())
    ]
    monkeypatch.setattr(kokoro, "FILES", offered)
    return there


def test_voices_are_fetched_once(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "fetched" / "voices"
    offered = {path: path.read_bytes() for path in release.iterdir()}
    for _ in range(2):
        assert main(["fetch-voices", "--out", str(out)]) == 0
        assert f"{out}: 2 voices" in capsys.readouterr().out
        assert {path.name: path.read_bytes() for path in out.iterdir()} == {p.name: c for p, c in offered.items()}
        for path in offered:
            path.write_text("another release")


def test_what_cannot_be_fetched_is_told(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "fetched"
    voices = release / "voices-v1.0.bin"
    content = voices.read_bytes()
    voices.write_bytes(content[:-1])
    assert main(["fetch-voices", "--out", str(out)]) == 1
    assert "voices-v1.0.bin is damaged" in capsys.readouterr().err
    (out / "voices-v1.0.bin").unlink()
    voices.unlink()
    assert main(["fetch-voices", "--out", str(out)]) == 1
    assert f"fetch it by other means, and leave it in {out}" in capsys.readouterr().err
    (out / "voices-v1.0.bin").write_bytes(content)
    assert main(["fetch-voices", "--out", str(out)]) == 0
