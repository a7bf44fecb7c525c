"""Enrolled people on disk: kept privately, read back as they were, refused where they are not what they should be."""

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from daemon.people import MAX_BYTES, MAX_TAKES, People, PeopleError, Person
from daemon.recording import read
from daemon.speaker import normed
from tests.shipped import speaker_model


def person(name: str, takes: int = 5, free: int = 3) -> Person:
    rng = np.random.default_rng(len(name))
    size = speaker_model().embedding
    said = normed(rng.standard_normal((takes + free, size)).astype(np.float32))
    return Person(name, "computer", said[:takes], said[takes:])


@pytest.mark.parametrize("name", ["ana", "Ana María", "../../etc/passwd", "a" * 64, "爸爸", ".", "con"])
def test_a_person_is_read_back_as_they_were(tmp_path: Path, name: str) -> None:
    people = People(tmp_path / "speakers")
    kept = person(name)
    path = people.write(kept, speaker_model())
    assert path.parent == tmp_path / "speakers"
    (found,) = people.read(speaker_model())
    assert (found.name, found.word) == (name, "computer")
    np.testing.assert_allclose(found.takes, kept.takes, atol=1e-4)
    np.testing.assert_allclose(found.free, kept.free, atol=1e-4)


def test_nobody_else_may_read_it_and_it_is_small(tmp_path: Path) -> None:
    people = People(tmp_path / "speakers")
    path = people.write(person("ana", MAX_TAKES, 3), speaker_model())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.stat().st_size < MAX_BYTES


def test_who_is_enrolled_again_replaces_who_was_there(tmp_path: Path) -> None:
    people = People(tmp_path)
    people.write(person("ana"), speaker_model())
    people.write(person("ana", 4), speaker_model())
    (found,) = people.read(speaker_model())
    assert len(found.takes) == 4


def test_forgetting_leaves_no_trace(tmp_path: Path) -> None:
    people = People(tmp_path)
    path = people.write(person("ana"), speaker_model())
    people.write(person("ben"), speaker_model())
    sound = np.arange(-800, 800, dtype=np.int16)
    people.keep_sounds("ana", [sound])
    (kept,) = people.sounds("ana").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    np.testing.assert_array_equal(read(kept), sound)
    assert people.forget("ana") == [path, people.sounds("ana")]
    assert [one.name for one in people.read(speaker_model())] == ["ben"]
    assert len(list(tmp_path.iterdir())) == 1
    assert people.forget("ana") == []


def test_what_they_said_before_goes_when_they_are_enrolled_again(tmp_path: Path) -> None:
    people = People(tmp_path)
    people.write(person("ana"), speaker_model())
    people.keep_sounds("ana", [np.ones(10, np.int16)] * 3)
    people.keep_sounds("ana", [np.ones(10, np.int16)])
    assert len(list(people.sounds("ana").iterdir())) == 1
    people.keep_sounds("ana", [])
    assert not people.sounds("ana").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_enrols_belongs_to_the_satellite(tmp_path: Path) -> None:
    home, owner = tmp_path / "satellite", 65_534
    home.mkdir()
    os.chown(home, owner, owner)
    people = People(home / "speakers")
    people.prepare()
    path = people.write(person("ana"), speaker_model())
    people.keep_sounds("ana", [np.ones(10, np.int16)])
    made = [people.folder, path, people.sounds("ana"), *people.sounds("ana").iterdir()]
    assert {(one.stat().st_uid, one.stat().st_gid) for one in made} == {(owner, owner)}


def test_a_folder_that_cannot_be_used_is_said_beforehand(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    people = People(tmp_path / "file")
    with pytest.raises(PeopleError, match="file cannot be written: Not a directory; run this with sudo"):
        people.prepare()
    for looked in (people.any, lambda: people.read(speaker_model())):
        assert not looked()
        assert "nobody who is enrolled can be named" in caplog.text
        caplog.clear()


def test_where_nobody_is_enrolled_there_is_nobody(tmp_path: Path) -> None:
    assert People(tmp_path / "missing").read(speaker_model()) == []


def broken(content: dict[str, object], **changes: object) -> bytes:
    return json.dumps(content | changes).encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda told: b"", "no enrolled voice"),
        (lambda told: b"\xff\xfe", "no enrolled voice"),
        (lambda told: b"[" * 20_000, "no enrolled voice"),
        (lambda told: b" " * (MAX_BYTES + 1), "larger than"),
        (lambda told: broken(told, format=2), "no enrolled voice"),
        (lambda told: broken(told, takes=[]), "no enrolled voice"),
        (lambda told: broken(told, takes=[[0.5, float("nan")]]), "no enrolled voice"),
        (lambda told: broken(told, takes=[[0.5] * 3]), "another size"),
        (lambda told: broken(told, takes=[[1e9] * 128]), "no enrolled voice"),
        (lambda told: broken(told, name="a\nb"), "no enrolled voice"),
        (lambda told: broken(told, owner="x"), "no enrolled voice"),
        (lambda told: broken(told, model="other"), "another speaker model; run: wakepulse enroll ana"),
    ],
)
def test_what_is_no_enrolled_voice_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: object, reason: str
) -> None:
    people = People(tmp_path)
    path = people.write(person("ana"), speaker_model())
    people.write(person("ben"), speaker_model())
    path.write_bytes(content(json.loads(path.read_bytes())))  # type: ignore[operator]
    assert [one.name for one in people.read(speaker_model())] == ["ben"]
    assert reason in caplog.text


@pytest.mark.parametrize("name", ["", "a\tb", "a" * 65, "\ud800"])
def test_a_name_that_cannot_be_kept_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PeopleError, match="cannot be enrolled"):
        People(tmp_path).write(person(name), speaker_model())
    assert list(tmp_path.iterdir()) == []
