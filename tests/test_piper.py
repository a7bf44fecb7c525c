"""Piper's voices are listed from a folder; what is missing or broken is named."""

import json
import sys
from pathlib import Path

import pytest

from models import piper
from models.cli import main
from models.voices import SynthesisError


def add(folder: Path, name: str, language: str, speakers: int) -> None:
    path = folder / f"{name}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    about = {"espeak": {"voice": language}, "num_speakers": speakers}
    path.with_name(f"{path.name}.json").write_text(json.dumps(about))


def test_every_english_speaker_is_a_voice(tmp_path: Path) -> None:
    add(tmp_path, "amy", "en-us", 1)
    add(tmp_path, "many/people", "en-gb", 3)
    add(tmp_path, "thorsten", "de", 1)
    voices = piper.listed(tmp_path)
    assert [voice.name for voice in voices] == ["amy", "many/people#0", "many/people#1", "many/people#2"]
    assert {voice.home for voice in voices} == {str(tmp_path)}
    assert len({voice.person for voice in voices}) == 4


def test_a_folder_without_a_usable_voice_is_named(tmp_path: Path) -> None:
    with pytest.raises(SynthesisError, match="no Piper voice in"):
        piper.listed(tmp_path)
    add(tmp_path, "thorsten", "de", 1)
    with pytest.raises(SynthesisError, match="no English Piper voice"):
        piper.listed(tmp_path)
    (tmp_path / "thorsten.onnx.json").write_text("{}")
    with pytest.raises(SynthesisError, match="not a Piper voice's: bad or missing 'espeak'"):
        piper.listed(tmp_path)
    (tmp_path / "thorsten.onnx.json").unlink()
    with pytest.raises(SynthesisError, match=r"cannot read .*: No such file"):
        piper.listed(tmp_path)


def test_without_the_package_it_is_said_how_to_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "piper", None)  # as if it were not installed
    add(tmp_path, "amy", "en-us", 1)
    out = tmp_path / "corpus"
    assert main(["synthesize", "--phrase", "hey snips", "--out", str(out), "--piper", str(tmp_path)]) == 1
    assert "pip install piper-tts" in capsys.readouterr().err
    assert not out.exists()
