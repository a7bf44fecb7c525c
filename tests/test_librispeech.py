"""A corpus of LibriSpeech's archive, whatever else is in the archive and however far it got before."""

import hashlib
import io
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from models import cli, librispeech
from models.augment import gather
from models.cast import Cast
from models.corpus import read_audio, read_manifest
from models.download import Download
from models.rooms import gather_rooms
from tests.test_models import write_corpus

TEXT = "WHAT A VIEW"
PEOPLE = ("84", "174", "251", "1272", "8842", "1462")


def sound(seconds: float) -> bytes:
    file = io.BytesIO()
    samples = np.random.default_rng(0).normal(size=int(seconds * 16_000)) * 0.1
    soundfile.write(file, samples, 16_000, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def pack(path: Path) -> Path:
    """An archive as LibriSpeech's, with what belongs to no recording and what belongs nowhere."""
    with tarfile.open(path, "w:gz") as archive:
        for person in PEOPLE:
            chapter = f"LibriSpeech/dev-clean/{person}/7"
            _add(archive, f"{chapter}/{person}-7-0000.flac", sound(1.5))
            _add(archive, f"{chapter}/{person}-7.trans.txt", f"{person}-7-0000 {TEXT}\n".encode())
        _add(archive, "LibriSpeech/BOOKS.TXT", b"books")
        _add(archive, "LibriSpeech/dev-clean/../../../outside/1/1-1-1.flac", b"outside")
        _add(archive, "/LibriSpeech/dev-clean/9/1/9-1-1.flac", b"outside")
        _add(archive, "LibriSpeech/dev-clean/9/1/9-1-2.flac", b"0" * (librispeech.MOST_BYTES + 1))
        link = tarfile.TarInfo("LibriSpeech/dev-clean/9/1/9-1-3.flac")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = pack(tmp_path / "dev-clean.tar.gz")
    offered = Download(path.as_uri(), hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
    monkeypatch.setattr(librispeech, "ARCHIVE", offered)
    return path


@pytest.mark.parametrize("given", [True, False])
def test_recordings_become_a_corpus(
    archive: Path, given: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "speech"
    command = ["fetch-speech", "--out", str(out), *(["--archive", str(archive)] if given else [])]
    assert cli.main(command) == 0
    assert f"{out}: 6 recordings of 6 people, 0.0 hours" in capsys.readouterr().out
    said = read_manifest(out)
    assert {r.speaker: r.split for r in said} == {f"ls{p}": "dev" if p == "1462" else "train" for p in PEOPLE}
    assert {(r.kind, r.duration_s, r.text, len(read_audio(r))) for r in said} == {("speech", 1.5, TEXT.lower(), 24_000)}
    assert {path.name for path in out.iterdir()} == {*PEOPLE, "manifest.csv"}
    assert archive.exists()
    assert cli.main(command) == 0
    assert "is a corpus already" in capsys.readouterr().out


def test_who_says_the_phrase_says_nothing_else(archive: Path, tmp_path: Path) -> None:
    librispeech.fetch(tmp_path / "speech", archive)
    (said, *_) = read_manifest(tmp_path / "speech")
    words = ("what_a", "a_view", "view", "what_view", "vie", "hat_a")
    assert [said.may_say(word) for word in words] == [True, True, True, False, False, False]
    assert not any(said.says(word) for word in words)
    (tmp_path / "said").mkdir()
    corpora = [tmp_path / "speech", write_corpus(tmp_path / "said", ("view", "up"))]
    rooms = partial(gather_rooms, count=1, seed=1)
    heard = [len(gather(corpora, (word,), Cast(tmp_path, 0, 1), rooms).speech) for word in ("up", "view")]
    assert heard == [4 + 4 + 5, 4 + 4]  # takes of the other word, noise, and who reads


def test_what_is_damaged_or_out_of_reach_is_told(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "speech"
    archive.write_bytes(archive.read_bytes()[:-40])
    assert cli.main(["fetch-speech", "--out", str(out), "--archive", str(archive)]) == 1
    assert "is damaged, or is not LibriSpeech's" in capsys.readouterr().err
    cut_off = Download((tmp_path / "nowhere").as_uri(), hashlib.sha256(archive.read_bytes()).hexdigest(), 0)
    monkeypatch.setattr(librispeech, "ARCHIVE", cut_off)
    assert cli.main(["fetch-speech", "--out", str(out), "--archive", str(archive)]) == 1
    assert f"cannot make a corpus of {archive}" in capsys.readouterr().err
    assert cli.main(["fetch-speech", "--out", str(out)]) == 1
    assert "fetch it by other means, then --archive FILE" in capsys.readouterr().err
    assert not (out / "manifest.csv").exists()
