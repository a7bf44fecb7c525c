"""The user's recordings: the word is found in each of them, and what is bad is refused by name and reason."""

import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import resample_poly

from daemon.features import SAMPLE_RATE
from models import augment, own
from models.cast import Cast
from models.corpus import CorpusError, read_manifest, to_int16
from models.demo import say
from models.phrase import first_model
from models.rooms import gather_rooms
from models.sections import sections
from tests.shipped import DEMO, MODEL

LABEL = "hello_kitchen"
Sound = NDArray[np.float64]


@cache
def word(voice: str = "slt", text: str = "hello kitchen") -> Sound:
    """The phrase, 0.5 s of a quiet room around it, and its span to within the silence that flite adds."""
    said = say(text, engine="flite", voice=voice) / 2**15
    loud = np.flatnonzero(np.abs(said) > np.abs(said).max() / 50)
    said = np.pad(said[loud[0] : loud[-1] + 1], SAMPLE_RATE // 2)
    return said + np.random.default_rng(len(said)).normal(0, 3e-4, len(said))


def save(folder: Path, sounds: dict[str, Sound]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, sound in sounds.items():
        soundfile.write(folder / name, to_int16(sound.astype(np.float32)), SAMPLE_RATE)
    return folder


def good() -> dict[str, Sound]:
    """Takes that differ in level and pace."""
    paces = ((9, 10), (1, 1), (19, 20), (11, 10), (21, 20))
    return {f"good{n}.wav": resample_poly(word(), *pace) * (0.5 + 0.1 * n) for n, pace in enumerate(paces)}


def gather(folder: Path, **given: dict[str, own.Fires]) -> own.Given:
    return own.gather({LABEL: folder}, None, given.get("fires", {}))


def noise(level: float) -> Sound:
    return np.random.default_rng(1).normal(0, level, len(word()))


DAMAGE: dict[str, tuple[Callable[[], Sound], str]] = {
    "silent": (lambda: 0 * word(), "silent"),
    "far away": (lambda: 0.004 * word(), "too quiet: -"),
    "clipped": (lambda: np.clip(10 * word(), -0.6, 0.6), "clipped: "),
    "beside a fan": (lambda: word() + noise(0.04), "too noisy: the voice is "),
    "a fan alone": (lambda: noise(0.04), "no word found"),
    "cut off": (lambda: word()[: SAMPLE_RATE // 2 + 2200], "too short: 0."),
    "a speech": (lambda: word(text="we talked about the new kitchen of my sister for the whole evening"), "too long: "),
    "another phrase": (lambda: word(text="hello kitchen and dining room"), "of odd length: "),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_bad_take_is_refused_by_name_and_reason(tmp_path: Path, name: str) -> None:
    make, reason = DAMAGE[name]
    found = gather(save(tmp_path / "takes", {**good(), f"{name}.wav": make()}))
    (line,) = found.refused
    assert f"{name}.wav" in line
    assert f": {reason}" in line
    assert "\n" not in line
    assert [take.sound.path.name for take in found.takes] == sorted(good())
    assert str(found) == f"{line}\n5 of your takes are used, and 0 false wakes"


def test_what_is_no_sound_and_what_is_there_twice_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "takes", {"first.wav": word(), "second.flac": word(), "third.wav": word("rms")})
    (folder / "broken.wav").write_bytes(b"RIFF this is no recording")
    (folder / "notes.txt").write_text("not looked at")
    found = gather(folder)
    assert len(found.takes) == 2
    broken, twice = found.refused
    assert broken == f"{folder / 'broken.wav'}: unreadable: is not a recording: neither WAV, FLAC nor Ogg"
    assert twice == f"{folder / 'second.flac'}: the same sound as {folder / 'first.wav'}"


def test_what_a_phone_records_is_named_and_what_lies_deep_is_found(tmp_path: Path) -> None:
    folder = save(tmp_path / "takes", {"first.wav": word(), "._first.wav": word("awb")})
    (folder / "phone.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    (folder / "anna" / "monday").mkdir(parents=True)
    save(folder / "anna" / "monday", {"one.wav": word("rms")})
    (folder / ".Trash" / "files").mkdir(parents=True)
    save(folder / ".Trash" / "files", {"bad.wav": word("awb")})
    found = gather(folder)
    assert [take.sound.speaker for take in found.takes] == ["anna", "owner"]
    (phone,) = found.refused
    assert phone == f"{folder / 'phone.m4a'}: unreadable: is an MP4 or M4A file; convert it to WAV or FLAC"


def test_names_in_another_encoding_are_taken(tmp_path: Path) -> None:
    folder = save(tmp_path / "takes", {"one.wav": word(), "two.wav": 0 * word()})
    for old, new in (("one.wav", b"h\xf6r.wav"), ("two.wav", b"\xfc.wav")):
        (folder / old).rename(folder / os.fsdecode(new))
    folder.rename(tmp_path / os.fsdecode(b"J\xf6rg"))
    found = gather(tmp_path)
    assert found.refused == (f"{tmp_path}/J\ufffdrg/\ufffd.wav at 0.0 s: silent",)
    own.write(found, tmp_path / "own")
    (row,) = read_manifest(tmp_path / "own")
    assert (row.speaker, row.note) == ("J\ufffdrg", "from=h\ufffdr.wav")


def test_files_that_are_too_large_or_too_many_are_not_opened(tmp_path: Path) -> None:
    folder = save(tmp_path / "takes", {"good.wav": word()})
    with (folder / "endless.wav").open("wb") as file:
        file.truncate(own.MOST_BYTES + 1)
    assert "endless.wav: is larger than 200 MB" in gather(folder).refused[0]
    for number in range(own.MOST_FILES):
        (folder / f"{number}.ogg").touch()
    with pytest.raises(CorpusError, match="holds 1002 recordings; 1000 are enough"):
        gather(folder)


def test_a_folder_without_a_usable_take_stops_everything(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no folder of recordings"):
        gather(tmp_path / "nowhere")
    with pytest.raises(CorpusError, match="holds no recordings"):
        gather(tmp_path)
    with pytest.raises(CorpusError, match=r"silence\.wav at 0\.0 s: silent\nno recording in .* can be used"):
        gather(save(tmp_path / "takes", {"silence.wav": 0 * word()}))


@pytest.mark.parametrize(("suffix", "rate", "channels"), [("wav", 44_100, 2), ("flac", 8_000, 1), ("ogg", 48_000, 2)])
def test_several_takes_in_a_file_of_any_rate_are_found(tmp_path: Path, suffix: str, rate: int, channels: int) -> None:
    pieces = [np.pad(sound, SAMPLE_RATE // 4) for sound in (word(), word("rms"), word("awb"))]
    sound = resample_poly(np.concatenate(pieces), rate, SAMPLE_RATE)
    soundfile.write(tmp_path / f"all.{suffix}", np.repeat(sound[:, None], channels, axis=1), rate)
    takes = gather(tmp_path).takes
    assert len(takes) == 3
    for take, start in zip(takes, np.cumsum([0, *map(len, pieces[:2])]) / SAMPLE_RATE, strict=True):
        assert abs(take.start_s - start - 0.75) < 0.1
        assert take.sound.path.suffix == f".{suffix}"
    ends = np.cumsum([len(piece) for piece in pieces]) / SAMPLE_RATE - 0.75
    np.testing.assert_allclose([take.end_s for take in takes], ends, atol=0.1)


def test_without_a_model_the_loudest_section_is_the_word(tmp_path: Path) -> None:
    steps = np.random.default_rng(0).normal(0, 0.003, SAMPLE_RATE // 2)
    sound = np.concatenate([noise(3e-4)[:8000], steps, word(), steps, noise(3e-4)[:8000]])
    (take,) = gather(save(tmp_path, {"one.wav": sound})).takes
    assert abs(take.start_s - 1.5) < 0.1


def test_where_there_is_a_first_model_its_firing_is_the_word() -> None:
    fires = first_model(MODEL)
    assert set(fires) == {"alexa", "computer", "jarvis", "smart_mirror", "snowboy", "view_glass"}
    samples = own.read(DEMO)
    for label in ("jarvis", "view_glass"):
        (end,) = fires[label](samples)
        (take,) = own._takes(own.Sound(DEMO, "owner", samples), label, fires[label])
        assert take.fault == ""
        assert take.start_s < end / SAMPLE_RATE < take.end_s + own.LATE_S
    assert len(own._takes(own.Sound(DEMO, "owner", samples), "jarvis", own.deaf)) > 5


def test_what_is_said_long_after_the_word_is_left_out(tmp_path: Path) -> None:
    sound = word(text="hello kitchen turn on the light")
    folder = save(tmp_path, {"one.wav": sound})
    end = SAMPLE_RATE // 2 + len(word()) - SAMPLE_RATE
    (take,) = gather(folder, fires={LABEL: lambda samples: [end]}).takes
    assert take.end_s == end / SAMPLE_RATE


def test_no_first_model_is_no_error(tmp_path: Path) -> None:
    assert first_model(tmp_path / "none.plan") == {}


def test_the_corpus_is_mostly_for_tests_and_false_wakes_are_learnt_from(tmp_path: Path) -> None:
    folder = save(tmp_path / "takes", good())
    save(folder / "anna", {"one.wav": word("rms")})
    wrong = save(tmp_path / "wrong", {"chicken.wav": word(text="yellow chicken"), "same.wav": good()["good0.wav"]})
    save(wrong, {"long.ogg": np.tile(word("awb", "the chicken in the kitchen"), 8), "nothing.wav": 0 * word()})
    found = own.gather({LABEL: folder}, wrong, {})
    assert [line.partition(": ")[2] for line in found.refused] == ["silent", f"the same sound as {folder}/good0.wav"]
    own.write(found, tmp_path / "own")
    rows = read_manifest(tmp_path / "own")
    said = [row for row in rows if row.says(LABEL)]
    assert {row.speaker for row in said} == {"owner", "anna"}
    assert sorted(row.split for row in said) == [*["dev"] * 5, "train"]
    assert all(row.licence == "own" and not row.made for row in rows)
    near = [row for row in rows if row.near]
    assert {row.split for row in near} == {"train"}
    seconds = len(soundfile.read(wrong / "long.ogg")[0]) / SAMPLE_RATE
    assert len(near) == 1 + np.ceil((seconds - own.PIECE_S) / own.STEP_S) + 1

    material = augment.gather(
        [tmp_path / "own"], (LABEL,), Cast(tmp_path / "voices", 0, 1), partial(gather_rooms, count=1, seed=1)
    )
    assert (len(material.words[0].recorded), len(material.near), material.speech) == (1, len(near), ())
    (row,) = (row for row in said if row.split == "train")
    clip = augment.take(row)
    assert abs((clip.end - clip.start) / SAMPLE_RATE - (len(word()) / SAMPLE_RATE - 1) * 19 / 20) < 0.15


@settings(max_examples=40, deadline=None)
@given(
    bursts=st.lists(st.tuples(st.floats(0.2, 2.0), st.floats(0.6, 2.0), st.floats(0.05, 0.5)), min_size=1, max_size=5),
    hiss=st.floats(0, 1e-3),
    seed=st.integers(0, 99),
)
def test_sections_are_where_sound_stands_out(bursts: list[tuple[float, float, float]], hiss: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts, edges = [np.zeros(SAMPLE_RATE)], []
    for seconds, pause, level in bursts:
        start = sum(map(len, parts))
        parts += [rng.normal(0, level, round(seconds * SAMPLE_RATE)), np.zeros(round(pause * SAMPLE_RATE))]
        edges.append((start, start + len(parts[-2])))
    sound = np.concatenate(parts)
    sound = (sound + rng.normal(0, hiss, len(sound))).astype(np.float32)
    found = sections(sound)
    assert len(found) == len(edges)
    np.testing.assert_allclose([(section.start, section.end) for section in found], edges, atol=0.05 * SAMPLE_RATE)


@given(st.integers(0, 1000), st.floats(0, 1))
def test_short_or_even_sound_has_no_section(samples: int, level: float) -> None:
    assert sections(np.full(samples, level, np.float32)) == []
