"""Every engine speaks, tells its phonemes, and says the same again; what is missing is named."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from daemon.features import SAMPLE_RATE
from models.engines import ENGINES, at_hand
from models.espeak import espeak_voices, mnemonics
from models.voices import Spoken, SynthesisError, Utterance, Voice, at_16_khz, run

NATIVE = ("espeak-ng", "flite", "festival")


@cache
def voices(engine: str) -> tuple[Voice, ...]:
    return ENGINES[engine].voices()


def say(engine: str, *texts: str, **how: float) -> list[Spoken]:
    return ENGINES[engine].speak([Utterance(text, voices(engine)[0], **how) for text in texts])


@pytest.mark.parametrize("engine", NATIVE)
def test_an_engine_says_each_utterance_and_when_each_phoneme_ends(engine: str) -> None:
    short, long = say(engine, "glass", "the view through the glass")
    assert len(short.audio) < len(long.audio)
    for spoken in (short, long):
        assert spoken.audio.dtype == np.float32
        assert 0.05 < np.abs(spoken.audio).max() <= 1.0
        ends = [end for _, end in spoken.parts]
        assert ends == sorted(ends)
        assert 0 < ends[0] < ends[-1] <= len(spoken.audio) / SAMPLE_RATE
    assert len(short.parts) == len("glas")
    assert len(long.parts) == len("thevyUthrUtheglas") - len("hhh")


@pytest.mark.parametrize("engine", NATIVE)
def test_phonemes_end_where_the_sound_does(engine: str) -> None:
    """The sound after the last phoneme is silence, and within the phonemes it is not."""
    (spoken,) = say(engine, "snowboy")
    end = round(spoken.parts[-1][1] * SAMPLE_RATE)
    first = round(spoken.parts[0][1] * SAMPLE_RATE)
    tail = spoken.audio[end + SAMPLE_RATE // 20 :]
    assert np.abs(tail).max(initial=0) < 0.05 * np.abs(spoken.audio[first:end]).max()


@pytest.mark.parametrize("voice", [*voices("flite"), *voices("festival"), voices("espeak-ng")[0]], ids=str)
def test_faster_is_shorter(voice: Voice) -> None:
    said = ENGINES[voice.engine].speak([Utterance("smart mirror", voice, rate) for rate in (0.8, 1.0, 1.25)])
    lengths = [spoken.parts[-1][1] for spoken in said]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > 1.3 * lengths[-1]


def test_voices_differ_in_name_and_nobody_is_in_both_splits() -> None:
    everyone = [voice for engine in NATIVE for voice in voices(engine)]
    assert len({voice.speaker for voice in everyone}) == len(everyone)
    split_of: dict[str, set[str]] = {}
    for voice in everyone:
        split_of.setdefault(voice.person, set()).add(voice.split)
    assert all(len(splits) == 1 for splits in split_of.values())
    share = np.mean([splits == {"dev"} for splits in split_of.values()])
    assert 0.05 < share < 0.3
    assert {voice.split for voice in voices("festival")} == {"train", "dev"}


def test_espeak_speaks_all_its_english_and_no_robot() -> None:
    names = {voice.name for voice in espeak_voices()}
    assert {"en-us", "en-gb+f2", "en-029+Mario", "en-gb-scotland+klatt2"} <= names
    assert not any("robo" in name.lower() or "whisper" in name for name in names)


def test_espeak_tells_all_phonemes_after_much_that_was_only_read() -> None:
    for number in range(100):
        mnemonics(f"bottle {number}", ("en-us", "en-gb")[number % 2])
    assert [len(spoken.parts) for spoken in say("espeak-ng", "glass", "snowboy")] == [len("glas"), len("snObO")]


def test_a_text_with_quotes_is_said_by_festival() -> None:
    plain, quoted = say("festival", "view glass", 'view "glass"')
    assert len(plain.audio) == len(quoted.audio)


@pytest.mark.parametrize("rate", [8000, 22050, 32000, 44100])
def test_other_sampling_rates_keep_pitch_and_length(rate: int) -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(rate) / rate).astype(np.float32)
    heard = at_16_khz(tone, rate)
    assert len(heard) == SAMPLE_RATE
    assert np.argmax(np.abs(np.fft.rfft(heard))) == 1000


def test_what_is_missing_or_fails_is_named() -> None:
    with pytest.raises(
        SynthesisError, match="nothing-that-speaks is not installed: apt-get install nothing-that-speaks"
    ):
        run(["nothing-that-speaks"])
    with pytest.raises(SynthesisError, match="espeak-ng failed"):
        run(["espeak-ng", "-v", "nobody", "-q", "a"])


def test_an_engine_that_is_missing_is_told_and_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "flite").symlink_to("/usr/bin/flite")
    monkeypatch.setenv("PATH", str(tmp_path))
    found, missing = at_hand({})
    assert set(found) == {"espeak-ng", "flite"}  # the library of the first is no program
    assert missing == ["without festival: festival is not installed: apt-get install festival"]
