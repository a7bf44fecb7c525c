"""Clips in which a model that knows the word does not hear it are dropped, unless it hears it in hardly any."""

from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from daemon.features import SAMPLE_RATE
from models.agreement import dissent
from models.cli import main
from models.takes import Row
from tests.shipped import MODEL, model, sound, word_end

CLIP_S, BEFORE_S, AFTER_S = 1.2, 0.8, 0.1
ROW = Row(
    *(0, "", "wakeword", "train", "synthetic", "computer", "nobody", CLIP_S, -26.0, 0.5, ""),
    *(CLIP_S - AFTER_S - BEFORE_S, CLIP_S - AFTER_S, "synthetic", "", "computer", "flite", "slt", "[]", "computer"),
    *(1.0, ""),
)


def corpus(folder: Path, *, said: int, unsaid: int) -> list[Row]:
    """Clips that hold the word, then some of other speech."""
    end = word_end() + round(AFTER_S * SAMPLE_RATE)
    rows = [replace(ROW, number=number, file=f"{number}.flac") for number in range(said + unsaid)]
    for row in rows:
        past = end if row.number < said else end - 3 * SAMPLE_RATE
        soundfile.write(folder / row.file, sound()[past - round(CLIP_S * SAMPLE_RATE) : past], SAMPLE_RATE)
    return rows


def test_a_clip_without_its_word_is_dropped(tmp_path: Path) -> None:
    rows = corpus(tmp_path, said=2, unsaid=1)
    found = dissent(
        [*rows, replace(ROW, number=9, fault="silent"), replace(ROW, number=10, kind="speech")], tmp_path, model()
    )
    assert [row.fault for row in found] == ["", "", "computer not heard", "silent", ""]
    assert [replace(row, fault="") for row in found[:3]] == rows


def test_a_model_that_hears_hardly_any_is_not_believed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = corpus(tmp_path, said=1, unsaid=2)
    assert dissent(rows, tmp_path, model()) == rows
    assert "hears computer in 1 of 3 clips" in capsys.readouterr().out


def test_a_model_must_know_the_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "corpus"
    assert main(["synthesize", "--phrase", "hey snips", "--out", str(out), "--agree", str(MODEL)]) == 1
    assert "does not know 'hey_snips'; it knows alexa, computer" in capsys.readouterr().err
    assert not out.exists()
